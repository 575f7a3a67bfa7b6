"""How a source is keyed: what may be said, what cannot be, and what may become of its partitions."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.catalog import DEFINITION, Catalog, Source
from libs.common.catalog.check import check

FIELDS = [
    {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "line", "type": "string"},
    {"name": "weight", "type": "double", "nullable": True}, {"name": "car", "type": "int"},
]  # fmt: skip
TEAM = {"kind": "team", "id": "ops", "title": "Ops", "owner": "ops"}


def source(**more: Any) -> Source:
    base = {"kind": "source", "id": "trams", "title": "Trams", "owner": "ops", "fields": FIELDS}
    definition = DEFINITION.validate_python({**base, "event_id": "id", "event_time": "at", **more})
    assert isinstance(definition, Source)
    return definition


def faults(after: Source, before: Source | None = None) -> list[tuple[str, str]]:
    previous = Catalog.of([before]) if before is not None else None
    return [(each.path, each.rule) for each in check([after], previous) if each.path != "owner"]


@pytest.mark.parametrize(
    "key",
    [[], ["line"], ["line", "car"], "random", "sticky", {"expression": "upper(line)"},
     {"expression": "car % 10"}, {"expression": "date_trunc('day', at)"}, {"expression": "coalesce(line, id)"}],
)  # fmt: skip
def test_a_key_is_fields_or_an_expression_or_there_is_none(key: Any) -> None:
    defined = source(key=key)
    assert faults(defined) == []
    assert DEFINITION.validate_python(defined.model_dump(mode="json")) == defined


@pytest.mark.parametrize(
    ("key", "path", "rule"),
    [
        (["lien"], "key", "known field"),
        ({"expression": "lien"}, "key.expression", "known field"),
        ({"expression": "upper("}, "key.expression", "syntax"),
        ({"expression": "count(*)"}, "key.expression", "scalar"),
        ({"expression": "weight * 2"}, "key.expression", "type"),
        ({"expression": "'all'"}, "key.expression", "field"),
        ({"expression": "NULL"}, "key.expression", "known type"),
    ],
)
def test_a_key_that_cannot_be_is_refused_when_it_is_planned(key: Any, path: str, rule: str) -> None:
    assert faults(source(key=key)) == [(path, rule)]


@pytest.mark.parametrize("key", ["line", 7, None])
def test_a_key_of_another_shape_is_told_which_shapes_there_are(key: Any) -> None:
    with pytest.raises(ValidationError, match="a key is a list of fields") as refused:
        source(key=key)
    assert refused.value.error_count() == 1


@pytest.mark.parametrize("key", [[], "random", "sticky", {"expression": "upper(line)"}])
def test_a_reference_is_kept_by_fields_and_by_nothing_else(key: Any) -> None:
    assert faults(source(reference=True, event_time=None, key=key)) == [("key", "reference has a key")]


@pytest.mark.parametrize("key", ["random", "sticky", {"expression": "upper(line)"}])
def test_where_producers_write_themselves_ingest_cannot_choose_the_partition(key: Any) -> None:
    assert faults(source(format="json", key=key)) == [("key", "keyed by ingest")]


def test_partitions_can_be_added_and_never_taken_away() -> None:
    assert faults(source(partitions=5), source(partitions=2)) == []
    assert faults(source(partitions=2), source(partitions=5)) == [("partitions", "stable topic")]


def test_partitions_are_not_added_where_nobody_can_hold_the_producers() -> None:
    before, after = source(format="json", partitions=2), source(format="json", partitions=5)
    assert faults(after, before) == [("partitions", "order per key")]
