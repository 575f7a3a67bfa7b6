"""What both sides of the parity check are made of, read from the archive's views."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import polars as pl

from libs.common import clock
from libs.common.catalog import Catalog, Kpi, Source
from libs.common.clock import milliseconds, moment
from libs.common.errors import DefinitionError
from libs.common.events import parse_series_key, series_key
from libs.common.twins import batch
from libs.common.wire import DTYPES, INDEX, decode_json, defaulted
from services.quality import store
from services.quality.core.parity import Figures, Key, counting, reach, stood
from services.quality.core.plain import Tables

ROUND = 100_000
"""At most so many events, values of inputs, or rows of a reference in one."""

Stretch = tuple[datetime, datetime]
"""Windows that end after the first and not after the second."""


@dataclass
class Published:
    """What was published of a stretch of time."""

    figures: dict[Key, Figures] = field(default_factory=dict)
    recorded: dict[Key, int] = field(default_factory=dict)
    """When (ms) the newest revision of each was made."""


@dataclass
class Inputs:
    """The values of other KPIs that a stretch of a KPI over them is made of."""

    tables: Tables
    parts: dict[Key, list[dict[str, Any]]] = field(default_factory=dict)
    """The values of each window, as they are shown, with `recorded_at`."""
    unsure: set[Key] = field(default_factory=set)
    """Windows that may be made of another version of an input."""


class Sides:
    """Reads them."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog

    async def published(self, kpi: Kpi, version: int, stretch: Stretch) -> Published:
        if kpi.window.each is not None:
            rows = await store.published_singly(self.pool, kpi.id, version, *stretch)
        else:
            rows = await store.published(self.pool, kpi.id, version, *stretch, reach(kpi))
        found = Published()
        for row in rows:
            place = (row["partition"], row["place"]) if kpi.window.each is not None else None
            key = Key(
                row["series_key"], milliseconds(row["window_start"]), milliseconds(row["window_end"]), place
            )
            measures = tuple(row["measures"].get(name) for name in kpi.measures)
            found.figures[key] = Figures(row["value"], row["count"], measures)
            found.recorded[key] = milliseconds(row["recorded_at"])
        return found

    # --- events ------------------------------------------------------------------------------------------

    async def of_events(self, kpi: Kpi, version: int, start: datetime, stop: datetime) -> Tables | None:
        """The events of a stretch of time with what is known of late ones, and the references; None if too many."""
        source = self.catalog.source(kpi.source or "")
        if source is None:
            raise DefinitionError("source", f"there is no source {kpi.source}", "known source")
        events = await self._events(source, start, stop)
        if events is None:
            return None
        frames = {source.id: events}
        for each in kpi.enrich:
            frames[each.reference] = await self._reference(each.reference)
        late = kpi.engine == "embedded" and kpi.window.each is None
        if late:
            told_from = start - (kpi.window.session or start - start)  # a cell is told by its first event
            frames[batch.LATE] = await self._late(kpi, version, told_from, stop)
            frames[batch.BACKFILLED] = await self._backfilled(kpi, version)
        return Tables(frames, late)

    async def _events(self, source: Source, start: datetime, stop: datetime) -> pl.DataFrame | None:
        """Those of a stretch of event time that the detector took in; None if they are too many."""
        rows = await store.events(self.pool, source.id, start, stop, ROUND + 1)
        if len(rows) > ROUND:
            return None
        frame, places = _decoded(source, rows)
        return frame.with_columns(
            pl.Series("t", [milliseconds(row["event_time"]) for row in rows], dtype=pl.Int64).gather(places),
            pl.Series("__arrived", [milliseconds(row["ingested_at"]) for row in rows], dtype=pl.Int64).gather(
                places
            ),
            pl.Series("__partition", [row["partition"] for row in rows], dtype=pl.Int64).gather(places),
            pl.Series("__offset", [row["offset"] for row in rows], dtype=pl.Int64).gather(places),
        )

    async def _reference(self, id: str) -> pl.DataFrame:
        reference = self.catalog.source(id)
        if reference is None:
            raise DefinitionError("enrich", f"there is no reference {id}", "known reference")
        rows = await store.reference_rows(self.pool, id, ROUND + 1)
        if len(rows) > ROUND:
            raise DefinitionError("enrich", f"{id} has more than {ROUND:,} rows", "a reference that is held")
        frame, places = _decoded(reference, rows)
        recorded = pl.Series("__recorded", [milliseconds(row["recorded_at"]) for row in rows], dtype=pl.Int64)
        return frame.with_columns(recorded.gather(places))

    async def _late(self, kpi: Kpi, version: int, start: datetime, stop: datetime) -> pl.DataFrame:
        rows = await store.late(self.pool, kpi.id, version, start, stop)
        schema = dict.fromkeys(("id", "start", "partition", "first", "last", "closed"), pl.Int64)
        told = [
            {
                **row,
                "id": place,
                "start": milliseconds(row["window_start"]),
                "closed": row["closed_to"] and milliseconds(row["closed_to"]),
            }
            for place, row in enumerate(map(dict, rows))
        ]
        return pl.DataFrame(told, schema={**schema, "series_key": pl.String}).rename({"series_key": "series"})

    async def _backfilled(self, kpi: Kpi, version: int) -> pl.DataFrame:
        rows = await store.backfilled(self.pool, kpi.id, version)
        told = [
            (
                milliseconds(row["start"]),
                milliseconds(row["stop"]),
                milliseconds(row["closed_to"]),
                row["partition"],
                row["before"],
            )
            for row in rows
        ]
        return pl.DataFrame(told, schema=batch.BACKFILLED_SCHEMA, orient="row")

    # --- values of inputs --------------------------------------------------------------------------------

    async def of_inputs(self, kpi: Kpi, published: Published, stretch: Stretch) -> Inputs | None:
        """The inputs' values, of each window those of the version that was served when the window's own was made; None
        if they are too many."""
        ids = list(dict.fromkeys(kpi.over.values()))
        rows = await store.values(self.pool, ids, *stretch, reach(kpi), ROUND + 1)
        if len(rows) > ROUND:
            return None
        versions: dict[str, dict[int, int]] = {id: {} for id in ids}
        if kpi.engine == "embedded":  # a job on Flink makes its inputs itself
            for row in await store.caught_up(self.pool, ids):
                versions[row["kpi"]][row["kpi_version"]] = milliseconds(row["since"])
        known: dict[tuple[str, datetime], set[int]] = {}
        for row in rows:
            known.setdefault((row["kpi"], row["window_start"]), set()).add(row["kpi_version"])
        now = milliseconds(clock.now())
        found = Inputs(Tables({}))
        taken: dict[str, list[tuple[Any, ...]]] = {id: [] for id in ids}
        for row in rows:
            names = {
                name: text for name, text in parse_series_key(row["series_key"]).items() if name in kpi.by
            }
            bounds = milliseconds(row["window_start"]), milliseconds(row["window_end"])
            key = Key(series_key(names), *bounds)
            at = published.recorded.get(key, now)
            chosen, sure = counting(versions[row["kpi"]], known[row["kpi"], row["window_start"]], at)
            if not sure:
                found.unsure.add(key)
            if row["kpi_version"] != chosen:
                continue
            made = milliseconds(row["recorded_at"])
            if key not in published.recorded and stood(versions[row["kpi"]], chosen, made):
                found.unsure.add(key)
            found.parts.setdefault(key, []).append(dict(row))
            if row["status"] != "retracted":
                dimensions = [names.get(name) for name in kpi.by]
                taken[row["kpi"]].append((*dimensions, *bounds, row["value"], row["count"]))
        schema = {
            **dict.fromkeys(kpi.by, pl.String), "w0": pl.Int64, "w1": pl.Int64, "value": pl.Float64, "count": pl.Int64
        }  # fmt: skip
        frames = {
            f"{batch.PUBLISHED}{id}": pl.DataFrame(values, schema=schema, orient="row")
            for id, values in taken.items()
        }
        found.tables = Tables(frames)
        return found


def _decoded(source: Source, rows: Sequence[asyncpg.Record]) -> tuple[pl.DataFrame, pl.Series]:
    """The rows' `data` as the source's fields, and the places of those that could be read."""
    found, _ = decode_json([row["data"].encode() for row in rows], source.field_types)
    frame = defaulted(found, source.field_types, source.defaults)
    lacking = [name for name in source.field_types if name not in frame.columns]
    frame = frame.with_columns(
        pl.lit(None, dtype=DTYPES[source.field_types[name]]).alias(name) for name in lacking
    )
    return frame.drop(INDEX), frame[INDEX]


def first_of(published: Published, otherwise: datetime) -> datetime:
    """When the earliest of the windows begins, if it is before `otherwise`."""
    return min([otherwise, *(moment(key.start) for key in published.figures)])
