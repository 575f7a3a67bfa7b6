"""The truth: every KPI of the workspace as plain SQL over the raw data set, by the batch twin, without the engine."""

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from demo import data
from libs.common.catalog import Catalog, Kpi
from libs.common.catalog.workspace import load
from libs.common.twins import batch

ROOT = Path(__file__).parents[1]

Row = tuple[str, int, int, float | None, int]
"""series key, window start and end (ms since the epoch), value, count"""


def expected(
    kpis: list[Kpi], start: datetime | None = None, end: datetime | None = None
) -> dict[str, list[Row]]:
    """KPI id → the final observations that must be there, for events in [start, end)."""
    catalog = Catalog.of([*load(ROOT / "catalog").definitions, *kpis])
    with duckdb.connect() as connection:
        for source in data.EVENTS:
            frame = between(data.events(source), start, end)
            batch.put(connection, source, frame.with_columns(pl.col(data.CLOCK).dt.epoch("ms").alias("t")))
        for source in data.REFERENCES:
            batch.put(connection, source, data.references(source))
        return {kpi.id: _rows(connection, batch.statement(kpi, catalog)) for kpi in kpis}


def _rows(connection: duckdb.DuckDBPyConnection, statement: str) -> list[Any]:
    return [row[:5] for row in connection.execute(statement).fetchall()]


def between(frame: pl.DataFrame, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """The events of a stretch of time, [start, end)."""
    clock = pl.col(data.CLOCK)
    if start is not None:
        frame = frame.filter(clock >= start)
    if end is not None:
        frame = frame.filter(clock < end)
    return frame
