"""Avro bodies: object container files (Avro 1.12), and single records in the Confluent wire format.

A schema here is flat: a record of primitives, of unions of these, of enums. So what is decoded takes no more than what
came, and its values are held to the same rules as JSON's. A field that is null always is as one that lacks.
"""

import io
import zlib
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import fastavro
import msgspec
from backports import zstd

from libs.common.clock import EPOCH
from libs.common.errors import BadMessage, TooLarge
from libs.common.varints import varint
from services.ingest.core.encodings import ZSTD_WINDOW

_PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "string"}
_CODECS = ("null", "deflate", "zstandard")
_MAGIC = b"Obj\x01"
_META = fastavro.parse_schema({"type": "map", "values": "bytes"})


class Reader:
    """One writer's schema, as the registry or a container has it. BadMessage if it is none, or not flat."""

    def __init__(self, text: str | bytes) -> None:
        try:
            schema = msgspec.json.decode(text)
            fields = schema["fields"] if schema["type"] == "record" else None
            named = [
                {"name": each["name"], "type": _plain(each["type"], place)}
                for place, each in enumerate(fields or [])
            ]
            # What is null always takes no bytes: any number of such fields would come out of next to nothing.
            plain = [each for each in named if each["type"] != "null"]
            logical = {each["name"]: _logical(each["type"]) for each in fields or []}
            self.schema = fastavro.parse_schema({"type": "record", "name": "record", "fields": plain})
        except BadMessage:
            raise
        except Exception as error:  # whatever was stumbled over, it is none
            raise _unsupported(f"not an Avro schema of a record: {error!r}"[:300]) from error
        if not fields:
            raise _unsupported("not an Avro schema of a record with fields")
        self.array = fastavro.parse_schema({"type": "array", "items": self.schema})
        self.takes_bytes = bool(plain)
        """A record has at least one byte."""
        self.times = [(name, kind) for name, kind in logical.items() if kind is not None]

    def read(self, source: io.BytesIO) -> dict[str, Any]:
        """The next record; BadMessage if there is none of this schema."""
        try:
            values: Any = fastavro.schemaless_reader(source, self.schema, None)
        except Exception as error:
            raise _malformed(error) from error
        return values

    def block(self, content: bytes, count: int) -> list[dict[str, Any]]:
        """So many records and nothing behind them; BadMessage if it is anything else."""
        if not self.takes_bytes:  # whatever is left over could be read as ever so many more
            raise _unsupported("records without content")
        source = io.BytesIO(
            varint(count) + content + b"\0"
        )  # an array of them is read faster than one by one
        try:
            records: Any = fastavro.schemaless_reader(source, self.array, None)
        except Exception as error:
            raise _malformed(error) from error
        if len(records) != count or source.read(1):
            raise BadMessage("bytes are left over in a block", rule="Avro", code="malformed")
        return records

    def message(self, body: bytes) -> dict[str, Any]:
        """One record and nothing behind it."""
        source = io.BytesIO(body)
        values = self.read(source)
        if source.read(1):
            raise BadMessage("bytes are left over after the record", rule="Avro", code="malformed")
        return values

    def timed(self, values: dict[str, Any]) -> dict[str, Any]:
        """With times in place of their numbers; BadMessage if one is none."""
        if not self.times:
            return values
        return {**values, **{name: _time(name, kind, values[name]) for name, kind in self.times}}


