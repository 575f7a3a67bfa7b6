"""The parity check: every settled window once, compared with plain SQL (DuckDB) over its archived events.

A window is settled when the KPI's watermark is its lateness past the window's end. A stretch of time is compared at a
time, as long as its events are few enough for one round; after each the loop rests nine times as long as it took, so
that the check costs a tenth of a core at most. The archive may be behind with events or values: what differs is looked
at again, and only what still differs after `PATIENCE_SECONDS`, when the events that the value was made of are archived,
is told. What came too late counts in windows that were backfilled since (`read.backfilled`), and after a backfill that
changed values all windows are compared again. Windows whose events were disposed of since, or came before what a new
version could read, are left out.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import duckdb
import polars as pl

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Kpi, Source
from libs.common.clock import milliseconds, moment
from libs.common.errors import DefinitionError
from libs.common.stream.stored import Connection
from libs.common.topics import EVENTS
from libs.common.twins import batch
from libs.common.wire import DTYPES, INDEX, decode_json, defaulted
from services.quality import store
from services.quality.core.parity import Difference, Figures, Key, differences, incomparable, reach
from services.quality.handlers.incidents import observe

log = logging.getLogger(__name__)

ROUND = 100_000
"""At most so many events in one."""
PATIENCE_SECONDS = 20.0
SHOWN = 20
"""Events of a differing window that are kept."""
FIRST_STRETCH = timedelta(days=1)

Stretch = tuple[datetime, datetime]
"""Windows that end after the first and not after the second."""


class Parity:
    """One of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog
        self.stretches: dict[str, timedelta] = {}
        self.doubts: dict[tuple[str, int], float] = {}
        """KPI and version → since when (monotonic) the stretch at hand has differed."""

        self.backfills: dict[tuple[str, int], set[str]] = {}
        """KPI and version → the backfills that its values were compared after."""

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            for kpi in self.catalog.kpis:
                began = clock.monotonic()
                await self._attempt(kpi, self.catalog.version("kpi", kpi.id))
                if stopping.is_set():
                    return
                await asyncio.sleep(min(30.0, 9 * (clock.monotonic() - began)))
            await asyncio.sleep(1.0)

    async def _attempt(self, kpi: Kpi, version: int) -> None:
        """One KPI that cannot be compared stops neither the others nor the service."""
        try:
            await self._check(kpi, version)
        except (duckdb.Error, DefinitionError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            log.error("a KPI cannot be compared", extra={"fields": {"kpi": kpi.id, "reason": reason}})
            await self._explain(kpi, version, f"cannot be compared: {reason}")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("waiting", extra={"fields": {"loop": "quality.parity", "reason": repr(error)}})

    async def _explain(self, kpi: Kpi, version: int, reason: str) -> None:
        async with self.pool.acquire() as connection:
            await store.put_parity(connection, (kpi.id, version, None, 0, 0, None, reason, clock.now()))

    async def _check(self, kpi: Kpi, version: int) -> None:
        """The next stretch of one KPI."""
        known = await store.parity_of(self.pool, kpi.id, version)
        reason = incomparable(kpi, self.catalog)
        if reason is not None:
            if known is None or known["note"] != reason:
                await self._explain(kpi, version, reason)
            return
        if await self._begins_anew(kpi, version, known["checked_at"] if known else None):
            await self._explain(kpi, version, "")
            known = None
        source = self.catalog.source(kpi.source or "")
        stretch = await self._stretch(kpi, version, known["checked_to"] if known else None)
        if source is None or stretch is None:
            return
        published = await self._published(kpi, version, stretch)
        start = min([stretch[0] - reach(kpi), *(moment(key[1]) for key in published)])
        events = await self._events(source, start, stretch[1])
        if events is None:  # too many for one round
            self.stretches[kpi.id] = max(self.stretches[kpi.id] / 2, timedelta(seconds=1))
            return
        if events.height < ROUND // 4:
            self.stretches[kpi.id] = min(self.stretches[kpi.id] * 2, timedelta(days=366))
        late = await self._late(kpi, version, start, stretch[1])
        counted = await self._backfilled(kpi, version)
        expected, members = await asyncio.to_thread(_batch, kpi, self.catalog, events, late, counted, stretch)
        await self._conclude(kpi, version, stretch, published, expected, members)

    async def _stretch(self, kpi: Kpi, version: int, checked_to: datetime | None) -> Stretch | None:
        """What is settled and was not compared yet, as much of it as one round takes."""
        row = await store.settled(self.pool, kpi.id, version)
        if row is None or row["watermark"] is None:
            return None
        lower = checked_to or row["first_end"] - timedelta(milliseconds=1)
        length = self.stretches.setdefault(kpi.id, FIRST_STRETCH)
        upper = min(lower + length, row["watermark"] - kpi.lateness)
        return (lower, upper) if upper > lower else None

    async def _published(self, kpi: Kpi, version: int, stretch: Stretch) -> dict[Key, Figures]:
        rows = await store.published(self.pool, kpi.id, version, *stretch, reach(kpi))
        return {
            (row["series_key"], milliseconds(row["window_start"]), milliseconds(row["window_end"])): Figures(
                row["value"], row["count"], tuple(row["measures"].get(name) for name in kpi.measures)
            )
            for row in rows
        }

    async def _events(self, source: Source, start: datetime, stop: datetime) -> pl.DataFrame | None:
        """Those of a stretch of event time that the detector took in; None if they are too many."""
        rows = await store.events(self.pool, source.id, start, stop, ROUND + 1)
        if len(rows) > ROUND:
            return None
        frame, _ = decode_json([row["data"].encode() for row in rows], source.field_types)
        places = frame[INDEX]
        return defaulted(frame.drop(INDEX), source.field_types, source.defaults).with_columns(
            pl.Series("t", [milliseconds(row["event_time"]) for row in rows], dtype=pl.Int64).gather(places),
            pl.Series("__partition", [row["partition"] for row in rows], dtype=pl.Int64).gather(places),
            pl.Series("__offset", [row["offset"] for row in rows], dtype=pl.Int64).gather(places),
        )

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

    async def _begins_anew(self, kpi: Kpi, version: int, checked_at: datetime | None) -> bool:
        """Whether a backfill has changed values since they were compared: then all are compared again."""
        rows = await store.backfills(self.pool, kpi.id, version)
        ended: set[str] = {row["id"] for row in rows}
        before = {row["id"] for row in rows if checked_at is not None and row["ended_at"] <= checked_at}
        known = self.backfills.setdefault((kpi.id, version), before)
        self.backfills[kpi.id, version] = ended
        return checked_at is not None and not ended <= known

    async def _conclude(
        self,
        kpi: Kpi,
        version: int,
        stretch: Stretch,
        published: dict[Key, Figures],
        expected: dict[Key, Figures],
        members: dict[Key, list[dict[str, int]]],
    ) -> None:
        found = differences(published, expected)
        gone = await self._gone(kpi, version, found, members) if found else set[Key]()
        found = [each for each in found if each.key not in gone]
        if found:
            since = self.doubts.setdefault((kpi.id, version), clock.monotonic())
            if clock.monotonic() - since < PATIENCE_SECONDS or not await self._archived(
                kpi, version, found[0]
            ):
                return
        self.doubts.pop((kpi.id, version), None)
        windows = len(published.keys() | expected.keys()) - len(gone)
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            first = await self._shown(connection, kpi, version, found[0], members) if found else None
            row = (kpi.id, version, stretch[1], windows, len(found), first, "", now)
            total = await store.add_parity(connection, row)
            if found:
                assert kpi.source is not None
                await observe(
                    connection, source=kpi.source, rule=kpi.id, kind="parity", severity="critical", owner=kpi.owner,
                    summary=f"{kpi.title}: {total['differing']} of {total['windows']} windows differ from plain SQL"
                    f" over their events; see GET /v1/parity",
                    seen_at=moment(found[0].key[2]), now=now, assessed=total["windows"],
                    violations=total["differing"],
                )  # fmt: skip
                fields = {"kpi": kpi.id, "windows": len(found), "first": str(found[0])}
                log.error("values differ from batch", extra={"fields": fields})
        telemetry.PARITY.labels(kpi.id, "agreeing").inc(windows - len(found))
        telemetry.PARITY.labels(kpi.id, "differing").inc(len(found))
        telemetry.PARITY.labels(kpi.id, "left_out").inc(len(gone))

    async def _gone(
        self, kpi: Kpi, version: int, found: list[Difference], members: dict[Key, list[dict[str, int]]]
    ) -> set[Key]:
        """Windows whose events are not all in the archive any more (disposed of, or erased with their subject), or came
        before what this version could read."""
        assert kpi.source is not None
        assert EVENTS.retention is not None
        kept = await store.begins(self.pool, kpi.source)
        rows = await store.ranges_of(
            self.pool, kpi.id, version, [(each.key[0], moment(each.key[1])) for each in found]
        )
        disposed = {
            (row["series_key"], milliseconds(row["window_start"]))
            for row in rows
            if any(each["first"] < kept.get(each["partition"], 0) for each in row["offsets"])
        }
        erased = await store.erased(
            self.pool,
            kpi.source,
            moment(min(each.key[1] for each in found)),
            moment(max(each.key[2] for each in found)),
        )
        spans = {(row["series_key"], milliseconds(row["window_start"])): row["offsets"] for row in rows}
        unread = await store.arrived_before(
            self.pool, kpi.id, version, kpi.source, EVENTS.retention,
            moment(min(each.key[1] for each in found)), moment(max(each.key[2] for each in found)),
        )  # fmt: skip
        return {
            each.key
            for each in found
            if each.key[:2] in disposed
            or holds(each.key, spans.get(each.key[:2], ()), erased)
            or any((event["partition"], event["offset"]) in unread for event in members.get(each.key, ()))
        }

    async def _archived(self, kpi: Kpi, version: int, found: Difference) -> bool:
        """Whether the archive holds the events that a value was made of."""
        series, start, _ = found.key
        ranges = await store.ranges(self.pool, kpi.id, version, series, moment(start))
        ends = await store.ends(self.pool, kpi.source or "")
        return all(each["last"] <= ends.get(each["partition"], -1) for each in ranges or ())

    async def _shown(
        self, connection: Connection, kpi: Kpi, version: int, found: Difference,
        members: dict[Key, list[dict[str, int]]],
    ) -> dict[str, Any]:  # fmt: skip
        """The window with both inputs: the offset ranges of the one side, the events' places of the other."""
        series, start, stop = found.key
        ranges = await store.ranges(connection, kpi.id, version, series, moment(start))
        return {
            "series_key": series, "window_start": moment(start).isoformat(), "window_end": moment(stop).isoformat(),
            "published": found.published and {**asdict(found.published), "offsets": ranges},
            "batch": found.batch and {**asdict(found.batch), "events": members.get(found.key, [])[:SHOWN]},
        }  # fmt: skip


def holds(key: Key, spans: Sequence[Mapping[str, int]], events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the events lies in the window and in the offset ranges of its value."""
    return any(
        key[1] <= milliseconds(event["event_time"]) < key[2]
        and any(
            each["partition"] == event["partition"] and each["first"] <= event["offset"] <= each["last"]
            for each in spans
        )
        for event in events
    )


def _batch(
    kpi: Kpi,
    catalog: Catalog,
    events: pl.DataFrame,
    late: pl.DataFrame,
    backfilled: pl.DataFrame,
    stretch: Stretch,
) -> tuple[dict[Key, Figures], dict[Key, list[dict[str, int]]]]:
    """The windows of a stretch by plain SQL, and the places of the events in each."""
    assert kpi.source is not None
    source = catalog.source(kpi.source)
    assert source is not None
    lacking = [name for name in source.field_types if name not in events.columns]
    events = events.with_columns(
        pl.lit(None, dtype=DTYPES[source.field_types[name]]).alias(name) for name in lacking
    )
    lower, upper = map(milliseconds, stretch)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        batch.put(connection, kpi.source, events)
        batch.put(connection, batch.LATE, late)
        batch.put(connection, batch.BACKFILLED, backfilled)
        rows = connection.execute(batch.statement(kpi, catalog, late=True)).fetchall()
        found = {
            (series, start, stop): Figures(value, count, tuple(measures))
            for series, start, stop, value, count, *measures in rows
            if lower < stop <= upper
        }
        members: dict[Key, list[dict[str, int]]] = {}
        for series, start, stop, partition, offset in connection.execute(
            batch.members(kpi, catalog, late=True)
        ).fetchall():
            if (series, start, stop) in found:
                members.setdefault((series, start, stop), []).append(
                    {"partition": partition, "offset": offset}
                )
    return found, members
