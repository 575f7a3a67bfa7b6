"""Emitted values as bytes: `OBSERVATION_SCHEMA` in the wire format, written without a dictionary per record.

A window's close may bring a hundred thousand values at once; most of a record is the same in all of them, or in all of
a series or a window, so each part is encoded once (Avro 1.12, Binary Encoding). A test holds the bytes equal to
fastavro's.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import polars as pl

from libs.common.events import parse_series_key
from libs.common.rules import SEVERITIES
from services.detector.core.definitions import CompiledKpi

_DOUBLE = struct.Struct("<d")
_NULL, _SOME = b"\x00", b"\x02"


_LAST = [bytes([low]) if low < 0x80 else bytes([low & 0x7F | 0x80, low >> 7]) for low in range(1 << 14)]
"""The last one or two digits of a varint."""
_MORE = [bytes([low & 0x7F | 0x80, low >> 7 | 0x80]) for low in range(1 << 14)]
"""Two digits that more follow."""


def varint(number: int) -> bytes:
    """Avro's int and long: zig-zag, seven bits a byte, two bytes at a time."""
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag < 1 << 14:
        return _LAST[zigzag]
    if zigzag < 1 << 28:
        return _MORE[zigzag & 0x3FFF] + _LAST[zigzag >> 14]
    return _MORE[zigzag & 0x3FFF] + _digits(zigzag >> 14)


def _digits(zigzag: int) -> bytes:
    return _LAST[zigzag] if zigzag < 1 << 14 else _MORE[zigzag & 0x3FFF] + _digits(zigzag >> 14)


def text(value: str) -> bytes:
    raw = value.encode()
    return varint(len(raw)) + raw


@lru_cache(maxsize=262_144)
def _series(series_key: str) -> bytes:
    """The map `series` and the text `series_key`."""
    items = parse_series_key(series_key)
    pairs = b"".join(
        text(name) + (_NULL if value is None else _SOME + text(value)) for name, value in items.items()
    )
    block = varint(len(items)) + pairs if items else b""
    return block + b"\x00" + text(series_key)


@lru_cache(maxsize=4_096)
def _numbers(values: tuple[int, ...]) -> bytes:
    return (varint(len(values)) + b"".join(map(varint, values)) if values else b"") + b"\x00"


def _spans(offsets: pl.Series) -> Iterator[bytes]:
    """The array `offsets` of each row; read as columns, for a dictionary per range costs more than all else."""
    flat = offsets.explode(empty_as_null=False).struct.unnest()
    ranges = zip(flat["partition"].to_list(), flat["first"].to_list(), flat["last"].to_list(), strict=True)
    for count in offsets.list.len().to_list():
        if count == 0:
            yield b"\x00"
            continue
        spans = [
            varint(partition) + varint(first) + varint(last)
            for partition, first, last in islice(ranges, count)
        ]
        yield varint(count) + b"".join(spans) + b"\x00"


def _maybe(value: float | None) -> bytes:
    return _NULL if value is None else _SOME + _DOUBLE.pack(value)


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
    tail = varint(envelope.recorded_at) + trace
    worst = [_NULL, *(_SOME + text(name) for name in SEVERITIES)]
    statuses = {name: text(name) for name in ("provisional", "final", "retracted")}
    names = [(name, text(name)) for name in compiled.measures]
    columns = [due[f"measure:{name}"].to_list() for name, _ in names]
    measures: Sequence[tuple[float | None, ...]] = (
        list(zip(*columns, strict=True)) if names else [()] * due.height
    )
    prefix = f"{kpi}|".encode()
    bound = lru_cache(varint)
    keys, values = [prefix + series.encode() for series in due["series_key"].to_list()], []
    rows = zip(
        due["series_key"].to_list(), due["start"].to_list(), due["stop"].to_list(), due["value"].to_list(),
        due["count"].to_list(), due["revision"].to_list(), due["status"].to_list(), completeness.to_list(),
        due["assessed"].to_list(), due["suspect"].to_list(), due["worst"].to_list(), _spans(due["offsets"]),
        due["schema_ids"].to_list(), measures, strict=True,
    )  # fmt: skip
    for (
        series, start, stop, value, count, revision, status, share, assessed, suspect, severity, spans, ids, others
    ) in rows:  # fmt: skip
        extra = b"".join(name + _maybe(each) for (_, name), each in zip(names, others, strict=True))
        values.append(b"".join((
            head, _series(series), bound(start), bound(stop), _maybe(value), varint(count), varint(revision),
            statuses[status], watermark, _maybe(share), varint(assessed), varint(suspect), worst[severity or 0],
            spans, _numbers(tuple(ids)), tail,
            varint(len(names)) + extra + b"\x00" if names else b"\x00",
        )))  # fmt: skip
    return keys, values
