"""The clients of `aiokafka`, as far as the project uses them, on a broker in memory. `installed` puts them in place."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord

from libs.common import clock, kafka
from tests.sim.admin import Admin
from tests.sim.broker import BROKERS, Broker, Entry, Partition
from tests.sim.groups import Group, Member
from tests.sim.virtual import host

Result = TypeVar("Result")
COORDINATION = "coordination"
"""Name of the tasks that keep a member in its group; a lost connection does not end them."""


@contextmanager
def installed(address: str, broker: Broker) -> Generator[None]:
    """The factories of `libs.common.kafka` make clients of this broker."""
    BROKERS[address] = broker
    names: dict[str, Any] = {
        "AIOKafkaConsumer": Consumer,
        "AIOKafkaProducer": Producer,
        "AIOKafkaAdminClient": Admin,
    }
    try:
        with patch.multiple(kafka, **names), patch.object(TopicPartition, "__hash__", _stable_hash):
            yield
    finally:
        del BROKERS[address]


def _stable_hash(tp: TopicPartition) -> int:
    """The same in every process: sets of partitions are gone through in the same order when a seed is run again."""
    return hash((zlib.crc32(tp.topic.encode()), tp.partition))


class Batch:
    """Records that go to the broker as one."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self.records: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...], int | None]] = []

    def append(
        self,
        *,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> object | None:
        size = 64 + len(key or b"") + len(value or b"") + sum(len(name) + len(text) for name, text in headers)
        if self.records and self.size + size > self.most:
            return None
        self.size += size
        self.records.append((key, value, tuple(headers), timestamp))
        return SimpleNamespace(size=size)


class Producer:
    def __init__(
        self, *, bootstrap_servers: str, transactional_id: str | None = None, transaction_timeout_ms: int = 60_000,
        max_batch_size: int = 16_384, **_: object,
    ) -> None:  # fmt: skip
        self.broker, self.id = BROKERS[bootstrap_servers], transactional_id
        self.timeout, self.max_batch_size = transaction_timeout_ms / 1000, max_batch_size
        self.epoch = -1
        self.order = asyncio.Lock()
        self.pending: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        if self.id is not None:
            id = self.id
            self.epoch = await self.broker.call(lambda: self.broker.fence(id))
            await self._until_ended(id)

    async def stop(self) -> None:
        await asyncio.gather(*self.pending, return_exceptions=True)

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(len(self.broker.topics[topic])))

    def create_batch(self) -> Batch:
        return Batch(self.max_batch_size)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        delivery = asyncio.create_task(self._deliver(batch, TopicPartition(topic, partition)))
        self.pending.append(delivery)
        return delivery

    async def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, partition: int = 0,
        timestamp_ms: int | None = None, headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> "asyncio.Future[Any]":  # fmt: skip
        batch = self.create_batch()
        batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers or ())
        return await self.send_batch(batch, topic, partition=partition)

    async def send_and_wait(self, *arguments: Any, **options: Any) -> Any:
        return await (await self.send(*arguments, **options))

    async def _deliver(self, batch: Batch, tp: TopicPartition) -> Any:
        async with self.order:  # of one producer, records arrive in the order of their sending
            if self.id is not None:
                await self._until_ended(self.id)
            return await self.broker.call(lambda: self._append(batch, tp))

    def _append(self, batch: Batch, tp: TopicPartition) -> Any:
        transaction = None
        if self.id is not None:
            transaction = self.broker.open(self.id, self.epoch, self.timeout)
            transaction.partitions.add(tp)
        now = int(clock.now().timestamp() * 1000)
        first = self.broker.append(
            tp,
            [
                Entry(now if at is None else at, key, value, headers, transaction)
                for key, value, headers, at in batch.records
            ],
        )
        return SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=first)

    # --- transactions ------------------------------------------------------------------------------------

    async def begin_transaction(self) -> None:
        self.pending = []

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, int], group_id: str) -> None:
        assert self.id is not None
        id = self.id

        def add() -> None:
            transaction = self.broker.open(id, self.epoch, self.timeout)
            transaction.offsets |= {(group_id, tp): offset for tp, offset in offsets.items()}

        await self._until_ended(id)
        await self.broker.call(add)

    async def commit_transaction(self) -> None:
        await asyncio.gather(*self.pending)
        await self._end(commit=True)

    async def abort_transaction(self) -> None:
        await asyncio.gather(*self.pending, return_exceptions=True)
        await self._end(commit=False)

    async def _end(self, *, commit: bool) -> None:
        assert self.id is not None
        id = self.id
        await self._until_ended(id)
        await self.broker.call(lambda: self.broker.end(id, self.epoch, commit=commit))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator["Producer"]:
        await self.begin_transaction()
        try:
            yield self
        except BaseException:
            await self.abort_transaction()
            raise
        await self.commit_transaction()

    async def _until_ended(self, id: str) -> None:
        """What a client does that is told CONCURRENT_TRANSACTIONS."""
        while self.broker.is_ending(id):  # noqa: ASYNC110
            await asyncio.sleep(self.broker.lag)


@dataclass
class Place:
    """A partition that a consumer has."""

    position: int | None = None
    highwater: int | None = None


@dataclass
class Assignment:
    places: dict[TopicPartition, Place] = field(default_factory=dict)


