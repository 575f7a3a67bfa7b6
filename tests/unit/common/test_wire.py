"""Batches of Avro bodies become frames, and a bad one is found without losing the others."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadMessage
from libs.common.wire import INDEX, Codec, decode, decode_json, defaulted, has_unfit, split, without_unfit

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "departure",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "delay", "type": ["null", "int"], "default": None},
    ],
}
NEWER = {
    **SCHEMA,
    "fields": [*SCHEMA["fields"], {"name": "gate", "type": ["null", "string"], "default": None}],
}
CODECS = {1: Codec(SCHEMA), 2: Codec(NEWER)}
AT = datetime(2013, 2, 8, 17, tzinfo=UTC)


def value(id: str, delay: int | None = None, schema: int = 1, **more: Any) -> bytes:
    return CODECS[schema].encode(schema, {"id": id, "at": AT, "delay": delay, **more})


@given(st.lists(st.tuples(st.text(), st.none() | st.integers(-(2**31), 2**31 - 1)), min_size=1))
def test_what_was_encoded_is_decoded(rows: list[tuple[str, int | None]]) -> None:
    frame, bad = decode([value(id, delay) for id, delay in rows], CODECS)
    assert not bad
    assert frame.select("id", "delay").rows() == rows
    assert frame["at"].to_list() == [AT] * len(rows)


def test_records_of_two_schemas_keep_their_order_and_lack_what_they_lack() -> None:
    frame, bad = decode([value("a"), value("b", schema=2, gate="B7"), value("c")], CODECS)
    assert not bad
    assert frame.select("id", "gate").rows() == [("a", None), ("b", "B7"), ("c", None)]


def test_a_truncated_body_is_reported_by_index_and_the_others_go_on() -> None:
    frame, bad = decode([value("a"), value("b")[:-1], value("c"), b"junk", None], CODECS)
    assert frame[INDEX].to_list() == [0, 2]
    assert sorted(index for index, _ in bad) == [1, 3, 4]


def test_an_unknown_schema_id_is_bad() -> None:
    _, ((index, error),) = decode([value("a")], {})
    assert (index, error.value) == (0, "1")


def test_an_empty_batch_is_an_empty_frame() -> None:
    frame, bad = decode([], CODECS)
    assert (frame.height, bad) == (0, [])


def test_bytes_left_over_are_not_ignored() -> None:
    with pytest.raises(BadMessage, match="left over"):
        CODECS[1].record(split(value("a"))[1] + b"\x00")


def test_a_text_with_a_nul_which_the_archive_cannot_hold_is_set_aside_and_named() -> None:
    values = [value("a"), value("b\0"), value("c", schema=2, gate="\0"), value("d", schema=2)]
    frame, bad = decode(values, CODECS)
    assert has_unfit(frame)
    frame, bad = without_unfit(frame, bad)
    assert frame["id"].to_list() == ["a", "d"]
    assert [(index, error.field, error.rule) for index, error in bad] == [
        (1, "id", "no NUL"), (2, "gate", "no NUL"),
    ]  # fmt: skip
    assert not has_unfit(frame)


@pytest.mark.parametrize(
    ("kind", "type", "fits"),
    [
        ("long", "int", True), ("long", ["null", "long"], True), ("int", "long", False), ("double", "float", True),
        ("double", "string", False), ("string", "string", True), ("string", {"type": "array", "items": "string"}, False),
        ("timestamp", {"type": "long", "logicalType": "timestamp-micros"}, True), ("timestamp", "long", False),
        ("string", {"type": "map", "values": "string"}, False),
    ],
)  # fmt: skip
def test_a_schema_fits_a_source_whose_types_its_own_can_be_read_as(kind: str, type: Any, fits: bool) -> None:
    codec = Codec({"type": "record", "name": "theirs", "fields": [{"name": "field", "type": type}]})
    error = codec.unfit({"field": kind, "another": "string"})
    assert (error is None) == fits


@pytest.mark.parametrize(
    "declared", [{"default": 3}, {"unit": "km"}, {"default": 3, "unit": "km", "doc": "far"}]
)
def test_a_schema_that_declares_more_of_a_field_is_read_like_another(declared: dict[str, Any]) -> None:
    codec = Codec({"type": "record", "name": "r", "fields": [{"name": "n", "type": "long", **declared}]})
    frame, bad = decode([codec.encode(5, {"n": 7})], {5: codec})
    assert (frame["n"].to_list(), bad) == ([7], [])
    assert codec.unfit({"n": "long"}) is None


def test_events_from_before_a_field_have_its_default() -> None:
    types, defaults = {"gate": "string", "seats": "long"}, {"gate": "none", "seats": 3}
    frame, _ = decode([value("a"), value("b", schema=2, gate="B7")], CODECS)
    filled = defaulted(frame, types, defaults)
    assert filled.select("id", "gate", "seats").rows() == [("a", "none", 3), ("b", "B7", 3)]
    assert filled.schema["seats"] == pl.Int64
    assert defaulted(filled, types, defaults) is filled


MOMENT = {"type": "long", "logicalType": "timestamp-millis"}
DATED = Codec(
    {
        "type": "record",
        "name": "dated",
        "fields": [
            {"name": "at", "type": ["null", MOMENT]},
            {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        ],
    }
)


def dated(at: int | None, day: int) -> bytes:
    """As numbers, which may be of no time that Python has."""
    plain = [{"name": "at", "type": ["null", "long"]}, {"name": "day", "type": "int"}]
    return Codec({"type": "record", "name": "dated", "fields": plain}).encode(9, {"at": at, "day": day})


def test_a_time_outside_the_calendar_is_set_aside_and_named_and_its_last_moment_is_not() -> None:
    first, last = -62_135_596_800_000, 253_402_300_799_999
    ones = [(first, -719_162), (last, 2_932_896), (None, 0)]
    others = [(first - 1, 0), (last + 1, 0), (2**62, 0), (0, -719_163), (0, 2_932_897)]
    frame, bad = without_unfit(*decode([dated(*each) for each in (*ones, *others)], {9: DATED}))
    assert [None if at is None else at.year for at in frame["at"]] == [1, 9999, None]
    assert [day.year for day in frame["day"]] == [1, 9999, 1970]
    assert [(index, error.field, error.rule) for index, error in bad] == [
        *((place, "at", "years 1 to 9999") for place in (3, 4, 5)),
        *((place, "day", "years 1 to 9999") for place in (6, 7)),
    ]


def test_json_that_is_nested_too_deep_is_set_aside_wherever_it_stands() -> None:
    deep = b'{"id": "b", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for values in ([deep, b'{"id": "a"}'], [b'{"id": "a"}', deep]):
        frame, bad = decode_json(values, {"id": "string"})
        assert frame["id"].to_list() == ["a"]
        assert [(index, error.rule) for index, error in bad] == [(values.index(deep), "json")]
