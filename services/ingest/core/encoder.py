"""Records of flat fields to bytes, in the wire format, by columns: each field of a record is a column of bytes, and a
record is its fields joined. Some ten times as fast as a writer that looks at the schema for every value."""

import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from typing import Any

import numpy as np

from libs.common.varints import varint, varints
from libs.common.wire import Schema, prefix

Write = Callable[[Sequence[Any]], Iterable[bytes]]

_NULL, _SOME = b"\0", b"\2"
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_DAY = date(1970, 1, 1).toordinal()
_LENGTHS = [varint(length) for length in range(1024)]


def _strings(values: Sequence[str]) -> list[bytes]:
    return [
        (_LENGTHS[len(text)] if len(text) < 1024 else varint(len(text))) + text
        for text in map(str.encode, values)
    ]


def _longs(values: Sequence[int]) -> list[bytes]:
    return varints(np.array(values, np.int64)).tolist()


def _instants(values: Sequence[datetime]) -> list[bytes]:
    """Microseconds are dropped (Avro 1.12, "Timestamps")."""
    return _longs([(value - _EPOCH) // _MILLISECOND for value in values])


def _dates(values: Sequence[date]) -> list[bytes]:
    return _longs([value.toordinal() - _DAY for value in values])


def _doubles(values: Sequence[float]) -> list[bytes]:
    raw = struct.pack(f"<{len(values)}d", *values)
    return [raw[at : at + 8] for at in range(0, len(raw), 8)]


def _booleans(values: Sequence[bool]) -> list[bytes]:
    return [b"\1" if value else b"\0" for value in values]


_WRITES: dict[str, Write] = {
    "string": _strings, "int": _longs, "long": _longs, "double": _doubles, "boolean": _booleans,
    "timestamp-millis": _instants, "date": _dates,
}  # fmt: skip


def _nullable(write: Write) -> Write:
    def some(values: Sequence[Any]) -> Iterable[bytes]:
        if None not in values:
            return map(_SOME.__add__, write(values))
        written = iter(write([value for value in values if value is not None]))
        return [_NULL if value is None else _SOME + next(written) for value in values]

    return some


def _write_of(kind: Any) -> Write:
    """Of a field's type: a name, a logical type, or a union of null and one of these."""
    if isinstance(kind, list):
        return _nullable(_write_of(kind[1]))
    return _WRITES[kind["logicalType"] if isinstance(kind, dict) else kind]


class Encoder:
    """Of a schema as `Source.avro_schema` gives it, under its id."""

    def __init__(self, schema: Schema, schema_id: int) -> None:
        self.prefix = prefix(schema_id)
        self.writes = [_write_of(field["type"]) for field in schema["fields"]]

    def encode(self, rows: Sequence[Sequence[Any]]) -> list[bytes]:
        """Records, their values in the order of the fields. They must fit: nothing is checked."""
        if not rows:
            return []
        columns = [write(column) for write, column in zip(self.writes, zip(*rows, strict=True), strict=True)]
        return list(map(b"".join, zip(repeat(self.prefix, len(rows)), *columns, strict=True)))