def container(body: bytes, limit: int, most: int) -> tuple[Reader, list[dict[str, Any]]]:
    """The records of an object container file, and what read them; BadMessage if the file cannot be read.

    TooLarge if its blocks decode to more than `limit` bytes, or have more than `most` records.
    """
    source = io.BytesIO(body)
    if source.read(4) != _MAGIC:
        raise BadMessage("not an Avro object container file", rule="Avro", code="malformed")
    try:
        meta: Any = fastavro.schemaless_reader(source, _META, None)
        reader, codec = Reader(meta["avro.schema"]), meta.get("avro.codec", b"null").decode()
    except BadMessage:
        raise
    except Exception as error:
        raise BadMessage(
            f"the head of the container: {error!r}"[:300], rule="Avro", code="malformed"
        ) from error
    if codec not in _CODECS:
        rule = f"one of {', '.join(_CODECS)}"
        raise BadMessage(
            f"the codec {codec[:100]} is not understood", field="avro.codec", rule=rule, code="codec"
        )
    sync, decoded = source.read(16), 0
    records: list[dict[str, Any]] = []
    while source.tell() < len(body):
        count, size = _long(source), _long(source)
        block = source.read(max(0, size))
        if count < 0 or size < 0 or len(block) < size or source.read(16) != sync:
            raise BadMessage("a block of the container is damaged", rule="Avro", code="malformed")
        if len(records) + count > most:
            raise TooLarge(
                f"more than {most} records in one request; at most {most}", limit=most, unit="records"
            )
        block = _decoded(codec, block, limit - decoded, limit)
        decoded += len(block)
        records += reader.block(block, count) if count else []
    return reader, records


def _malformed(error: Exception) -> BadMessage:
    """fastavro raises whatever its reader stumbled over."""
    code = "invalid_utf8" if isinstance(error, UnicodeDecodeError) else "malformed"
    return BadMessage(f"not of its schema: {type(error).__name__}: {error}"[:300], rule="Avro", code=code)


def _decoded(codec: str, block: bytes, most: int, limit: int) -> bytes:
    """A block without its codec, never more than `most` bytes and one."""
    try:
        if codec == "deflate":
            block = zlib.decompressobj(-15).decompress(block, most + 1)
        elif codec == "zstandard":
            block = zstd.ZstdDecompressor(options=ZSTD_WINDOW).decompress(block, most + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise BadMessage(f"a block is not {codec}: {error}", rule="Avro", code="malformed") from error
    if len(block) > most:
        raise TooLarge(
            f"the container has more than {limit} bytes when it is decoded",
            code="too_large_decoded",
            limit=limit,
            unit="bytes",
        )
    return block


def _long(source: io.BytesIO) -> int:
    """Avro's zig-zag number; BadMessage if it is none."""
    number = 0
    for shift in range(0, 70, 7):
        byte = source.read(1)
        if not byte:
            break
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return (number >> 1) ^ -(number & 1)
    raise BadMessage("the container ends too early", rule="Avro", code="malformed")


def _plain(kind: Any, place: int) -> Any:
    """A type without its logical type, which would raise in the middle of a record."""
    if isinstance(kind, list):
        return [_plain(each, place) for each in kind]
    if isinstance(kind, dict):
        if kind["type"] == "enum":
            return {"type": "enum", "name": f"enum{place}", "symbols": kind["symbols"]}
        kind = kind["type"]
    if kind not in _PRIMITIVES:
        raise _unsupported(
            f"a field of type {str(kind)[:100]}: fields are primitives, unions of them or enums"
        )
    return kind


def _logical(kind: Any) -> str | None:
    """What a number of this type is, if it is a time."""
    for each in kind if isinstance(kind, list) else [kind]:
        if isinstance(each, Mapping) and each.get("logicalType") in _TIMES:
            return str(each["logicalType"])
    return None


_TIMES: dict[str, Any] = {
    "timestamp-millis": lambda number: EPOCH + timedelta(milliseconds=number),
    "timestamp-micros": lambda number: EPOCH + timedelta(microseconds=number),
    "date": lambda number: date(1970, 1, 1) + timedelta(days=number),
}


def _time(name: str, kind: str, number: Any) -> Any:
    if type(number) is not int:
        return number
    try:
        return _TIMES[kind](number)
    except OverflowError:
        raise BadMessage(
            f"{name} is outside the years 1 to 9999",
            field=name,
            value=str(number),
            rule="years 1 to 9999",
            code="not_a_time",
        ) from None


def _unsupported(why: str) -> BadMessage:
    return BadMessage(why, rule="a flat record", code="unsupported_schema")
