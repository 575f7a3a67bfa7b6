"""A candidate is held against what is real: it breaks what it no longer takes, and mends what it takes at last."""

import json
from typing import Any

from services.ingest.core.redrives import Letter
from services.ingest.core.replay import Stored, replay
from tests.evolution import source

FIELDS: list[dict[str, Any]] = [
    {"name": "n", "type": "int"},
    {"name": "s", "type": "string", "nullable": True},
]


def stored(n: Any, s: Any = None, schema: int = 1, **more: Any) -> Stored:
    data = {"id": "1", "at": "2026-11-24T10:00:00.000Z", "n": n, "s": s, **more}
    return Stored(schema, json.dumps(data).encode())


def letter(**values: Any) -> Letter:
    return Letter("1", json.dumps({"id": "1", "at": "2026-11-24T10:00:00Z", **values}).encode(), {}, None)


def test_a_removed_field_breaks_the_records_that_have_it_and_not_those_where_it_is_null() -> None:
    found = replay(
        source(FIELDS[:1]), source(FIELDS), [stored(1), stored(2, "x"), stored(3, "y", schema=2)], []
    )
    assert (found["records"], found["broken"]) == (3, 2)
    assert found["by_schema"] == [
        {"schema_id": 2, "records": 1, "broken": 1}, {"schema_id": 1, "records": 2, "broken": 1},
    ]  # fmt: skip
    (fault,) = found["faults"]
    assert (fault["code"], fault["field"], fault["records"]) == ("unknown_field", "s", 2)


def test_a_removed_field_breaks_nothing_where_unknown_ones_are_dropped() -> None:
    candidate = source(FIELDS[:1], unknown_fields="drop")
    assert replay(candidate, source(FIELDS), [stored(1), stored(2, "x")], [])["broken"] == 0


def test_a_field_that_must_not_be_null_any_longer_breaks_the_records_that_lack_it() -> None:
    candidate = source([FIELDS[0], {"name": "s", "type": "string"}])
    found = replay(candidate, source(FIELDS), [stored(1), stored(2, "x")], [])
    assert (found["broken"], found["faults"][0]["code"]) == (1, "missing_field")


def test_what_the_definition_in_force_does_not_take_either_is_not_broken() -> None:
    old = stored(None)  # from before there was the field
    assert replay(source([*FIELDS, {"name": "b", "type": "int"}]), source(FIELDS), [old], [])["broken"] == 0


def test_letters_that_pass_at_last_are_counted() -> None:
    letters = [letter(n=1, extra=2), letter(n="x"), letter(), letter(n=1)]
    found = replay(source(FIELDS, unknown_fields="drop"), source(FIELDS), [], letters)
    assert (found["letters"], found["mended"]) == (4, 1)
    defaulted = source([{**FIELDS[0], "default": 0}, FIELDS[1]])
    assert replay(defaulted, source(FIELDS), [], letters)["mended"] == 1


def test_no_value_of_a_record_is_told() -> None:
    secret = [stored(1, "a secret")]
    found = replay(
        source([FIELDS[0], {"name": "s", "type": "int"}]), source(FIELDS), secret, [letter(n="a secret")]
    )
    assert found["broken"] == 1
    assert "a secret" not in json.dumps(found)
