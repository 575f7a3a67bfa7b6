"""The events of a number, found again.

A window's value was made of the events that lie in its offset ranges, have a time in the window, satisfy the
definition and belong to the series, without those that were set aside as too late. Partitions are read in order
and a window that is closed takes nothing more, so whatever came too late for a tumbling or sliding window lies
beyond its ranges. Two sessions that a late event lay between can still grow together, so that it then lies within
their ranges: of sessions, the events set aside are worked out from the record of them (`late_in`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from libs.common.clock import EPOCH
from libs.common.expressions import FieldTypes, Predicate
from libs.common.wire import DTYPES, defaulted

Place = tuple[int, int]
"""Partition and offset."""

_TEXTS = ("timestamp", "date")


@dataclass(frozen=True)
class Found:
    """One event of the archive that a definition takes for a series."""

    place: Place
    time: datetime


Derived = Sequence[tuple[str, pl.Expr]]
"""Fields that a definition derives from others, in order: each may look at those before."""


def frame_of(
    documents: Sequence[str],
    types: FieldTypes,
    derived: Derived = (),
    defaults: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Events as the archive keeps them (JSON objects) as the detector read them: a column per field, typed.

    A field that an event lacks has its default, else it is null; one that the source does not define is left out.
    """
    schema = {name: pl.String if kind in _TEXTS else DTYPES[kind] for name, kind in types.items()}
    frame = (
        pl.read_ndjson("\n".join(documents).encode(), schema=schema)
        if documents
        else pl.DataFrame(schema=schema)
    )
    times = [
        pl.col(name).str.to_datetime(time_unit="ms", time_zone="UTC")
        if kind == "timestamp"
        else pl.col(name).str.to_date()
        for name, kind in types.items()
        if kind in _TEXTS
    ]
    frame = defaulted(frame.with_columns(times), types, defaults or {})
    for name, expression in derived:
        frame = frame.with_columns(expression.alias(name))
    return frame


def taken(frame: pl.DataFrame, where: Predicate | None, series: Mapping[str, str | None]) -> list[bool]:
    """For each event whether `where` holds of it and its dimensions are those of the series."""
    tests = [
        pl.col(name).cast(pl.String).eq_missing(pl.lit(value, pl.String)) for name, value in series.items()
    ]
    if where is not None:
        tests.append(where.polars().fill_null(False))
    if not tests:
        return [True] * frame.height
    found: list[bool] = frame.select(pl.all_horizontal(tests).alias("taken"))["taken"].to_list()
    return found


def in_ranges(place: Place, spans: Iterable[Mapping[str, int]]) -> bool:
    return any(span["partition"] == place[0] and span["first"] <= place[1] <= span["last"] for span in spans)


def late_in(found: Iterable[Found], late: Iterable[Mapping[str, Any]], gap: timedelta) -> set[Place]:
    """The events that were set aside, of sessions with this gap.

    Each record of `late` tells of the events of one batch in one cell, from one multiple of the gap to the next: the
    time of the first, and the offsets they lie between.
    """
    cells = [((record["window_start"] - EPOCH) // gap, (_span(record),)) for record in late]
    return {
        one.place
        for one in found
        for cell, span in cells
        if (one.time - EPOCH) // gap == cell and in_ranges(one.place, span)
    }


def _span(record: Mapping[str, Any]) -> Mapping[str, int]:
    return {name: record[name] for name in ("partition", "first", "last")}


@dataclass(frozen=True)
class Counted:
    """The comparison of a number's count with the events found again."""

    matched: int
    agrees: bool | None
    """None: an end of the offset ranges is not in the archive, so the two cannot be compared."""
    outside: int
    """Events of the window that are not in the number."""


def compare(
    members: Sequence[Place], outside: int, spans: Sequence[Mapping[str, int]], count: int
) -> Counted:
    """Hold `count` against the members found. The first and last offset of a range are events of the number."""
    if len(members) == count:
        return Counted(count, True, outside)
    held = set(members)
    ends = {(span["partition"], span[end]) for span in spans for end in ("first", "last")}
    return Counted(len(members), False if ends <= held else None, outside)
