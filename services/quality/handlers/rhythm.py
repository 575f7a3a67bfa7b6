"""Rhythm: whether a source brings as much as it is used to, four times a minute, from the books.

What is known of a source is its events by minute of arrival, from `read.ledger`: there is no store of its own. A drop is
an incident of kind `rate`; that nothing comes is one of kind `silence`, unless the source declares `freshness`, which
is judged by `handlers/health.py`. Both end by themselves. While the archive has not stored what was judged already, the
books are behind, and nothing is said.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import asyncpg
import numpy as np

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Source
from libs.common.stream.stored import Connection
from libs.common.topics import EVENTS
from services.quality.core.rhythm import KEPT, Counts, Quiet, Rate, quiet, rate
from services.quality.handlers.incidents import observe, recover
from services.quality.store import open_incident
from services.quality.store import rhythm as store

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
MINUTE = timedelta(minutes=1)
DONE = timedelta(seconds=5)
"""After the end of a minute, when what arrived in it is archived, unless the archive is behind."""
LATELY = 15 * MINUTE
"""These minutes of the books are read again each time, for the archive may have been behind; of them the share of errors
is told."""
TOLD_AGAIN = timedelta(hours=1)


@dataclass
class History:
    """Events of a source by minute of arrival; the last entry is the minute before `end`."""

    end: datetime
    events: Counts
    errors: int = 0
    """Lately."""


class Rhythm:
    """One of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog
        self.histories: dict[str, History] = {}
        self.heard: dict[tuple[str, int], tuple[datetime | None, datetime | None]] = {}
        """(source, partition) → last arrival, last sign of life."""
        self.incidents: set[tuple[str, str]] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._measure()
                for source in self.catalog.sources:
                    if not source.reference:
                        await self._check(source, clock.now())
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("waiting", extra={"fields": {"loop": "quality.rhythm", "reason": repr(error)}})
            await asyncio.sleep(EVERY_SECONDS)

    async def _measure(self) -> None:
        """Ages of what was heard of each partition, and incidents, as metrics."""
        for row in await store.partitions(self.pool):
            key = row["source"], row["partition"]
            alive = max((at for at in (row["last_arrival_at"], row["heartbeat_at"]) if at), default=None)
            if key not in self.heard:
                labels = row["source"], str(row["partition"])
                telemetry.FRESHNESS.labels(*labels).set_function(partial(self._age, key, 0))
                telemetry.HEARTBEAT_AGE.labels(*labels).set_function(partial(self._age, key, 1))
            self.heard[key] = row["last_arrival_at"], alive
        counts = {(row["source"], row["kind"]): row["count"] for row in await store.open_incidents(self.pool)}
        for source, kind in self.incidents | counts.keys():
            telemetry.OPEN_INCIDENTS.labels(source, kind).set(counts.get((source, kind), 0))
        self.incidents |= counts.keys()

    def _age(self, key: tuple[str, int], which: int) -> float:
        at = self.heard[key][which]
        return float("nan") if at is None else (clock.now() - at).total_seconds()

    async def _check(self, source: Source, now: datetime) -> None:
        if await store.is_behind(self.pool, EVENTS.of(source.id), source.id):
            return
        end = (now - DONE).replace(second=0, microsecond=0)
        history = await self._history(source.id, end)
        if not history.events.any():
            return
        found, gap = rate(history.events), quiet(history.events)
        if any(at is not None and at >= end for (id, _), (at, _) in self.heard.items() if id == source.id):
            gap = replace(gap, minutes=0)  # in the minute that is not over
        came = history.errors + int(history.events[-(LATELY // MINUTE) :].sum())
        telemetry.ERROR_SHARE.labels(source.id).set(history.errors / came if came else 0)
        band = found.expected
        telemetry.EXPECTED_RATE.labels(source.id).set(band.middle / band.minutes if band else float("nan"))
        told = (band.minutes, band.events, band.middle, band.low) if band else (None,) * 4
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"rhythm {source.id}")
            await store.put_rhythm(connection, (source.id, end, *told, gap.minutes, gap.allowed, now))
            await self._rate(connection, source, found, end, now)
            await self._silence(connection, source, gap, end, now)

    async def _history(self, source: str, end: datetime) -> History:
        """Up to `end`: what was known, and the last minutes anew."""
        known = self.histories.get(source)
        since = end - KEPT * MINUTE if known is None else min(known.end, end) - LATELY
        rows = await store.minutes(self.pool, source, since)
        rows = [row for row in rows if row["minute"] < end]
        if known is None:
            since = rows[0]["minute"] if rows else end
            known = History(since, np.zeros(0, np.int64))
        more = max(0, (end - known.end) // MINUTE)
        history = History(end, np.concatenate((known.events, np.zeros(more, np.int64)))[-KEPT:])
        for row in rows:
            place = len(history.events) - (end - row["minute"]) // MINUTE
            if place >= 0:
                history.events[place] = row["events"]
            if row["minute"] >= end - LATELY:
                history.errors += row["errors"]
        self.histories[source] = history
        return history

    async def _rate(
        self, connection: Connection, source: Source, found: Rate, end: datetime, now: datetime
    ) -> None:
        if found.state == "normal":
            await recover(connection, source.id, "rate", "source_outage", now)
        band = found.expected
        if found.state == "dropped" and band is not None:
            known = await open_incident(connection, source.id, "rate", None)
            if known is not None and end - known["last_seen_at"] < TOLD_AGAIN:
                return
            await observe(
                connection, source=source.id, rule=None, kind="rate", severity="warning", owner=source.owner,
                summary=f"{source.title}: {band.events} events in the {band.minutes} minutes to {end:%Y-%m-%d %H:%M} UTC,"
                f" where {band.middle:.0f} are usual",
                seen_at=end, now=now,
            )  # fmt: skip

    async def _silence(
        self, connection: Connection, source: Source, gap: Quiet, end: datetime, now: datetime
    ) -> None:
        if source.freshness is not None or not gap.is_silence:
            await recover(connection, source.id, "silence", "source_outage", now)
            return
        since = end - (gap.minutes + 1) * MINUTE
        await observe(
            connection, source=source.id, rule=None, kind="silence", severity="warning", owner=source.owner,
            summary=f"{source.title}: nothing arrived since {since:%Y-%m-%d %H:%M} UTC; by its rhythm it should have"
            f" within {gap.allowed} minutes. {await self._path(source, now)}",
            seen_at=since, now=now,
        )  # fmt: skip

    async def _path(self, source: Source, now: datetime) -> str:
        """Whether ingest itself is heard of."""
        alive = [alive for (id, _), (_, alive) in self.heard.items() if id == source.id and alive is not None]
        if len(alive) < source.partitions or (oldest := now - min(alive)) > 3 * MINUTE:
            return "Ingest's heartbeat is not heard on all its partitions either: the path may be dead."
        return f"Its path is alive: a heartbeat came {oldest.total_seconds():.0f} s ago."
