"""Avro says the same as JSON, is held to the same rules, and takes no more than it may."""

import io
import json
import math
import tracemalloc
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.errors import BadMessage, TooLarge
from libs.common.varints import varint
from services.ingest.core.avro import Reader, container
from services.ingest.core.framing import messages
from services.ingest.core.records import Bad, Good, Validator
from services.ingest.handlers.binaries import checked, timed

DEFINED = DEFINITION.validate_python(
    {
        "kind": "source", "id": "packed", "title": "Packed", "owner": "ops", "event_id": "id", "event_time": "at",
        "key": ["id"], "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "day", "type": "date"},
            {"name": "small", "type": "int"}, {"name": "large", "type": "long"}, {"name": "level", "type": "double"},
            {"name": "on", "type": "boolean"}, {"name": "note", "type": "string", "nullable": True},
        ],
    }
)  # fmt: skip
assert isinstance(DEFINED, Source)
VALIDATOR = Validator(DEFINED)
SCHEMA = DEFINED.avro_schema()
GOOD = {
    "id": "1", "at": datetime(2026, 11, 24, 10, tzinfo=UTC), "day": date(2026, 11, 24), "small": 3, "large": 2**40,
    "level": 1.5, "on": True, "note": None,
}  # fmt: skip
LIMIT = 1_000_000


def changed(**types: Any) -> dict[str, Any]:
    """The schema with fields of other types, and further ones."""
    fields = {each["name"]: each["type"] for each in SCHEMA["fields"]} | types
    return {**SCHEMA, "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def packed(schema: dict[str, Any], records: list[dict[str, Any]], codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, codec=codec)
    return out.getvalue()


def results(body: bytes, most: int = 1_000) -> list[Good | Bad]:
    reader, records = container(body, LIMIT, most)
    return list(checked(VALIDATOR, [timed(index, reader, each) for index, each in enumerate(records)]))


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_says_what_json_says(codec: str) -> None:
    body = packed(SCHEMA, [GOOD | {"id": str(number)} for number in range(500)], codec)
    line = json.dumps(GOOD | {"at": "2026-11-24T10:00:00Z", "day": "2026-11-24"}).encode()
    same = VALIDATOR.single(0, line)
    found = results(body)
    assert isinstance(same, Good)
    assert len(found) == 500
    for number, each in enumerate(found):
        assert isinstance(each, Good)
        assert each.values == tuple(str(number) if value == same.event_id else value for value in same.values)
        assert (each.event_id, each.event_time) == (str(number), same.event_time)


@pytest.mark.parametrize(
    ("types", "values", "field", "code"),
    [
        ({"small": "string"}, {"small": "3"}, "small", "wrong_type"),
        ({"small": "long"}, {"small": 2**31}, "small", "out_of_range"),
        ({"id": ["null", "string"]}, {"id": None}, "id", "wrong_type"),
        ({}, {"id": ""}, "id", "no_id"),
        ({}, {"level": math.nan}, "level", "not_a_number"),
        ({}, {"level": -math.inf}, "level", "not_a_number"),
        ({"gate": "string"}, {"gate": "B7"}, "gate", "unknown_field"),
        ({"at": "long"}, {"at": 1}, "at", "wrong_type"),
        ({"at": {"type": "long", "logicalType": "timestamp-millis"}}, {"at": 2**60}, "at", "not_a_time"),
        ({"day": {"type": "int", "logicalType": "date"}}, {"day": 2**31 - 1}, "day", "not_a_time"),
    ],
)
def test_a_value_is_held_to_the_rules_of_json(
    types: dict[str, Any], values: dict[str, Any], field: str, code: str
) -> None:
    schema = changed(**types)
    bare = {**schema, "fields": [{**each, "type": plain(each["type"])} for each in schema["fields"]]}
    numbers = GOOD | {"at": 1_795_600_800_000, "day": 20_781} | values
    reader = Reader(json.dumps(schema))
    first = container(packed(bare, [numbers]), LIMIT, 10)[1][0]
    (result,) = checked(VALIDATOR, [timed(0, reader, first)])
    assert isinstance(result, Bad)
    assert (result.error.field, result.error.code) == (field, code)
    assert json.loads(result.raw)["id"] == numbers["id"], "what is refused is kept"


def plain(kind: Any) -> Any:
    """Without logical types, to write what a writer must not."""
    if isinstance(kind, list):
        return [plain(each) for each in kind]
    return kind["type"] if isinstance(kind, dict) else kind


def test_a_required_field_that_the_writer_does_not_have_is_missing() -> None:
    schema = {**SCHEMA, "fields": [each for each in SCHEMA["fields"] if each["name"] != "on"]}
    (result,) = results(packed(schema, [{name: value for name, value in GOOD.items() if name != "on"}]))
    assert isinstance(result, Bad)
    assert (result.error.field, result.error.code) == ("on", "missing_field")


@pytest.mark.parametrize(
    "schema",
    [
        "{", "[]", '"long"', "null", '{"type": "record", "name": "r"}', '{"type": "record", "name": "r", "fields": []}',
        json.dumps(changed(tags={"type": "array", "items": "null"})), json.dumps(changed(raw="bytes")),
        json.dumps(changed(more={"type": "map", "values": "long"})),
        json.dumps(changed(more={"type": "record", "name": "x", "fields": []})),
        json.dumps(changed(other="packed")), '{"type":' * 2_000,
    ],
)  # fmt: skip
def test_a_schema_that_is_not_flat_is_refused_by_name(schema: str) -> None:
    with pytest.raises(BadMessage) as caught:
        Reader(schema)
    assert caught.value.code == "unsupported_schema"


def test_a_container_that_decodes_to_too_much_is_refused_before_it_is_held() -> None:
    bomb = packed(changed(note="string"), [GOOD | {"note": "x" * 100_000_000}], "deflate")
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as caught:
            results(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5 * LIMIT
    finally:
        tracemalloc.stop()
    assert caught.value.code == "too_large_decoded"


def test_more_records_than_may_come_are_not_even_read() -> None:
    nothing = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "null"}]}
    body = packed(nothing, [{"id": None}] * 1_001)
    with pytest.raises(TooLarge, match="1000 records"):
        results(body)


