"""The truth: every KPI of the workspace as plain SQL over the raw data set, by DuckDB, without the engine.

Only the definitions' own SQL texts (`where`, `value`) are taken over. Windows are made here another way than in
the engine: tumbling by rounding down, sliding by joining every event to the windows it lies in, sessions by gaps
and islands.
"""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from demo import data
from libs.common.catalog import Kpi

Row = tuple[str, int, int, float | None, int]
"""series key, window start and end (ms since the epoch), value, count"""


def expected(
    kpis: list[Kpi], start: datetime | None = None, end: datetime | None = None
) -> dict[str, list[Row]]:
    """KPI id → the final observations that must be there, for events in [start, end)."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for source in data.EVENTS:
            frame = between(data.events(source), start, end)
            file = Path(folder) / f"{source}.parquet"
            frame.with_columns(pl.col(data.CLOCK).dt.epoch("ms").alias("t")).write_parquet(file)
            connection.execute(f"CREATE TABLE {source} AS SELECT * FROM read_parquet('{file}')")
        return {kpi.id: connection.execute(statement(kpi)).fetchall() for kpi in kpis}


def between(frame: pl.DataFrame, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """The events of a stretch of time, [start, end)."""
    clock = pl.col(data.CLOCK)
    if start is not None:
        frame = frame.filter(clock >= start)
    if end is not None:
        frame = frame.filter(clock < end)
    return frame


def statement(kpi: Kpi) -> str:
    """series key, window start and end, value and count of every window that has an event."""
    chosen = f"SELECT *, {_series(kpi)} AS series FROM {kpi.source} WHERE {kpi.where or 'true'}"
    window = kpi.window
    if window.tumbling is not None:
        size = _ms(window.tumbling)
        placed = f"SELECT *, t // {size} * {size} AS w0, t // {size} * {size} + {size} AS w1 FROM chosen"
    elif window.sliding is not None and window.every is not None:
        size, every = _ms(window.sliding), _ms(window.every)
        placed = (
            f"SELECT *, w0 + {size} AS w1 FROM chosen,"
            f" generate_series((t - {size}) // {every} * {every} + {every}, t // {every} * {every}, {every}) AS g(w0)"
        )
    else:
        assert window.session is not None
        gap = _ms(window.session)
        order = "PARTITION BY series ORDER BY t"
        fresh = (
            f"SELECT *, CASE WHEN t - lag(t) OVER ({order}) < {gap} THEN 0 ELSE 1 END AS fresh FROM chosen"
        )
        numbered = f"SELECT *, sum(fresh) OVER ({order} ROWS UNBOUNDED PRECEDING) AS number FROM ({fresh})"
        placed = (
            f"SELECT *, min(t) OVER island AS w0, max(t) OVER island + {gap} AS w1 FROM ({numbered})"
            " WINDOW island AS (PARTITION BY series, number)"
        )
    return (
        f"WITH chosen AS ({chosen}), placed AS ({placed})"
        f" SELECT series, w0::bigint, w1::bigint, ({kpi.value})::double, count(*)"
        " FROM placed GROUP BY series, w0, w1"
    )


def _series(kpi: Kpi) -> str:
    """The canonical name of the series: sorted `name=value` pairs. The data's values need no escaping."""
    if not kpi.by:
        return "''"
    return " || ',' || ".join(
        f"CASE WHEN {name} IS NULL THEN '{name}' ELSE '{name}=' || {name} END" for name in sorted(kpi.by)
    )


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
