"""Emitted values as bytes: `OBSERVATION_SCHEMA` in the wire format, written by columns.

A window's close may bring a hundred thousand values at once, or one: each part of a record is a column of bytes, and a
record is its parts joined (Avro 1.12, Binary Encoding). A test holds the bytes equal to fastavro's.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, repeat

import numpy as np
import polars as pl

from libs.common.events import parse_series_key
from libs.common.rules import SEVERITIES
from libs.common.varints import objects, varint, varints
from services.detector.core.definitions import CompiledKpi

_NULL, _SOME, _END = b"\x00", b"\x02", b"\x00"

Column = Iterable[bytes]


def _varints(numbers: pl.Series) -> np.ndarray:
    return varints(numbers.cast(pl.Int64).to_numpy())


def text(value: str) -> bytes:
    raw = value.encode()
    return varint(len(raw)) + raw


def _doubles(values: pl.Series) -> list[bytes]:
    """A union of null and double."""
    raw = np.empty(len(values), dtype=[("some", "S1"), ("value", "<f8")])
    raw["some"], raw["value"] = _SOME, values.to_numpy()
    found: list[bytes] = raw.view("V9").tolist()
    for place in values.is_null().arg_true().to_list() if values.null_count() else ():
        found[place] = _NULL
    return found


@lru_cache(maxsize=262_144)
def _series(series_key: str) -> bytes:
    """The map `series` and the text `series_key`."""
    items = parse_series_key(series_key)
    pairs = b"".join(
        text(name) + (_NULL if value is None else _SOME + text(value)) for name, value in items.items()
    )
    return (varint(len(items)) + pairs if items else b"") + _END + text(series_key)


def _array(items: Iterable[bytes], count: int) -> bytes:
    return varint(count) + b"".join(items) + _END if count else _END


def _arrays(items: np.ndarray, counts: pl.Series) -> Iterator[bytes]:
    """An array of the next so many items for each row."""
    if (counts == 1).all():
        return iter(objects(varint(1)) + items + objects(_END))
    each = iter(items.tolist())
    return (_array(islice(each, count), count) for count in counts.to_list())


def _spans(offsets: pl.Series) -> Iterator[bytes]:
    flat = offsets.explode(empty_as_null=False).struct.unnest()
    ranges = _varints(flat["partition"]) + _varints(flat["first"]) + _varints(flat["last"])
    return _arrays(ranges, offsets.list.len())


def _numbers(lists: pl.Series) -> Iterator[bytes]:
    return _arrays(_varints(lists.explode(empty_as_null=False)), lists.list.len())


@dataclass(frozen=True)
class Envelope:
    """What all records of one emission share."""

    watermark: int | None
    recorded_at: int
    """ms."""
    traceparent: str | None


@dataclass(frozen=True)
class Common:
    """What the records of some windows are for whatever KPI: their series' names, and bytes around the value."""

    series: list[str]
    before: Sequence[bytes]
    after: Sequence[bytes]


def common(windows: pl.DataFrame, completeness: pl.Series, envelope: Envelope) -> Common:
    """Of the rows of an emission (`merge.WINDOW`)."""
    watermark = _NULL if envelope.watermark is None else _SOME + varint(envelope.watermark)
    trace = _NULL if envelope.traceparent is None else _SOME + text(envelope.traceparent)
    statuses = {name: text(name) for name in ("provisional", "final", "retracted")}
    worst = [_NULL, *(_SOME + text(name) for name in SEVERITIES)]
    series = windows["series_key"].to_list()
    before = _joined(
        windows.height, map(_series, series), _varints(windows["start"]), _varints(windows["stop"])
    )
    after = _joined(
        windows.height,
        _varints(windows["count"]), _varints(windows["revision"]), map(statuses.__getitem__, windows["status"].to_list()),
        watermark, _doubles(completeness), _varints(windows["assessed"]), _varints(windows["suspect"]),
        map(worst.__getitem__, windows["worst"].fill_null(0).to_list()), _spans(windows["offsets"]),
        _numbers(windows["schema_ids"]), varint(envelope.recorded_at) + trace,
    )  # fmt: skip
    return Common(series, before, after)


def encode(
    compiled: CompiledKpi, schema_id: int, due: pl.DataFrame, shared: Common
) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of a KPI's rows (`merge.observations`). `schema_id`: of `OBSERVATION_SCHEMA` in the registry."""
    kpi, names = compiled.kpi.id, compiled.measures
    head = struct.pack(">bI", 0, schema_id) + varint(1) + text(kpi) + varint(compiled.version)
    measures: list[bytes | Column] = [varint(len(names)) if names else b""]
    for name in names:
        measures += [text(name), _doubles(due[f"measure:{name}"])]
    values = _joined(due.height, head, shared.before, _doubles(due["value"]), shared.after, *measures, _END)
    prefix = f"{kpi}|".encode()
    return [prefix + key.encode() for key in shared.series], values


def _joined(height: int, *parts: bytes | Column) -> list[bytes]:
    """The parts of each row, one after the other."""
    columns = [repeat(part, height) if isinstance(part, bytes) else part for part in parts]
    return list(map(b"".join, zip(*columns, strict=True)))
