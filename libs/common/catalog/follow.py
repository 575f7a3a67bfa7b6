"""Following the compacted topic `catalog`: loaded to its end at start, then kept up to date, live."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import TopicPartition
from pydantic import ValidationError

from libs.common.catalog.catalog import Catalog
from libs.common.events import CatalogEntry
from libs.common.kafka import Record, answering, consumer, ensure_topics
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.topics import CATALOG

log = logging.getLogger(__name__)

OnChange = Callable[[CatalogEntry], Awaitable[None]]


class Follower:
    """Keeps `catalog` as the topic says. One of a service's loops.

    An entry that this version of the code cannot parse is logged and left out, and the former definition
    stays in force: a newer catalog must not end an older process.
    """

    def __init__(
        self, settings: ServiceSettings, readiness: Readiness, on_change: OnChange | None = None
    ) -> None:
        self.settings, self.readiness, self.on_change = settings, readiness, on_change
        self.catalog = Catalog()
        self.loaded = asyncio.Event()
        """Set once the topic was read to the end that it had at start."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Until stopping; `on_change` is awaited for every entry, those of the first load included."""
        if not await answering(self.settings, stopping):
            return
        await ensure_topics(self.settings, [(CATALOG.name, CATALOG, CATALOG.partitions)])
        client = consumer(self.settings)
        await client.start()
        try:
            partition = TopicPartition(self.settings.prefix + CATALOG.name, 0)
            client.assign([partition])
            await client.seek_to_beginning(partition)
            end = (await client.end_offsets([partition]))[partition]
            while not stopping.is_set():
                if not self.loaded.is_set() and await client.position(partition) >= end:
                    self.loaded.set()
                    self.readiness.ready()
                for records in (await client.getmany(partition, timeout_ms=200)).values():
                    for record in records:
                        await self._take(record)
        finally:
            await client.stop()

    async def wait(self, stopping: asyncio.Event) -> None:
        """Until the catalog was loaded (or the process is to stop)."""
        waits = [asyncio.create_task(event.wait()) for event in (self.loaded, stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _take(self, record: Record) -> None:
        try:
            entry = CatalogEntry.decode(record.value or b"")
            self.catalog.put(entry)
        except ValidationError as error:
            fields = {"key": (record.key or b"").decode(), "offset": record.offset, "error": str(error)}
            log.error("a definition cannot be read and is left out", extra={"fields": fields})
            return
        if self.on_change is not None:
            await self.on_change(entry)
