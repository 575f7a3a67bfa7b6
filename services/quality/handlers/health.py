"""Health and freshness of every source, once a second, published when they change."""

import asyncio
from datetime import datetime

import asyncpg

from libs.common import clock
from libs.common.catalog import Catalog, Source
from libs.common.events import HealthChanged
from libs.common.outbox import put
from libs.common.stream.stored import Connection
from libs.common.topics import HEALTH
from services.quality import store
from services.quality.core.health import assessed_share, score
from services.quality.handlers.incidents import observe, recover

HOURS = 24
"""Event time that a score looks back."""


class HealthLoop:
    """One of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            for source in self.catalog.sources:
                if not source.reference:
                    async with self.pool.acquire() as connection, connection.transaction():
                        await self._refresh(connection, source, clock.now())
            await asyncio.sleep(1.0)

    async def _refresh(self, connection: Connection, source: Source, now: datetime) -> None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"health {source.id}")
        before = await store.source_state(connection, source.id, HOURS)
        fresh = self._fresh(source, before["last_arrival_at"], now)
        if fresh is False:
            assert source.freshness is not None
            await observe(
                connection,
                source=source.id,
                rule=None,
                kind="freshness",
                severity="warning",
                owner=source.owner,
                summary=f"{source.title}: nothing arrived since {before['last_arrival_at']:%Y-%m-%d %H:%M:%S} UTC",
                seen_at=before["last_arrival_at"],
                now=now,
            )
        elif fresh:
            await recover(connection, source.id, "freshness", "source_outage", now)
        row = await store.source_state(connection, source.id, HOURS)
        value = score(row["assessed"], row["good"], row["worst"], fresh)
        share = assessed_share(row["events"], row["assessed"])
        told = (
            source.id, value, share, row["worst"], fresh, row["last_event_at"], row["last_arrival_at"], row["events"],
        )  # fmt: skip
        known = await store.health_of(connection, source.id)
        if known is not None and tuple(known)[:-1] == told:
            return
        await store.put_health(connection, (*told, now))
        names = (
            "source", "score", "assessed_share", "worst", "fresh", "last_event_at", "last_arrival_at", "events",
        )  # fmt: skip
        event = HealthChanged.build(**dict(zip(names, told, strict=True)), recorded_at=now)
        await put(connection, "quality", HEALTH.name, source.id, event)

    @staticmethod
    def _fresh(source: Source, last_arrival: datetime | None, now: datetime) -> bool | None:
        """None until the first event, or where nothing is expected."""
        if last_arrival is None or source.freshness is None:
            return None
        return now - last_arrival <= source.freshness.expect_every
