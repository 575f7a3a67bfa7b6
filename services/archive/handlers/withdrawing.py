"""What a re-drive had published and was undone goes from the archive, when all that lies before its end is stored."""

import asyncio
import logging

import asyncpg

from libs.common import clock
from libs.common.settings import ServiceSettings
from libs.common.topics import EVENTS
from services.archive.handlers.waiting import has_stored, rounds
from services.archive.store import withdrawals

log = logging.getLogger(__name__)


class Withdrawer:
    """One of the archive's loops; replicas take turns by a lock on the rows."""

    def __init__(self, settings: ServiceSettings, pool: asyncpg.Pool) -> None:
        self.settings, self.pool = settings, pool

    async def run(self, stopping: asyncio.Event) -> None:
        await rounds("archive.withdrawing", self.round, stopping)

    async def round(self) -> None:
        """Every withdrawal whose events are stored, each in a transaction of its own."""
        behind = set[str]()
        for id in await withdrawals.open_ids(self.pool):
            async with self.pool.acquire() as connection, connection.transaction():
                told = await withdrawals.lock(connection, id)
                if told is None or told.source in behind:  # asking Kafka for every part would take long
                    continue
                ends = {f"{EVENTS.of(told.source)}/{partition}": end for partition, end in told.upto.items()}
                if not await has_stored(self.settings, connection, ends):
                    behind.add(told.source)
                    continue
                events = await withdrawals.withdraw(connection, told, clock.now())
            log.info("events are withdrawn", extra={"fields": {"withdrawal": id, "events": events}})
