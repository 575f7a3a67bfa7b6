"""A fix mends the JSON of a dead letter step by step, and says what it could not mend."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.errors import BadMessage
from services.ingest.core.fix import Fix, mend

FIX: TypeAdapter[Any] = TypeAdapter(Fix)


def mended(record: Any, *steps: dict[str, Any]) -> Any:
    return json.loads(mend(FIX.validate_python(list(steps)), json.dumps(record).encode()))


@pytest.mark.parametrize(
    ("step", "record", "then"),
    [
        ({"do": "rename", "field": "a", "to": "b"}, {"a": 1, "c": 2}, {"b": 1, "c": 2}),
        ({"do": "rename", "field": "a", "to": "b"}, {"b": 1}, {"b": 1}),
        ({"do": "default", "field": "a", "value": 0}, {}, {"a": 0}),
        ({"do": "default", "field": "a", "value": 0}, {"a": None}, {"a": None}),
        ({"do": "drop", "field": "a"}, {"a": 1, "b": 2}, {"b": 2}),
        ({"do": "drop", "field": "a"}, {"b": 2}, {"b": 2}),
        ({"do": "replace", "field": "a", "value": "N/A", "by": None}, {"a": "N/A"}, {"a": None}),
        ({"do": "replace", "field": "a", "value": None, "by": 7}, {"b": 1}, {"b": 1}),
        ({"do": "replace", "field": "a", "value": 1, "by": 7}, {"a": True}, {"a": True}),
        ({"do": "number", "field": "a"}, {"a": " -12 "}, {"a": -12}),
        ({"do": "number", "field": "a"}, {"a": "1.5e3"}, {"a": 1500.0}),
        ({"do": "number", "field": "a"}, {"a": None}, {"a": None}),
        (
            {"do": "time", "field": "a", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
            {"a": "24.11.2026 11:00"},
            {"a": "2026-11-24T11:00:00+01:00"},
        ),
        (
            {"do": "time", "field": "a", "format": "%Y-%m-%d %H:%M:%S%z"},
            {"a": "2026-11-24 11:00:00-0500"},
            {"a": "2026-11-24T11:00:00-05:00"},
        ),
    ],
)
def test_a_step_changes_its_field_alone_and_only_where_there_is_something_to_do(
    step: dict[str, Any], record: Any, then: Any
) -> None:
    found = mended(record, step)
    assert found == then
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in then.items()
    }


def test_steps_are_done_one_after_another() -> None:
    steps = (
        {"do": "rename", "field": "Litres", "to": "litres"},
        {"do": "replace", "field": "litres", "value": "-", "by": "0"},
        {"do": "number", "field": "litres"},
    )
    assert mended({"Litres": "-"}, *steps) == {"litres": 0}


def test_whole_numbers_of_any_size_stay_what_they_are() -> None:
    large = {"a": 2**80, "b": 9_007_199_254_740_993}
    assert mended(large, {"do": "drop", "field": "c"}) == large


def test_without_steps_the_bytes_stay_as_they_are() -> None:
    assert mend([], b"\xff not JSON") == b"\xff not JSON"


@pytest.mark.parametrize(
    ("step", "raw", "code"),
    [
        ({"do": "number", "field": "a"}, b'{"a": "1,5"}', "unmended"),
        ({"do": "number", "field": "a"}, b'{"a": "' + b"9" * 5_000 + b'"}', "unmended"),
        ({"do": "time", "field": "a", "format": "%Y"}, b'{"a": "last year"}', "unmended"),
        ({"do": "time", "field": "a", "format": "%Q"}, b'{"a": "2026"}', "unmended"),
        ({"do": "rename", "field": "a", "to": "b"}, b'{"a": 1, "b": 2}', "unmended"),
        ({"do": "drop", "field": "a"}, b"[1]", "wrong_type"),
        ({"do": "drop", "field": "a"}, b'{"a": ', "malformed"),
        ({"do": "drop", "field": "a"}, b"\xff", "invalid_utf8"),
        ({"do": "drop", "field": "a"}, b"[" * 100_000, "too_deep"),
    ],
)
def test_what_cannot_be_mended_is_said_with_a_code_and_without_the_value(
    step: dict[str, Any], raw: bytes, code: str
) -> None:
    with pytest.raises(BadMessage) as caught:
        mend(FIX.validate_python([step]), raw)
    assert (caught.value.code, caught.value.value) == (code, None)


@pytest.mark.parametrize(
    "step",
    [
        {"do": "run", "field": "a"},
        {"do": "drop"},
        {"do": "drop", "field": "a", "to": "b"},
        {"do": "default", "field": "a", "value": {"deep": 1}},
        {"do": "default", "field": "a", "value": float("nan")},
        {"do": "time", "field": "a", "format": "%Y", "zone": "Mars/Olympus"},
        {"do": "time", "field": "a", "format": "%Y", "zone": "../../etc/passwd"},
    ],
)
def test_a_step_that_is_none_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FIX.validate_python([step])