def test_a_codec_that_is_not_understood_is_named() -> None:
    body = packed(SCHEMA, [GOOD]).replace(b"avro.codec\x08null", b"avro.codec\x08lzma")
    with pytest.raises(BadMessage) as caught:
        results(body)
    assert caught.value.code == "codec"


WHOLE = packed(SCHEMA, [GOOD] * 20, "deflate")


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.booleans())
def test_a_container_that_is_damaged_raises_nothing_else(place: int, change: int, cut: bool) -> None:
    body = WHOLE[:place] if cut else WHOLE[:place] + bytes([WHOLE[place] ^ change]) + WHOLE[place + 1 :]
    with suppress(BadMessage, TooLarge):
        results(body)


def test_a_body_of_messages_is_cut_by_their_lengths() -> None:
    one, large = b"\0" + b"a" * 9, b"\0" + b"b" * 299
    assert messages(one, 10) == [one]
    assert messages(b"\x0a" + one + b"\xac\x02" + large, 10) == [one, large]
    assert messages(b"", 10) == []
    assert len(messages((b"\x0a" + one) * 20, 10)) == 11
    for broken in (b"\x0a" + one[:-1], b"\xac", b"\xff" * 10):
        with pytest.raises(BadMessage):
            messages(broken, 10)


def test_a_block_that_has_more_than_it_says_is_refused_whatever_it_could_be_read_as() -> None:
    head = packed(SCHEMA, [])
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), GOOD)
    record = out.getvalue()
    for content in (record + record, record + varint(1) + record, record + varint(2**40)):
        body = head + varint(1) + varint(len(content)) + content + head[-16:]
        with pytest.raises(BadMessage):
            container(body, LIMIT, 1_000)


def test_records_that_take_no_bytes_are_refused() -> None:
    nothing = {"type": "record", "name": "nothing", "fields": [{"name": "id", "type": "null"}]}
    with pytest.raises(BadMessage) as refused:
        container(packed(nothing, [{"id": None}]), LIMIT, 1_000)
    assert refused.value.code == "unsupported_schema"


def test_fields_that_are_null_always_make_no_records_larger() -> None:
    nulls = {f"nothing{number}": "null" for number in range(2_000)}
    schema = changed(**nulls)
    record = {**GOOD, **dict.fromkeys(nulls)}
    body = packed(schema, [record] * 100)
    _, records = container(body, LIMIT, 1_000)
    assert [set(each) for each in records] == [set(GOOD)] * 100
    (found, *_) = results(packed(changed(note="null"), [GOOD]))
    assert isinstance(found, Good)
    assert found.values[-1] is None
