"""Erasure of one subject from the archive, after the others: when nothing of it is on its way any more.

In steps, each of which may be done again: the detector, and ingest of what was parked, have answered; the ends of the
topics are noted; the archive has stored what lies before them; the rows are deleted and the subject's name with them;
the answers are sent.
"""

import asyncio
import logging
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from libs.common import clock
from libs.common.events import DisposalChanged, ErasureSubject
from libs.common.kafka import high_watermarks
from libs.common.settings import ServiceSettings
from libs.common.stream.stored import Connection
from libs.common.topics import DEAD, DISPOSALS, EVENTS, EXPECTATIONS, LATE, OBSERVATIONS, SIGNALS
from services.archive import store
from services.archive.handlers.waiting import has_stored, rounds

log = logging.getLogger(__name__)

BEFORE = ("detector.", "ingest.parked")
"""Stores that answer first: from them the subject could still come."""


class Eraser:
    """One of the archive's loops; replicas take turns by a lock on the rows."""

    def __init__(self, settings: ServiceSettings, pool: asyncpg.Pool, producer: AIOKafkaProducer) -> None:
        self.settings, self.pool, self.producer = settings, pool, producer

    async def run(self, stopping: asyncio.Event) -> None:
        await rounds("archive.erasing", self._round, stopping)

    async def _round(self) -> None:
        for id in await store.open_erasures(self.pool):
            async with self.pool.acquire() as connection, connection.transaction():
                row = await store.lock_erasure(connection, id)
                if row is None:
                    continue
                if row["results"] is None:
                    await self._advance(connection, ErasureSubject.model_validate(row["body"]), row["ends"])
                else:
                    await self._tell(connection, id, row["results"])

    async def _advance(
        self, connection: Connection, subject: ErasureSubject, ends: dict[str, Any] | None
    ) -> None:
        answered = await store.answers(connection, subject.id)
        if any(each.startswith(BEFORE) and each not in answered for each in subject.stores):
            return
        if ends is None:
            topics = (
                EVENTS.of(subject.source),
                *(each.name for each in (OBSERVATIONS, EXPECTATIONS, SIGNALS, LATE, DEAD)),
            )
            ends = {
                f"{topic}/{number}": end
                for topic in topics
                for number, end in (
                    await high_watermarks(self.settings, self.settings.prefix + topic)
                ).items()
            }
            await store.note_ends(connection, subject.id, ends)
        if await has_stored(self.settings, connection, ends):
            results = await store.erase(connection, subject)
            log.info("a subject is erased", extra={"fields": {"erasure": subject.id, "rows": results}})

    async def _tell(self, connection: Connection, id: str, results: dict[str, Any]) -> None:
        """The answers, before it is noted that they were sent; the same when sent again."""
        now = clock.now()
        for name, (found, deleted, after) in results["rows"].items():
            event = DisposalChanged.build(
                id=f"{id}/{name}", change="done", policy="erasure", store=name, source=results["source"],
                before=results["ordered_at"], rows_before=found, rows_deleted=deleted, rows_after=after,
                by="archive", recorded_at=now, erasure=id,
            )  # fmt: skip
            await self.producer.send_and_wait(
                self.settings.prefix + DISPOSALS.name, event.encode(), key=event.id.encode()
            )
        await store.note_told(connection, id)
