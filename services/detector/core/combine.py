"""Combine: a batch of events of one partition becomes partial aggregates per series and pane.

A hot series costs one row per pane and batch, whatever its rate: the partial aggregates of all partitions
of a source meet per series in `merge`.
"""

from collections.abc import Mapping
from functools import lru_cache
from zlib import crc32

import polars as pl

from libs.common.events import series_key
from libs.common.wire import SCHEMA_ID
from services.detector.core.definitions import CompiledKpi

TIME = "__time"
OFFSET = "__offset"
"""Columns that a frame of events has beside its fields: event time (ms since the epoch) and Kafka offset."""

QUALITY = ("assessed", "suspect", "worst")


def partials(events: pl.DataFrame, compiled: CompiledKpi) -> pl.DataFrame:
    """The partial aggregates of a batch.

    `events`: the source's fields, `__time`, `__offset`, `__schema_id` and the verdict columns assessed,
    suspect, worst. Result: series_key, start and last (ms; of the pane, or of the first and last event of a
    session's part), count, assessed, suspect, worst, first and last offset (`first`, `end`), schema_ids, and
    the value's state columns; one row per series and pane. Deterministic.
    """
    if compiled.where is not None:
        events = events.filter(compiled.where.polars())
    names = list(compiled.kpi.by)
    aggregates = [
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("assessed").sum().cast(pl.Int64),
        pl.col("suspect").sum().cast(pl.Int64),
        pl.col("worst").max(),
        pl.col(OFFSET).min().alias("first"),
        pl.col(OFFSET).max().alias("end"),
        pl.col(SCHEMA_ID).unique().sort().alias("schema_ids"),
        *compiled.value.partials(),
    ]
    if compiled.windows.kind == "session":
        events, extra = _sessions(events, names, compiled.windows.size)
        grouped = events.group_by(*names, extra).agg(
            pl.col(TIME).min().alias("start"), pl.col(TIME).max().alias("last"), *aggregates
        )
    else:
        pane = compiled.windows.pane
        start = (pl.col(TIME).floordiv(pane) * pane).alias("start")
        grouped = events.group_by(*names, start).agg(*aggregates).with_columns(last=pl.col("start"))
    state = [partial.name for partial in compiled.value.states]
    columns = ["start", "last", "count", *QUALITY, "first", "end", "schema_ids", *state]
    return grouped.select(_series_keys(grouped, names).alias("series_key"), *columns)


def _sessions(events: pl.DataFrame, names: list[str], gap: int) -> tuple[pl.DataFrame, str]:
    """Numbers the runs of events that are less than `gap` apart, per series."""
    number = "__session"
    breaks = (pl.col(TIME).diff() >= gap).fill_null(False).cast(pl.Int32).cum_sum()
    run = breaks.over(names) if names else breaks
    return events.sort(TIME).with_columns(run.alias(number)), number


def _series_keys(grouped: pl.DataFrame, names: list[str]) -> pl.Series:
    if not names:
        return pl.repeat("", grouped.height, dtype=pl.String, eager=True)
    texts = grouped.select(pl.col(name).cast(pl.String) for name in names)
    keys = [_series_key(tuple(names), row) for row in texts.iter_rows()]
    return pl.Series(keys, dtype=pl.String)


@lru_cache(maxsize=200_000)
def _series_key(names: tuple[str, ...], values: tuple[str | None, ...]) -> str:
    return series_key(dict(zip(names, values, strict=True)))


def split(rows: pl.DataFrame, targets: int) -> Mapping[int, pl.DataFrame]:
    """The rows by merge partition: a stable hash of the series, so that a series always meets in one place."""
    if targets == 1 or rows.is_empty():
        return {0: rows} if rows.height else {}
    keys = rows["series_key"].unique(maintain_order=True)
    place = {key: stable_hash(key) % targets for key in keys}
    numbered = rows.with_columns(
        rows["series_key"].replace_strict(place, return_dtype=pl.Int32).alias("__to")
    )
    parts = numbered.partition_by("__to", as_dict=True, include_key=False)
    return {int(number[0]): part for number, part in parts.items()}


@lru_cache(maxsize=200_000)
def stable_hash(key: str) -> int:
    """The same in every process and version (CRC-32): partitions and state depend on it."""
    return crc32(key.encode())
