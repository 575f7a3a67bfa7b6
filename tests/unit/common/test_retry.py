"""What of a source may be tried again goes with its key and its rules, or is refused."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.catalog import DEFINITION, Source
from libs.common.catalog.check import check

DEFINITIONS: list[dict[str, Any]] = [
    {"kind": "team", "id": "ops", "title": "Ops", "department": "operations"},
    {
        "kind": "source", "id": "hangars", "title": "Hangars", "owner": "ops", "reference": True, "key": ["name"],
        "fields": [{"name": "name", "type": "string"}],
    },
    {
        "kind": "rule", "id": "hangar_known", "title": "Known", "owner": "ops", "source": "landings",
        "check": {"reference": {"field": "hangar", "in": "hangars"}},
    },
]  # fmt: skip
LANDINGS: dict[str, Any] = {
    "kind": "source", "id": "landings", "title": "Landings", "owner": "ops", "event_id": "id", "event_time": "at",
    "key": ["hangar"], "retry": {"tiers": ["10s", "1m"]},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "hangar", "type": "string"},
    ],
}  # fmt: skip


def faults(source: dict[str, Any], rules: bool = True) -> set[tuple[str, str]]:
    given = [*(DEFINITIONS if rules else DEFINITIONS[:2]), source]
    return {(each.path, each.rule) for each in check([DEFINITION.validate_python(each) for each in given])}


def test_a_source_with_a_key_and_a_referential_rule_may_park() -> None:
    assert faults(LANDINGS) == set()
    source = DEFINITION.validate_python(LANDINGS)
    assert isinstance(source, Source)
    assert source.retry is not None
    assert source.retry.when == ("reference_missing",)
    assert source.retry.tiers == (timedelta(seconds=10), timedelta(minutes=1))


@pytest.mark.parametrize(
    ("changes", "rules", "fault"),
    [
        ({"key": []}, True, ("retry", "key")),
        ({}, False, ("retry.when", "referential rule")),
        ({"reference": True, "event_id": None}, True, ("retry", "stream")),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    changes: dict[str, Any], rules: bool, fault: tuple[str, str]
) -> None:
    assert fault in faults(LANDINGS | changes, rules)


@pytest.mark.parametrize(
    "retry",
    [
        {"tiers": []}, {"tiers": ["0s"]}, {"tiers": ["20h", "5h"]}, {"tiers": ["1s"] * 11}, {"tiers": ["1s"], "when": []},
        {"tiers": ["1s"], "when": ["schema_unknown"]}, {},
    ],
)  # fmt: skip
def test_tiers_are_bounded_and_causes_are_known(retry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DEFINITION.validate_python(LANDINGS | {"retry": retry})
