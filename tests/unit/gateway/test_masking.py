"""What a role may not see is masked in every shape that it may come in."""

from pathlib import Path

import pytest

from libs.common.catalog import Kpi
from libs.common.catalog.workspace import load
from services.gateway.core.access import FieldClasses, Principal, rights_of
from services.gateway.core.masking import Veil

DEFINITIONS = load(Path(__file__).parents[3] / "catalog").definitions
POLICIES = [each for each in DEFINITIONS if each.kind == "policy"]
SOURCES = {s.id: {f.name: f.classification for f in s.fields} for s in DEFINITIONS if s.kind == "source"}
KPIS = {each.id: each.source for each in DEFINITIONS if isinstance(each, Kpi)}


def veil(role: str) -> Veil:
    principal = Principal(subject="x", name="X", roles=(role,), department="d", expires_at=None)  # pyright: ignore
    return Veil(rights_of(principal, POLICIES, "operator"), FieldClasses(SOURCES, KPIS), b"secret")  # pyright: ignore


@pytest.mark.parametrize("role", ["viewer", "analyst", "leader", "nobody"])
def test_only_a_steward_sees_a_registration_in_clear(role: str) -> None:
    assert "N14228" not in str(veil(role).series("aircraft_duty", {"tailnum": "N14228"}))
    assert veil("steward").series("aircraft_duty", {"tailnum": "N14228"}) == {"tailnum": "N14228"}


@pytest.mark.parametrize("role", ["viewer", "leader"])
def test_masked_series_stay_apart(role: str) -> None:
    seen = veil(role)
    masked = {str(seen.series("aircraft_duty", {"tailnum": f"N{number}"})) for number in range(100)}
    assert len(masked) == 100


def test_a_pseudonym_is_the_same_in_every_answer() -> None:
    one, two = veil("leader"), veil("analyst")
    series = {"tailnum": "N14228"}
    assert one.series("aircraft_duty", series) == two.series("aircraft_duty", series)
