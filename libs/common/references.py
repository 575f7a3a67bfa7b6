"""Reference sources, followed: the keys that referential rules look into, and the rows that events are enriched with."""

import asyncio
from collections.abc import Mapping

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.catalog import Source
from libs.common.kafka import consumer, partitions_of
from libs.common.registry import Codecs
from libs.common.settings import ServiceSettings
from libs.common.topics import REFERENCE
from libs.common.wire import DTYPES


class References:
    """The key sets and rows of the reference sources asked for, as their compacted topics say.

    `caught_up` makes judgement deterministic: awaited after a batch was fetched, it returns when every
    reference row that was acknowledged before is in the sets.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.values: dict[str, dict[bytes, bytes]] = {}
        """Reference → key → its last row, as it is on the topic."""
        self.frames: dict[str, pl.DataFrame] = {}
        """Rows decoded; one that has changed since is not here."""
        self.series: dict[str, pl.Series] = {}
        self.versioned: set[str] = set()
        """References of which keys end in the time from which the row is valid."""
        self.client: AIOKafkaConsumer | None = None
        self.partitions: dict[TopicPartition, str] = {}
        self.lock = asyncio.Lock()

    async def follow(self, sources: Mapping[str, Source]) -> None:
        """Add these reference sources (by id); one whose topic does not exist yet stays unknown."""
        async with self.lock:
            self.versioned |= {id for id, source in sources.items() if source.versioned}
            for id in sources.keys() - set(self.partitions.values()):
                name = self.settings.prefix + REFERENCE.of(id)
                for number in await partitions_of(self.settings, name):
                    self.partitions[TopicPartition(name, number)] = id
            if self.partitions and self.client is None:
                self.client = consumer(self.settings)
                await self.client.start()
            if self.client is not None and self.client.assignment() != self.partitions.keys():
                self.client.assign(list(self.partitions))
                self.values, self.frames = {}, {}
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
                    known = self.values.setdefault(self.partitions[tp], {})
                    for record in records:
                        if record.key and record.value is not None:
                            known[record.key] = record.value
                        elif record.key:
                            known.pop(record.key, None)
                    changed.add(self.partitions[tp])
                pending = {tp for tp in pending if await self.client.position(tp) < ends[tp]}
            for id in changed:
                self.series[id] = self._keys(id)
                self.frames.pop(id, None)
            return self.series

    def _keys(self, id: str) -> pl.Series:
        keys = [key.decode("utf-8", "replace") for key in self.values[id]]
        if id in self.versioned:
            keys = list({key.rpartition("|")[0] for key in keys})
        return pl.Series(id, keys, dtype=pl.String)

    async def rows(self, source: Source, codecs: Codecs) -> pl.DataFrame:
        """The rows of a reference that is followed, as of the last `caught_up`; its fields as columns.

        One per key, or per key and time.
        """
        if source.id not in self.frames:
            frame, _ = await codecs.events(source, list(self.values.get(source.id, {}).values()))
            missing = [field for field in source.fields if field.name not in frame.columns]
            nulls = [pl.lit(None, dtype=DTYPES[field.type]).alias(field.name) for field in missing]
            self.frames[source.id] = frame.with_columns(nulls).select(source.field_types.keys())
        return self.frames[source.id]

    def sizes(self) -> dict[str, dict[str, int]]:
        """What is held of each reference: `rows`, and `bytes` of them as they are on the topic."""
        return {
            id: {"rows": len(rows), "bytes": sum(len(key) + len(value) for key, value in rows.items())}
            for id, rows in sorted(self.values.items())
        }

    async def stop(self) -> None:
        if self.client is not None:
            await self.client.stop()
