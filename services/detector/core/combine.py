"""Combine: a batch of events of one partition becomes partial aggregates per series and pane.

A hot series costs one row per pane and batch, whatever its rate: the partial aggregates of all partitions
of a source meet per series in `merge`. KPIs of the same shape share one group-by and one frame.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import polars as pl
import polars_hash as plh

from libs.common.expressions import OFFSET, TIME
from libs.common.wire import SCHEMA_ID
from services.detector.core.definitions import CompiledKpi, states_of
from services.detector.core.windows import Each, Session

QUALITY = ("assessed", "suspect", "worst")
_PLAIN = re.compile(r"[A-Za-z0-9_.~ -]*")
"""What a series' name holds as it is; all else is percent-encoded."""


def by_shape(kpis: Iterable[CompiledKpi]) -> list[list[CompiledKpi]]:
    """The KPIs that share a group-by, together."""
    groups: dict[tuple[object, ...], list[CompiledKpi]] = {}
    for kpi in kpis:
        groups.setdefault(kpi.shape, []).append(kpi)
    return list(groups.values())


def chosen(events: pl.DataFrame, kpi: CompiledKpi) -> pl.DataFrame:
    """The events that a KPI looks at, with its derived fields. Enriched columns are already there."""
    for name, expression in kpi.derived:
        events = events.with_columns(expression.alias(name))
    return events if kpi.where is None else events.filter(kpi.where.polars())


def partials(events: pl.DataFrame, kpis: Sequence[CompiledKpi]) -> pl.DataFrame:
    """The partial aggregates of a batch for KPIs of one shape.

    `events`: the fields, `__time`, `__offset`, `__partition`, `__schema_id` and the verdict columns assessed,
    suspect, worst. Result: series_key, start (ms; of the pane, or of the first event of a session's part), count,
    assessed, suspect, worst, first and last offset (`first`, `end`), schema_ids, of sessions `last` (ms, of the
    last event), and the states of all the KPIs; one row per series and pane, of sessions per series and cell: events of
    one cell, from one multiple of the gap to the next, are always in one session. Deterministic.
    """
    shape = kpis[0]
    events = chosen(events, shape)
    names = list(shape.kpi.by)
    states = states_of(kpis)
    aggregates = [
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("assessed").sum().cast(pl.Int64),
        pl.col("suspect").sum().cast(pl.Int64),
        pl.col("worst").max(),
        pl.col(OFFSET).min().alias("first"),
        pl.col(OFFSET).max().alias("end"),
        _schema_ids(events),
        *(partial.of_events() for partial in states.values()),
    ]
    columns = ["start", "count", *QUALITY, "first", "end", "schema_ids", *states]
    windows = shape.windows
    if isinstance(windows, Session):
        bounds = [pl.col(TIME).min().alias("start"), pl.col(TIME).max().alias("last")]
        cell = pl.col(TIME).floordiv(windows.gap).alias("__cell")
        grouped = events.group_by(*names, cell).agg(*bounds, *aggregates)
        columns.append("last")
    else:
        assert not isinstance(windows, Each), "single events are not aggregated"
        start = windows.pane_of(events[TIME]).alias("__start")
        grouped = events.hstack([start]).group_by(*names, pl.col("__start").alias("start")).agg(*aggregates)
    return grouped.select(series_keys(grouped, names), *columns)


def _schema_ids(events: pl.DataFrame) -> pl.Expr:
    """Nearly always one id in a batch: then it needs no grouping."""
    ids = events[SCHEMA_ID]
    if len(ids) and ids.min() == ids.max():
        return pl.lit([ids[0]], dtype=pl.List(pl.Int64)).first().alias("schema_ids")
    return pl.col(SCHEMA_ID).unique().sort().alias("schema_ids")


def series_keys(frame: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """The canonical name of each row's series (`libs.common.events.series`), by columns: `series_key` of this frame."""
    if not names:
        return pl.lit(pl.repeat("", frame.height, dtype=pl.String, eager=True)).alias("series_key")
    parts = []
    for name in sorted(names):
        text = frame[name].cast(pl.String)
        if not _PLAIN.fullmatch("".join(filter(None, text.to_list()))):
            odd = [each for each in text.unique().drop_nulls().to_list() if not _PLAIN.fullmatch(each)]
            text = text.replace({each: quote(each, safe=" ") for each in odd})
        parts.append((pl.lit(f"{name}=") + text).fill_null(pl.lit(name)))
    return pl.concat_str(parts, separator=",").alias("series_key")


def split(rows: pl.DataFrame, targets: int) -> Mapping[int, pl.DataFrame]:
    """The rows by merge partition, in order: a stable hash of the series, so that a series always meets in one place."""
    if targets == 1 or rows.is_empty():
        return {0: rows} if rows.height else {}
    parts = rows.hstack([place(rows, targets).alias("__to")]).partition_by(
        "__to", as_dict=True, include_key=False
    )
    return {int(number[0]): parts[number] for number in sorted(parts)}


def place(rows: pl.DataFrame, targets: int) -> pl.Series:
    """XXH3 of each series key modulo `targets`: the same in every process and version, for state depends on it."""
    return rows.select(plh.col("series_key").nchash.xxh3_64() % targets).to_series()
