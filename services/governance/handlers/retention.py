"""Retention: what has been kept long enough is ordered to be disposed of; its owner answers, and a receipt stays."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog
from libs.common.events import DisposalChanged
from libs.common.kafka import Record
from libs.common.outbox import put
from libs.common.stream.stored import Bad, Connection, parsed
from libs.common.topics import DISPOSALS
from services.governance import store

log = logging.getLogger(__name__)

STORE = "archive.events"


class Retention:
    """The retention job, and the keeper of `disposals`."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, seconds: float) -> None:
        self.pool, self.catalog, self.seconds = pool, catalog, seconds

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self.order(dry_run=False, by="policy")
            try:
                await asyncio.wait_for(stopping.wait(), self.seconds)
            except TimeoutError:
                continue

    async def order(self, *, dry_run: bool, by: str) -> dict[str, Any]:
        """Order the disposal of every source's events that are older than its rule keeps; only count if dry.

        An order is named by source and hour, so that running the job again within the hour orders nothing twice.
        """
        now = clock.now()
        results = []
        for policy in self.catalog.policies:
            for rule in policy.retention:
                before = now - rule.keep
                rows = await store.would_delete(self.pool, rule.source, before)
                hour = now.replace(minute=0, second=0, microsecond=0)
                id = str(
                    uuid5(NAMESPACE_URL, f"sextant:disposal:{rule.source}:{rule.keep}:{hour.isoformat()}")
                )
                ordered = False
                if rows and not dry_run:
                    ordered = await self._order(id, policy.id, rule.source, before, by)
                results.append(
                    {"id": id, "policy": policy.id, "store": STORE, "source": rule.source, "before": before,
                     "rows": rows, "ordered": ordered}
                )  # fmt: skip
        return {"dry_run": dry_run, "due": results}

    async def _order(self, id: str, policy: str, source: str, before: Any, by: str) -> bool:
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            new = await store.order_receipt(connection, (id, policy, STORE, source, before, by, now))
            if new:
                event = DisposalChanged.build(
                    id=id, change="ordered", policy=policy, store=STORE, source=source, before=before, by=by,
                    recorded_at=now,
                )  # fmt: skip
                await put(connection, "governance", DISPOSALS.name, id, event)
            return new

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """What was carried out, or refused, closes its receipt."""
        disposals, bad = parsed(DisposalChanged, records)
        for _, found in disposals:
            if found.change != "ordered":
                await store.close_receipt(
                    connection, found.id, found.change, found.rows_before, found.rows_deleted, found.rows_after,
                    found.recorded_at, found.reason,
                )  # fmt: skip
        return bad