class Consumer:
    def __init__(
        self, *, bootstrap_servers: str, group_id: str | None = None, group_instance_id: str | None = None,
        session_timeout_ms: int = 10_000, isolation_level: str = "read_committed", **_: object,
    ) -> None:  # fmt: skip
        self.committed_only = isolation_level == "read_committed"
        self.broker = BROKERS[bootstrap_servers]
        self.group_id = group_id
        self.member = Member(host(), group_instance_id, session_timeout_ms / 1000)
        self.places: dict[TopicPartition, Place] = {}
        self.assigned = asyncio.Event()
        """Not set while the group shares its partitions out anew."""
        self.assigned.set()
        self.topics: frozenset[str] = frozenset()
        self.listener: ConsumerRebalanceListener | None = None
        self.coordination: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.broker.travel()

    async def stop(self) -> None:
        if self.coordination is not None:
            self.coordination.cancel()
            await asyncio.gather(self.coordination, return_exceptions=True)
            if host().dead:
                return
            if self.member.instance is None:
                self._group.leave(self.member)
            else:
                asyncio.get_running_loop().call_later(self.member.session, self._group.leave, self.member)

    # --- the group ---------------------------------------------------------------------------------------

    @property
    def _group(self) -> Group:
        assert self.group_id is not None
        return self.broker.group(self.group_id)

    def subscribe(self, *, topics: Iterable[str], listener: ConsumerRebalanceListener) -> None:
        """Drops the present partitions at once, and joins the group for these topics."""
        self.topics, self.listener, self.places = frozenset(topics), listener, {}
        self.member.told.set()
        if self.coordination is None:
            self.coordination = asyncio.create_task(self._coordinate(), name=COORDINATION)

    async def _coordinate(self) -> None:
        while True:
            await self.member.told.wait()
            await self.broker.travel()
            assert self.listener is not None
            self.assigned.clear()
            await _awaited(self.listener.on_partitions_revoked(self.places.keys()))
            self.member.topics = self.topics
            joining = await self.broker.call(lambda: self._group.join(self.member))
            mine = await joining
            await self.broker.travel()
            self.places = {tp: Place() for tp in mine}
            self.assigned.set()
            await _awaited(self.listener.on_partitions_assigned(frozenset(mine)))

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.places = {tp: Place() for tp in partitions}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.places)

    async def committed(self, tp: TopicPartition) -> int | None:
        assert self.group_id is not None
        group = self.group_id
        return await self.broker.call(lambda: self.broker.committed.get((group, tp)))

    # --- reading -----------------------------------------------------------------------------------------

    def _place(self, tp: TopicPartition) -> Place:
        if tp not in self.places:
            raise IllegalStateError(f"Partition {tp} is not assigned")
        return self.places[tp]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._place(tp).position = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        starts = await self.beginning_offsets(partitions or list(self.places))
        for tp, start in starts.items():
            self._place(tp).position = start

    async def position(self, tp: TopicPartition) -> int:
        place = self._place(tp)
        if place.position is None:
            known = None if self.group_id is None else await self.committed(tp)
            if place.position is None:
                place.position = known if known is not None else self.broker.log(tp).start
        return place.position

    def highwater(self, tp: TopicPartition) -> int | None:
        assert tp in self.places, "Partition is not assigned"
        return self.places[tp].highwater

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self.broker.call(lambda: {tp: self.broker.log(tp).start for tp in partitions})

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Of a reader of committed records: the last stable offsets."""

        def end(log: Partition) -> int:
            return log.stable if self.committed_only else log.end

        return await self.broker.call(lambda: {tp: end(self.broker.log(tp)) for tp in partitions})

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            await self.assigned.wait()
            most = min(max_records or 500, self.broker.dice.choice((1, 3, 10, 500)))
            wanted = [tp for tp in partitions or self.places if tp in self.places]
            found = await self._fetch(wanted, most)
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            await self._until_more(wanted, left)

    async def _fetch(
        self, partitions: Sequence[TopicPartition], most: int
    ) -> dict[TopicPartition, list[Any]]:
        places = self.places
        before = {tp: await self.position(tp) for tp in partitions if tp in places}
        answer = await self.broker.call(
            lambda: {tp: self.broker.log(tp).read(at, most) for tp, at in before.items()}
        )
        found: dict[TopicPartition, list[Any]] = {}
        for tp, (entries, after) in answer.items():
            place = self.places.get(tp)
            if places is not self.places or place is None or place.position != before[tp]:
                continue  # sought elsewhere, or given up, while the answer was on its way
            place.position, place.highwater = after, self.broker.log(tp).end
            if entries:
                found[tp] = [consumed(tp, offset, entry) for offset, entry in entries]
        return found

    async def _until_more(self, partitions: Sequence[TopicPartition], seconds: float) -> None:
        """Until there is something to read, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0 and self.assigned.is_set():
            places = [
                (self.broker.log(tp), self.places[tp].position) for tp in partitions if tp in self.places
            ]
            if any(position is not None and log.read(position, 1)[0] for log, position in places):
                return
            waiting = asyncio.ensure_future(self.broker.changed.wait())
            try:
                await asyncio.wait({waiting}, timeout=left)
            finally:
                waiting.cancel()


def consumed(tp: TopicPartition, offset: int, entry: Entry) -> "ConsumerRecord[bytes | None, bytes | None]":
    """A record as a consumer gets it."""
    sizes = (-1 if entry.key is None else len(entry.key), -1 if entry.value is None else len(entry.value))
    return ConsumerRecord(
        tp.topic,
        tp.partition,
        offset,
        entry.timestamp,
        0,
        entry.key,
        entry.value,
        None,
        *sizes,
        entry.headers,
    )


async def _awaited(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result
