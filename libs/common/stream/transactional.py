"""Consume, process, produce: state, output and offsets in one Kafka transaction per input partition.

Each partition has a producer and a transactional id of its own, so whoever owns the partition fences
whoever owned it before (aiokafka sends offsets with the group id alone, which fences nobody). A failed
commit ends the process: its state is in doubt, and the restart restores it from the changelog.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from libs.common import clock, telemetry
from libs.common.errors import TryLater
from libs.common.kafka import Headers, Record, producer
from libs.common.partitioning import partition_for, partitions_for
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream.backoff import Backoff
from libs.common.stream.membership import Membership, fetch
from libs.common.stream.urgency import Urgency

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Output:
    """A record to be produced. `topic` is without the prefix; without a partition the key chooses."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Outputs:
    """Many records of one topic, with the same headers; the keys choose their partitions."""

    topic: str
    keys: list[bytes]
    values: list[bytes]
    headers: Headers = field(default_factory=list)


Produced = Iterable[Output | Outputs]
_Parts = tuple[bytes | None, bytes | None, Headers]


class Processor(Protocol):
    """What a loop does with its input. Called one at a time for each partition."""

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> Produced:
        """The partition is ours: restore its state. What is to be written first, with the client's position.

        Abandoned if the partition is to be given up meanwhile.
        """
        ...

    async def releasing(self, tp: TopicPartition) -> Produced:
        """The partition is to be given up in good order: what is to be written last. Not called after a failure."""
        ...

    async def revoked(self, tp: TopicPartition) -> None:
        """The partition is no longer ours: forget its state."""
        ...

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        """Whether these records, all that are held, are better not held together with what comes next."""
        ...

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> Produced:
        """What comes of these records; called with none at least every tick.

        TryLater makes the partition wait, and the same records are offered again. A record that can never be
        used is set aside by the processor: its dead letter is one of the outputs.
        """
        ...


LOOK_SECONDS = 0.005
"""How often what is held is looked at."""

ENOUGH_RECORDS = 10_000
"""So many are worth a transaction at once."""


