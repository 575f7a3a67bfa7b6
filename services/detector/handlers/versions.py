"""Which version of each KPI is served: the newest one that all merge partitions are ready with."""

import asyncio
from datetime import datetime, timedelta

from aiokafka import TopicPartition

from libs.common import clock
from libs.common.events import VersionReady
from libs.common.kafka import Record, consumer, read_all
from libs.common.settings import ServiceSettings
from libs.common.topics import VERSIONS
from services.detector.handlers.definitions import Definitions

LINGER = timedelta(seconds=30)
"""So long the old version goes on after the new one has caught up everywhere: readers change over meanwhile."""


class Versions:
    """Follows `kpi.versions`; one of the detector's loops. `definitions` is told what is served, and what is over."""

    def __init__(self, settings: ServiceSettings, definitions: Definitions) -> None:
        self.settings, self.definitions = settings, definitions
        self.ready: dict[str, dict[int, VersionReady]] = {}
        self.over: dict[str, tuple[datetime, int]] = {}
        """KPI → when the versions before the one named are retired."""

    async def load(self) -> None:
        """Read the topic to its end, before definitions are compiled."""
        async for records in read_all(self.settings, VERSIONS.name):
            for record in records:
                self._take(record)
        self._retire()

    async def run(self, stopping: asyncio.Event) -> None:
        client = consumer(self.settings)
        await client.start()
        try:
            place = TopicPartition(self.settings.prefix + VERSIONS.name, 0)
            client.assign([place])
            await client.seek_to_beginning(place)
            while not stopping.is_set():
                for records in (await client.getmany(place, timeout_ms=500)).values():
                    for record in records:
                        self._take(record)
                self._retire()
        finally:
            await client.stop()

    def _take(self, record: Record) -> None:
        told = VersionReady.decode(record.value or b"")
        known = self.ready.setdefault(told.kpi, {})
        known[told.partition] = told
        version = min(each.kpi_version for each in known.values())
        if len(known) < told.partitions or version <= self.definitions.served.get(told.kpi, 0):
            return
        self.definitions.served[told.kpi] = version
        self.over[told.kpi] = max(each.recorded_at for each in known.values()) + LINGER, version

    def _retire(self) -> None:
        now = clock.now()
        for kpi in [kpi for kpi, (at, _) in self.over.items() if at <= now]:
            self.definitions.retire(kpi, self.over.pop(kpi)[1])
