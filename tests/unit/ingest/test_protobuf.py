"""Protobuf messages say what JSON says, by a schema as text or as descriptor, or are refused for a reason."""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadMessage
from services.ingest.core.proto import parse
from services.ingest.core.protobuf import Reader

TEXT = """
// An event of theirs.
syntax = "proto3";
package theirs.events;
import "google/protobuf/timestamp.proto";
option java_package = "com.theirs";
enum Kind { KIND_UNKNOWN = 0; KIND_SOLD = 1; }
message Other { string id = 1; }
message Sold {
  string id = 1; /* its id */
  google.protobuf.Timestamp at = 2;
  int32 count = 3 [deprecated = true];
  optional double price = 4;
  Kind kind = 5;
  bool on = 6;
  reserved 7, 8;
  int64 large = 9;
}
"""
FILE = parse(TEXT)
FILE.name = "theirs.proto"


def encode(**values: Any) -> bytes:
    """A `Sold` as the library writes it, with its place among the messages."""
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(FILE)
    kind: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("theirs.events.Sold"))
    message = kind(**{name: value for name, value in values.items() if name != "at"})
    if "at" in values:
        message.at.seconds, message.at.nanos = values["at"]
    return b"\x02\x02" + message.SerializeToString()


@pytest.mark.parametrize(
    "schema", [TEXT, base64.b64encode(FILE.SerializeToString()).decode()], ids=["text", "descriptor"]
)
def test_a_message_is_read_by_its_schema(schema: str) -> None:
    reader = Reader(schema)
    body = encode(id="1", at=(1_795_600_800, 5_000_000), count=3, price=1.5, kind=1, large=2**40)
    assert reader.timed(reader.message(body)) == {
        "id": "1", "at": datetime(2026, 11, 25, 10, 0, 0, 5_000, tzinfo=UTC), "count": 3, "price": 1.5,
        "kind": "KIND_SOLD", "on": False, "large": 2**40,
    }  # fmt: skip
    assert reader.message(b"\x00" + b"\x0a\x01x") == {"id": "x"}, "0 stands for the first message"


def test_what_is_optional_and_absent_has_no_value_and_what_is_not_has_its_zero() -> None:
    assert Reader(TEXT).message(b"\x02\x02") == {
        "id": "",
        "count": 0,
        "kind": "KIND_UNKNOWN",
        "on": False,
        "large": 0,
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"\x02\x08", "malformed"),
        (b"\x02\x02\xff", "malformed"),
        (b"\x02\x02\x0a\x01\xff", "malformed"),
        (b"\x02\x02\x50\x01", "unknown_field"),
        (b"\x04\x00\x00", "unsupported_schema"),
    ],
    ids=["empty", "no such message", "cut off", "not UTF-8", "a field that the schema lacks", "nested"],
)
def test_what_is_no_message_of_its_schema_has_its_code(body: bytes, code: str) -> None:
    with pytest.raises(BadMessage) as caught:
        Reader(TEXT).message(body)
    assert caught.value.code == code


def test_a_time_beyond_the_calendar_is_none() -> None:
    reader = Reader(TEXT)
    for at in ((2**60, 0), (0, -1)):
        values = reader.message(encode(id="1", at=at))
        with pytest.raises(BadMessage) as caught:
            reader.timed(values)
        assert (caught.value.field, caught.value.code) == ("at", "not_a_time")


@pytest.mark.parametrize(
    "text",
    [
        "", "message", "message A { repeated string x = 1; }", "message A { map<string, string> x = 1; }",
        "message A { Nowhere x = 1; }", "message A { string x = 0; }", "message A { string x = one; }",
        'syntax = "proto2"; message A { string x = 1; }', 'import "other.proto"; message A { string x = 1; }',
        "message A { message B {} }", "message A { string x = 1; string y = 1; }", "service S {}", "{" * 10_000,
        "AAAA", "message A { oneof o { string x = 1; } }",
    ],
)  # fmt: skip
def test_a_schema_that_is_not_flat_is_refused(text: str) -> None:
    with pytest.raises(BadMessage) as caught:
        Reader(text)
    assert caught.value.code == "unsupported_schema"


def test_a_field_of_bytes_is_refused_when_it_is_met() -> None:
    with pytest.raises(BadMessage) as caught:
        Reader("message A { bytes x = 1; }").message(b"\0")
    assert caught.value.code == "unsupported_schema"


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with suppress(BadMessage):
        READER.message(body)


READER = Reader(TEXT)