class TransactionalLoop:
    """Runs a Processor as the member `name` of the consumer group of that name."""

    def __init__(
        self,
        settings: ServiceSettings,
        name: str,
        processor: Processor,
        readiness: Readiness,
        *,
        max_records: int = 50_000,
        tick_seconds: float = 0.25,
        pause_seconds: float = 0.0,
        urgency: Urgency | None = None,
    ) -> None:
        """`pause_seconds`: from one batch on, records are held for so long unless they are urgent: a transaction
        costs the same for one record as for thousands. As long again while something else is urgent in the process,
        whose loops share an `urgency`."""
        self.settings, self.name, self.processor = settings, name, processor
        self.max_records, self.tick_seconds, self.pause_seconds = max_records, tick_seconds, pause_seconds
        self.urgency = urgency or Urgency()
        self.membership = Membership(settings, name, self._own, readiness)

    def follow(self, topics: Iterable[str]) -> None:
        """Consume these topics from now on."""
        self.membership.follow(topics)

    async def run(self, stopping: asyncio.Event) -> None:
        await self.membership.run(stopping)

    async def _own(self, client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event) -> None:
        topic = tp.topic.removeprefix(self.settings.prefix)
        writer = producer(self.settings, f"{self.name}.{topic}.{tp.partition}")
        await writer.start()
        try:
            # Only now is no transaction of a former owner open, so only now is the committed offset final.
            committed = await client.committed(tp)
            if committed is None:
                await client.seek_to_beginning(tp)
            else:
                client.seek(tp, committed)
            if (first := await self._assigned(client, tp, release)) is None:
                return
            if first:
                await self._write(writer, first, {tp: await client.position(tp)})
            backoff, until = Backoff(), 0.0
            while not release.is_set():
                records, urgent = await self.hold(client, tp, release, until)
                if release.is_set():
                    break
                until = clock.monotonic() + self.pause_seconds
                with self.urgency.step() if urgent else nullcontext():
                    await self._step(writer, tp, records, release, backoff)
                if not release.is_set():
                    lag = (client.highwater(tp) or 0) - await client.position(tp)
                    telemetry.LAG.labels(self.name, topic, str(tp.partition)).set(max(0, lag))
            if last := list(await self.processor.releasing(tp)):
                await self._write(writer, last, {})
        finally:
            await self.processor.revoked(tp)
            await writer.stop()

    async def _assigned(
        self, client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event
    ) -> list[Output | Outputs] | None:
        """What the processor wants written first; None if the partition is to be given up."""
        restoring = asyncio.ensure_future(self.processor.assigned(client, tp))
        releasing = asyncio.ensure_future(release.wait())
        try:
            await asyncio.wait({restoring, releasing}, return_when=asyncio.FIRST_COMPLETED)
            return list(restoring.result()) if restoring.done() else None
        finally:
            restoring.cancel()
            releasing.cancel()
            await asyncio.gather(restoring, releasing, return_exceptions=True)

    async def hold(
        self, client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event, until: float
    ) -> tuple[Sequence[Record], bool]:
        """The next batch: what comes until the (monotonic) time, or is urgent; none if nothing comes in a tick.

        Whether it is urgent. One that is not waits a while for those that are.
        """
        held: Any = ()
        while True:
            wait = max(0.0, until - clock.monotonic()) if held else self.tick_seconds
            room = self.max_records - len(held)
            more = await fetch(client, tp, release, timeout_ms=int(wait * 1000), max_records=room)
            held = held + more if held and more else held or more
            left = until - clock.monotonic()
            if self.urgency.steps:
                left += self.pause_seconds
            if (
                release.is_set()
                or not held
                or left <= 0
                or len(held) >= min(ENOUGH_RECORDS, self.max_records)
            ):
                return held, False
            try:
                if await self.processor.urgent(tp, held):
                    return held, True
            except TryLater:
                return held, False  # and `process` will say so again
            await asyncio.sleep(min(LOOK_SECONDS, left))

    async def _step(
        self,
        writer: AIOKafkaProducer,
        tp: TopicPartition,
        records: Sequence[Record],
        release: asyncio.Event,
        backoff: Backoff,
    ) -> None:
        topic = tp.topic.removeprefix(self.settings.prefix)
        began = clock.monotonic()
        with telemetry.consuming(self.name, topic, records):
            while True:
                try:
                    outputs = list(await self.processor.process(tp, records))
                    break
                except TryLater as later:
                    telemetry.RETRIES.labels(self.name, topic, str(tp.partition)).inc()
                    log.warning(
                        "waiting",
                        extra={"fields": {"loop": self.name, "partition": str(tp), "reason": str(later)}},
                    )
                    if release.is_set():
                        return
                    await asyncio.sleep(backoff.next())
            backoff.reset()
            if not outputs and not records:
                return
            await self._write(writer, outputs, {tp: records[-1].offset + 1} if records else {})
        telemetry.CONSUMED.labels(self.name, topic, str(tp.partition)).inc(len(records))
        telemetry.BATCH_SECONDS.labels(self.name).observe(clock.monotonic() - began)

    async def _write(
        self, writer: AIOKafkaProducer, outputs: Produced, offsets: Mapping[TopicPartition, int]
    ) -> None:
        """One transaction. The offsets follow the records: the broker verifies a transaction for either, and of two
        verifications at once it refuses one (KIP-890), which the client tries again after a tenth of a second."""
        group = self.settings.prefix + self.name
        async with writer.transaction():
            counts = await send(writer, self.settings, outputs)
            if offsets:
                await writer.send_offsets_to_transaction(dict(offsets), group)
        for topic, count in counts.items():
            telemetry.PRODUCED.labels(self.name, topic).inc(count)


async def send(writer: AIOKafkaProducer, settings: ServiceSettings, outputs: Produced) -> Counter[str]:
    """Whole batches per partition: an await per batch and not per record. How many records of each topic."""
    groups: dict[tuple[str, int], list[_Parts]] = defaultdict(list)
    for output in outputs:
        name = settings.prefix + output.topic
        if isinstance(output, Outputs):
            numbers = partitions_for(output.keys, len(await writer.partitions_for(name)))
            for number, key, value in zip(numbers, output.keys, output.values, strict=True):
                groups[name, number].append((key, value, output.headers))
            continue
        number = output.partition
        if number is None:
            number = partition_for(output.key, len(await writer.partitions_for(name)))
        groups[name, number].append((output.key, output.value, output.headers))
    sent = []
    for (name, number), group in groups.items():
        batch = writer.create_batch()
        for key, value, headers in group:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append(await writer.send_batch(batch, name, partition=number))
                batch = writer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        sent.append(await writer.send_batch(batch, name, partition=number))
    await asyncio.gather(*sent)
    counts: Counter[str] = Counter()
    for (name, _), group in groups.items():
        counts[name.removeprefix(settings.prefix)] += len(group)
    return counts
