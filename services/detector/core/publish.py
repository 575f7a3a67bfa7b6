"""Emitted values as bytes: `OBSERVATION_SCHEMA` in the wire format, written by columns.

A window's close may bring a hundred thousand values at once. Each part of a record is a column of bytes, and a record
is the columns joined (Avro 1.12, Binary Encoding). A test holds the bytes equal to fastavro's.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import polars as pl

from libs.common.rules import SEVERITIES
from services.detector.core.definitions import CompiledKpi

_NULL, _SOME, _END = b"\x00", b"\x02", b"\x00"

_BITS = 14
"""Of a number at a time: two digits of a varint."""
_MORE, _NONE = 1 << _BITS, 2 << _BITS
_DIGITS = pl.Series(
    [
        *(bytes([low]) if low < 0x80 else bytes([low & 0x7F | 0x80, low >> 7]) for low in range(1 << _BITS)),
        *(bytes([low & 0x7F | 0x80, low >> 7 | 0x80]) for low in range(1 << _BITS)),
        b"",
    ]
)
"""The last one or two digits of a varint; from `_MORE` on two that more follow; at `_NONE` nothing."""


def varints(numbers: pl.Series) -> pl.Series:
    """Avro's int and long of each: zig-zag, seven bits a byte, the low ones first."""
    signed = numbers.cast(pl.Int64).to_numpy()
    rest = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    places = (rest & (_MORE - 1)) + np.where(rest >> _BITS, np.uint64(_MORE), np.uint64(0))
    found = _DIGITS.gather(pl.Series(places))
    while (rest := rest >> _BITS).any():
        places = (rest & (_MORE - 1)) + np.where(rest >> _BITS, np.uint64(_MORE), np.uint64(0))
        found += _DIGITS.gather(pl.Series(np.where(rest, places, np.uint64(_NONE))))
    return found


def varint(number: int) -> bytes:
    return varints(pl.Series([number], dtype=pl.Int64))[0]


def text(value: str) -> bytes:
    raw = value.encode()
    return varint(len(raw)) + raw


def _joined(*parts: pl.Series | bytes) -> pl.Series:
    """The parts one after the other, row by row; two by two, so that no byte is copied often."""
    columns = [pl.Series([part]) if isinstance(part, bytes) else part for part in parts]
    while len(columns) > 1:
        pairs = [left + right for left, right in zip(columns[::2], columns[1::2], strict=False)]
        columns = pairs if len(columns) % 2 == 0 else [*pairs, columns[-1]]
    return columns[0]


def _texts(values: pl.Series) -> pl.Series:
    return varints(values.str.len_bytes()) + values.cast(pl.Binary)


def _or_null(values: pl.Series, encoded: pl.Series) -> pl.Series:
    """A union of null and something: `encoded` where there is a value."""
    some = _joined(_SOME, encoded)
    if values.null_count() == 0:
        return some
    return some.zip_with(values.is_not_null(), pl.Series([_NULL]))


def _doubles(values: pl.Series) -> pl.Series:
    """A union of null and double."""
    raw = values.fill_null(0.0).to_numpy().astype("<f8").view(np.uint8).reshape(-1, 8)
    return _or_null(values, pl.Series(raw).cast(pl.List(pl.UInt8)).cast(pl.Binary))


def _arrays(counts: pl.Series, items: pl.Series) -> pl.Series:
    """An array, or a map: so many of the items for each row. The items of all rows lie one after the other."""
    many = counts.cast(pl.Int64).to_numpy()
    firsts = np.cumsum(many) - many
    nothing = len(items)
    items = pl.concat([items, pl.Series([b""])])
    each = [
        items.gather(pl.Series(np.where(place < many, firsts + place, nothing)))
        for place in range(int(many.max(initial=0)))
    ]
    head = varints(counts).zip_with(counts > 0, pl.Series([b""]))
    return _joined(head, *each, _END)


def _series(keys: pl.Series) -> pl.Series:
    """The map `series` that a name stands for (`libs.common.events.series`), and the name."""
    parts = keys.str.split(",").explode()
    counts = pl.select(pl.when(keys == "").then(0).otherwise(keys.str.count_matches(",", literal=True) + 1))
    fields = parts.filter(parts != "").str.split_exact("=", 1).struct.unnest()
    names, values = fields["field_0"], fields["field_1"]
    odd = values.filter(values.str.contains("%", literal=True)).unique().to_list()
    if odd:
        values = values.replace({each: unquote(each) for each in odd})
    items = _joined(_texts(names), _or_null(values, _texts(values.fill_null(""))))
    return _joined(_arrays(counts.to_series(), items), _texts(keys))


def _spans(offsets: pl.Series) -> pl.Series:
    flat = offsets.explode(empty_as_null=False).struct.unnest()
    ranges = _joined(*(varints(flat[name]) for name in ("partition", "first", "last")))
    return _arrays(offsets.list.len(), ranges)


def _numbers(lists: pl.Series) -> pl.Series:
    return _arrays(lists.list.len(), varints(lists.explode(empty_as_null=False)))


def _chosen(values: pl.Series, texts: Iterable[tuple[object, bytes]]) -> pl.Series:
    """Of a column of few values the bytes that stand for each."""
    return values.replace_strict(dict(texts), return_dtype=pl.Binary)


@dataclass(frozen=True)
class Envelope:
    """What all records of one emission share."""

    schema_id: int
    watermark: int | None
    recorded_at: int
    """ms."""
    traceparent: str | None


def encode(
    compiled: CompiledKpi, due: pl.DataFrame, completeness: pl.Series, envelope: Envelope
) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of the rows of an emission (`merge.observations`)."""
    kpi = compiled.kpi.id
    head = struct.pack(">bI", 0, envelope.schema_id) + varint(1) + text(kpi) + varint(compiled.version)
    watermark = _NULL if envelope.watermark is None else _SOME + varint(envelope.watermark)
    trace = _NULL if envelope.traceparent is None else _SOME + text(envelope.traceparent)
    names = compiled.measures
    measures = [part for name in names for part in (text(name), _doubles(due[f"measure:{name}"]))]
    statuses = ((name, text(name)) for name in ("provisional", "final", "retracted"))
    severities = ((0, _NULL), *((place, _SOME + text(name)) for place, name in enumerate(SEVERITIES, 1)))
    values = _joined(
        head, _series(due["series_key"]), varints(due["start"]), varints(due["stop"]),
        _doubles(due["value"]), varints(due["count"]), varints(due["revision"]),
        _chosen(due["status"], statuses), watermark, _doubles(completeness),
        varints(due["assessed"]), varints(due["suspect"]), _chosen(due["worst"].fill_null(0), severities),
        _spans(due["offsets"]), _numbers(due["schema_ids"]), varint(envelope.recorded_at) + trace,
        varint(len(names)) if names else b"", *measures, _END,
    )  # fmt: skip
    return _joined(f"{kpi}|".encode(), due["series_key"].cast(pl.Binary)).to_list(), values.to_list()
