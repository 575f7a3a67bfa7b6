"""The partitions of one source's topic, and how they are added to without breaking the order per key.

Another number of partitions puts keys elsewhere: an event on the new partition might be read before older ones of its
key on the old one. So no event is taken in until all that the mesh reads the topic by have read what is there, only then
are the partitions made, and events are taken in again when each reader has the new ones: else windows could close without
what comes on them. Nothing of it is kept anywhere: how far it is, is seen in the topic and the readers' offsets.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from random import Random
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Source
from libs.common.kafka import add_partitions, committed_of, has_records, high_watermarks, partitions_of
from libs.common.skew import HotKey, advice, skew
from libs.common.topics import EVENTS, REFERENCE
from services.ingest import store
from services.ingest.core.keys import Placing, placing
from services.ingest.core.load import TOP, Load, Written
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class Layout:
    """Where the events of a source go: written by its writer alone."""

    placing: Placing
    load: Load

    def __init__(self, settings: Settings, pool: asyncpg.Pool, catalog: Catalog, source: Source) -> None:
        self.settings, self.pool, self.catalog, self.source = settings, pool, catalog, source
        self.topic = (REFERENCE if source.reference else EVENTS).of(source.id)
        self.count = 0
        """Partitions of the topic; 0 until it was looked at."""
        self.written: dict[int, float] = {}
        """When something was last written to each partition, or it was first known of."""
        self.waits_for: list[str] = []
        """Readers that the change waits for."""
        self.unordered_since: str | None = None
        """When partitions were last added without every reader having read what was before (RFC 3339)."""

    @property
    def wanted(self) -> int:
        return 1 if self.source.reference else self.source.partitions

    @property
    def is_changing(self) -> bool:
        """Whether partitions are to be added, or are being: nothing is taken in."""
        return bool(self.waits_for) or 0 < self.count < self.wanted

    def define(self, source: Source) -> None:
        """A new version of the source."""
        self.source = source
        self.placing = placing(source, max(1, self.count))

    def lay(self, count: int) -> None:
        """The topic has so many partitions."""
        self.count = count
        self.placing, self.load = placing(self.source, count), Load(count, Random())
        for number in range(count):
            self.written.setdefault(number, clock.monotonic())
            for metric in (telemetry.SOURCE_RECORDS, telemetry.SOURCE_BYTES):
                metric.labels(self.source.id, str(number))

    def wrote(self, now: int, written: Sequence[Sequence[Written]], sizes: Sequence[int]) -> None:
        """What a transaction that is committed brought to each partition."""
        self.placing.wrote(sum(sizes))
        self.load.take(now, written, sizes)
        for number, (each, size) in enumerate(zip(written, sizes, strict=True)):
            if each:
                self.written[number] = clock.monotonic()
                telemetry.SOURCE_RECORDS.labels(self.source.id, str(number)).inc(len(each))
                telemetry.SOURCE_BYTES.labels(self.source.id, str(number)).inc(size)

    @property
    def quiet_for(self) -> float | None:
        """Seconds until a partition is due a heartbeat. A table of references, which is compacted, has none."""
        if self.source.reference:
            return None
        return max(0.0, min(self.written.values()) + self.settings.heartbeat_seconds - clock.monotonic())

    @property
    def idle(self) -> list[int]:
        """The partitions that are due one."""
        since = clock.monotonic() - self.settings.heartbeat_seconds
        return [] if self.source.reference else [number for number, at in self.written.items() if at <= since]

    async def settle(self, producers: Sequence[AIOKafkaProducer], stopping: asyncio.Event) -> None:
        """At start, before anything is written. A change that was cut off is done to its end: partitions without a
        record, beside others, may be so new that not every reader has them."""
        name = self.settings.prefix + self.topic
        found: set[int] = set()
        while not found:  # a topic that was made just now may not be known to every broker yet
            found = await partitions_of(self.settings, name)
            if stopping.is_set():
                return
            if not found:
                await asyncio.sleep(0.1)
        self.lay(len(found))
        ends = await high_watermarks(self.settings, name)
        empty = {number: 0 for number, end in ends.items() if end == 0}
        if self.count < self.wanted:
            await self.change(producers, stopping)
        elif empty and len(empty) < len(ends):
            await self._until_read(empty, clock.monotonic() + self.settings.repartition_seconds, stopping)

    async def change(self, producers: Sequence[AIOKafkaProducer], stopping: asyncio.Event) -> None:
        """Add partitions, as many as are wanted; nothing is being written meanwhile. Not if it is to stop before."""
        name, began, wanted = self.settings.prefix + self.topic, clock.monotonic(), self.wanted
        fields: dict[str, Any] = {"source": self.source.id, "partitions": self.count, "wanted": wanted}
        log.info("partitions are to be added", extra={"fields": fields})
        deadline = began + self.settings.repartition_seconds
        ends = await high_watermarks(self.settings, name)
        ordered = await self._until_read(
            {number: end for number, end in ends.items() if end}, deadline, stopping
        )
        if stopping.is_set():
            return
        before = self.count
        await add_partitions(self.settings, name, wanted, producers)
        known = await self._until_read(dict.fromkeys(range(before, wanted), 0), deadline, stopping)
        self.lay(wanted)
        fields |= {"seconds": round(clock.monotonic() - began, 3), "ordered": ordered, "known": known}
        if not ordered:
            self.unordered_since = clock.now().isoformat()
        telemetry.REPARTITIONS.labels(self.source.id, "ordered" if ordered and known else "unordered").inc()
        log.log(
            logging.INFO if ordered and known else logging.ERROR, "partitions added", extra={"fields": fields}
        )

    async def _until_read(self, ends: Mapping[int, int], deadline: float, stopping: asyncio.Event) -> bool:
        """Wait until every reader has read each partition up to its end; false if that takes too long."""
        try:
            while not stopping.is_set():
                self.waits_for = await self._behind(ends)
                if not self.waits_for:
                    return True
                if clock.monotonic() >= deadline:
                    fields = {"source": self.source.id, "readers": self.waits_for}
                    log.error(
                        "readers are behind: partitions are used without them", extra={"fields": fields}
                    )
                    return False
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
            return False
        finally:
            self.waits_for = []

    async def _behind(self, ends: Mapping[int, int]) -> list[str]:
        """The readers that have not come to the end of each of these partitions, or cannot be asked. Who has nothing of
        the topic does not read it."""
        readers: dict[str, Callable[[], Awaitable[Mapping[int, int]]]] = {
            "archive": partial(store.reached, self.pool, "read.archived", self.topic),
            "quality": partial(store.reached, self.pool, "read.assessed", self.topic),
        }
        if any(kpi.source == self.source.id and kpi.engine == "embedded" for kpi in self.catalog.kpis):
            readers["detector"] = self._combined
        behind: list[str] = []
        for name, ask in readers.items():
            try:
                offsets = await ask()
                if offsets and not await self._has_read(offsets, ends):
                    behind.append(name)
            except (*store.UNREACHED, KafkaError) as error:
                fields = {"reader": name, "error": repr(error)}
                log.warning("a reader cannot be asked", extra={"fields": fields})
                behind.append(name)
        return behind

    async def _combined(self) -> Mapping[int, int]:
        name = self.settings.prefix + self.topic
        found = await committed_of(self.settings, "detector.combine")
        return {tp.partition: offset for tp, offset in found.items() if tp.topic == name}

    async def _has_read(self, offsets: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """What lies behind an offset may be the marks of transactions alone."""
        name = self.settings.prefix + self.topic
        for number, end in ends.items():
            offset = offsets.get(number)
            if offset is None or (
                offset < end and await has_records(self.settings, TopicPartition(name, number), offset, end)
            ):
                return False
        return True

    def shown(self) -> dict[str, Any]:
        """The partitions, what was written to them lately, and what is to be said about it. Keys are in clear."""
        load = self.load
        shares = load.shares()
        hot = [(each.key.decode("utf-8", "replace"), each.share) for each in load.keys.top(TOP)]
        return {
            "keyed_by": self.source.keyed_by,
            "count": self.count,
            "wanted": self.wanted,
            "waits_for": self.waits_for,
            "unordered_since": self.unordered_since,
            "records": round(load.total),
            "shares": [asdict(each) for each in shares],
            "skew": skew([each.records for each in shares]),
            "keys": [{"key": key, "share": share} for key, share in hot],
            "distinct_keys": load.distinct,
            "error": load.keys.error,
            "advice": advice(
                self.source, load.total, shares, [HotKey(key, share) for key, share in hot], load.distinct
            ),
        }
