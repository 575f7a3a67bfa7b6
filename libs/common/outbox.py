"""Events that come out of database state: written with the rows, sent afterwards, at least once.

A service's first migration has
    CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);
Order per service is kept. A crash between send and delete sends again: consumers upsert by the event's id.
"""

import asyncio

import asyncpg
from aiokafka import AIOKafkaProducer

from libs.common.events import Event
from libs.common.kafka import producer
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream.stored import Connection

BATCH = 500


async def put(connection: Connection, service: str, topic: str, key: str, event: Event) -> None:
    """In the caller's transaction."""
    await connection.execute(
        f'INSERT INTO "{service}".outbox (topic, key, value) VALUES ($1, $2, $3)',
        topic,
        key.encode(),
        event.encode(),
    )


class Publisher:
    """Sends what is in a service's outbox; one of its loops. Replicas take turns by a lock on the rows."""

    def __init__(
        self,
        settings: ServiceSettings,
        service: str,
        pool: asyncpg.Pool,
        readiness: Readiness,
        *,
        every: float = 0.1,
    ) -> None:
        self.settings, self.service, self.pool, self.readiness = settings, service, pool, readiness
        self.every = every

    async def run(self, stopping: asyncio.Event) -> None:
        writer = producer(self.settings)
        await writer.start()
        self.readiness.ready()
        try:
            while not stopping.is_set():
                if not await self._send(writer):
                    await asyncio.sleep(self.every)
        finally:
            await writer.stop()

    async def _send(self, writer: AIOKafkaProducer) -> int:
        """One batch, in order; how many were sent."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"outbox {self.service}")
            rows = await connection.fetch(
                f'SELECT id, topic, key, value FROM "{self.service}".outbox ORDER BY id LIMIT {BATCH}'
            )
            if not rows:
                return 0
            sent = [
                await writer.send(self.settings.prefix + row["topic"], row["value"], key=row["key"])
                for row in rows
            ]
            await asyncio.gather(*sent)
            await connection.execute(
                f'DELETE FROM "{self.service}".outbox WHERE id = ANY($1)', [row["id"] for row in rows]
            )
            return len(rows)
