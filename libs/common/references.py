"""Reference sources, followed: the keys that referential rules look into."""

import asyncio
from collections.abc import Mapping

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.catalog import Source
from libs.common.kafka import consumer, partitions_of
from libs.common.settings import ServiceSettings
from libs.common.topics import REFERENCE


class References:
    """The key sets of the reference sources asked for, as their compacted topics say.

    `caught_up` makes judgement deterministic: awaited after a batch was fetched, it returns when every
    reference row that was acknowledged before is in the sets.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.keys: dict[str, dict[bytes, bool]] = {}
        self.series: dict[str, pl.Series] = {}
        self.client: AIOKafkaConsumer | None = None
        self.partitions: dict[TopicPartition, str] = {}
        self.lock = asyncio.Lock()

    async def follow(self, sources: Mapping[str, Source]) -> None:
        """Add these reference sources (by id); one whose topic does not exist yet stays unknown."""
        async with self.lock:
            for id in sources.keys() - set(self.partitions.values()):
                name = self.settings.prefix + REFERENCE.of(id)
                for number in await partitions_of(self.settings, name):
                    self.partitions[TopicPartition(name, number)] = id
            if self.partitions and self.client is None:
                self.client = consumer(self.settings)
                await self.client.start()
            if self.client is not None and self.client.assignment() != self.partitions.keys():
                self.client.assign(list(self.partitions))
                self.keys = {}
                await self.client.seek_to_beginning(*self.partitions)

    async def caught_up(self) -> Mapping[str, pl.Series]:
        """The key sets, once everything acknowledged until now is in them."""
        async with self.lock:
            if self.client is None:
                return {}
            ends = await self.client.end_offsets(list(self.partitions))
            pending = {tp for tp in self.partitions if await self.client.position(tp) < ends[tp]}
            changed: set[str] = set()
            while pending:
                for tp, records in (await self.client.getmany(*pending, timeout_ms=50)).items():
                    known = self.keys.setdefault(self.partitions[tp], {})
                    known.update((record.key, record.value is not None) for record in records if record.key)
                    changed.add(self.partitions[tp])
                pending = {tp for tp in pending if await self.client.position(tp) < ends[tp]}
            for id in changed:
                present = [key.decode() for key, there in self.keys[id].items() if there]
                self.series[id] = pl.Series(id, present, dtype=pl.String)
            return self.series

    async def stop(self) -> None:
        if self.client is not None:
            await self.client.stop()
