"""What a role may not see is masked in every shape that it may come in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libs.common.catalog import Kpi, Source
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


def source_of(key: Any, classification: str, kind: str = "string") -> Source:
    fields = [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "who", "type": kind, "classification": classification}, {"name": "line", "type": "string"},
    ]  # fmt: skip
    return Source.model_validate(
        {
            "id": "rides",
            "title": "Rides",
            "owner": "ops",
            "fields": fields,
            "key": key,
            "event_id": "id",
            "event_time": "at",
        }
    )


def seen(role: str, source: Source) -> Veil:
    classes = {source.id: {field.name: field.classification for field in source.fields}}
    return replace(veil(role), classes=FieldClasses(classes, {}))  # pyright: ignore


@pytest.mark.parametrize(
    "key", [["who"], ["line", "who"], {"expression": "lower(who)"}, {"expression": "concat(line, who)"}]
)
def test_a_key_of_a_topic_is_masked_as_the_fields_that_it_is_made_of(key: Any) -> None:
    source = source_of(key, "confidential")
    assert seen("steward", source).key(source, "jane") == "jane"
    for role in ("viewer", "leader", "nobody"):
        shown = seen(role, source).key(source, "jane")
        assert shown is None or ("jane" not in shown and shown.startswith("~"))
        assert seen(role, source).key(source, "") == ""


def test_a_key_of_one_field_has_the_pseudonym_that_the_field_has_everywhere() -> None:
    source = source_of(["who"], "confidential")
    assert seen("leader", source).key(source, "jane") == seen("leader", source).value("rides", "who", "jane")


def test_a_key_that_is_shown_in_clear_is_on_record_with_its_class() -> None:
    source = source_of(["line", "who"], "confidential")
    asker = seen("steward", source)
    asker.key(source, "M1|jane")
    assert asker.shown == {"confidential"}
