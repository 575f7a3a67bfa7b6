"""Kafka as the benchmarks use it: topics, a backlog behind a gate, and a reader that notes times."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from bench.job import PARTITIONS

FETCH_MS = 20
GATE_SECONDS = 600
MAX_MESSAGE = 8 * 1024 * 1024


class Admin:
    """Topics and groups of one broker."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = AIOKafkaAdminClient(bootstrap_servers=address)

    async def __aenter__(self) -> Self:
        await self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def create(self, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
        """Name → partitions."""
        settings = {"max.message.bytes": str(MAX_MESSAGE), **(config or {})}
        new = [NewTopic(name, count, 1, topic_configs=settings) for name, count in topics.items()]
        response: Any = await self.client.create_topics(new)
        for name, code, *message in response.topic_errors:
            if code:
                raise RuntimeError(f"topic {name} cannot be created: error {code} {message}")

    async def drop(self, prefix: str) -> None:
        """The topics of a run: the next one has the disk and the page cache to itself."""
        names = [name for name in await self.client.list_topics() if prefix in name]
        if names:
            await self.client.delete_topics(names)

    async def partitions(self, topic: str) -> int:
        (found,) = await self.client.describe_topics([topic])
        return len(found["partitions"])

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition → the offset after its last record."""
        client = AIOKafkaConsumer(bootstrap_servers=self.address)
        await client.start()
        try:
            ends = await client.end_offsets([TopicPartition(topic, each) for each in range(PARTITIONS)])
        finally:
            await client.stop()
        return {tp.partition: end for tp, end in ends.items()}

    async def groups(self, prefix: str) -> list[str]:
        """Consumer groups of a run; none while the broker still loads its groups."""
        with suppress(
            GroupLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError
        ):
            return [group for group, *_ in await self.client.list_consumer_groups() if prefix in group]
        return []

    async def assigned(self, prefix: str, topic: str) -> set[int]:
        """The partitions of `topic` that members of the run's groups have been given."""
        found: set[int] = set()
        for group in await self.groups(prefix):  # one by one: aiokafka misreads an answer about several
            (answer,) = await self.client.describe_consumer_groups([group])
            ((_, _, state, _, _, members, *_),) = cast(Any, answer).groups
            if state == "Stable":
                for member in members:
                    given = ConsumerProtocolMemberAssignment.decode(member[-1])
                    found |= {tp.partition for tp in given.partitions() if tp.topic == topic}
        return found

    async def behind(self, prefix: str, topic: str, ends: Mapping[int, int]) -> int:
        """Records of `topic` before `ends` that no group of the run has committed yet."""
        offsets: dict[int, int] = {}
        for group in await self.groups(prefix):
            for tp, committed in (await self.client.list_consumer_group_offsets(group)).items():
                if tp.topic == topic:
                    offsets[tp.partition] = max(offsets.get(tp.partition, 0), committed.offset)
        return sum(max(0, end - offsets.get(number, 0)) for number, end in ends.items())


@dataclass(frozen=True)
class Records:
    """Records to be written, in order."""

    keys: Sequence[bytes]
    partitions: npt.NDArray[np.int64]
    values: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> "Records":
        return Records(self.keys[part], self.partitions[part], self.values[part])


async def send(producer: AIOKafkaProducer, topic: str, records: Records) -> list[asyncio.Future[Any]]:
    """Hand over whole batches per partition, each partition in order; the futures are done when they are written."""
    sent: list[asyncio.Future[Any]] = []
    for number in range(PARTITIONS):
        batch = producer.create_batch()
        for index in np.flatnonzero(records.partitions == number).tolist():
            key, value = records.keys[index], records.values[index]
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topic, partition=number))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        if batch.record_count():
            sent.append(await producer.send_batch(batch, topic, partition=number))
    return sent


async def write(producer: AIOKafkaProducer, topic: str, records: Records) -> None:
    """Until all of them are written."""
    await asyncio.gather(*await send(producer, topic, records))


def producer(address: str, transactional_id: str | None = None) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=address,
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        transaction_timeout_ms=GATE_SECONDS * 1000,
        max_batch_size=256 * 1024,
        max_request_size=MAX_MESSAGE,
    )


class Gate:
    """A backlog in one open transaction: it becomes readable at one moment, when `open` commits it."""

    def __init__(self, address: str, topic: str) -> None:
        self.topic = topic
        self.producer = producer(address, f"gate-{topic}")

    async def fill(self, records: Records) -> None:
        await self.producer.start()
        await self.producer.begin_transaction()
        await write(self.producer, self.topic, records)

    async def open(self) -> float:
        """Returns when (monotonic seconds)."""
        at = time.monotonic()
        await self.producer.commit_transaction()
        return at

    async def close(self) -> None:
        await self.producer.stop()


@dataclass
class Tail:
    """Reads a topic's committed records from now on, noting when (monotonic) each was readable."""

    address: str
    topic: str
    values: list[bytes] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    """(partition, offset)"""
    times: list[float] = field(default_factory=list)
    client: AIOKafkaConsumer | None = None
    task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.client = AIOKafkaConsumer(
            bootstrap_servers=self.address,
            enable_auto_commit=False,
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_MS,
            max_partition_fetch_bytes=MAX_MESSAGE,
        )
        await self.client.start()
        partitions = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        self.client.assign(partitions)
        await self.client.seek_to_beginning(*partitions)
        self.task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.client is not None
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.stop()

    async def _read(self) -> None:
        assert self.client is not None
        while True:
            batches = await self.client.getmany(timeout_ms=FETCH_MS)
            now = time.monotonic()
            for tp, records in batches.items():
                self.values.extend(record.value or b"" for record in records)
                self.places.extend((tp.partition, record.offset) for record in records)
                self.times.extend([now] * len(records))

    def quiet(self, seconds: float) -> bool:
        """Whether nothing came for that long."""
        return bool(self.times) and time.monotonic() - self.times[-1] >= seconds
