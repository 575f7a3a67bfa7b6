"""A Kafka broker in memory: logs, transactions, groups. What the real one promises, and what it leaves open.

Left open, and so decided by dice: how long a request or an answer travels, when the markers of an ended transaction
reach each partition and the group's offsets, and when a member hears that its group shares its partitions out anew.
`tests/integration/common/test_sim_conformance.py` holds this against the real broker.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import InvalidTxnState, ProducerFenced

from tests.sim.groups import Group
from tests.sim.virtual import Host, host

Answer = TypeVar("Answer")
Strike = Callable[[Host], None]
"""Called at every request and answer of a host: may kill it, freeze it, or raise what the client is to see."""


@dataclass(eq=False)
class Transaction:
    """Open, then ending (decided, its markers on their way), then gone."""

    began: float
    partitions: set[TopicPartition] = field(default_factory=set)
    offsets: dict[tuple[str, TopicPartition], int] = field(default_factory=dict)
    committed: bool | None = None
    """None: not decided."""
    ended: set[TopicPartition] = field(default_factory=set)
    """Partitions that its marker has reached."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What takes an offset: a record, or the marker of a transaction's end (`key` and `value` None, `marker`)."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    transaction: Transaction | None = None
    marker: bool = False


@dataclass
class Partition:
    """A log without holes: the offset of an entry is `start` plus its place."""

    tp: TopicPartition
    start: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: where the first transaction begins that has not ended here."""
        for place, entry in enumerate(self.entries):
            if entry.transaction is not None and not entry.marker and self.tp not in entry.transaction.ended:
                return self.start + place
        return self.end

    def read(self, position: int, most: int) -> tuple[list[tuple[int, Entry]], int]:
        """Committed records from `position`, and the position after them (or after what is no record)."""
        found: list[tuple[int, Entry]] = []
        stable, at = self.stable, max(position, self.start)
        while at < stable and len(found) < most:
            entry = self.entries[at - self.start]
            if not entry.marker and (entry.transaction is None or entry.transaction.committed):
                found.append((at, entry))
            at += 1
        return found, max(position, at)


@dataclass
class Writer:
    """A transactional id as the transaction coordinator knows it."""

    epoch: int = -1
    transaction: Transaction | None = None
    expiry: asyncio.TimerHandle | None = None


class Broker:
    def __init__(
        self, dice: random.Random, *, lag: float = 0.002, strike: Strike = lambda host: None
    ) -> None:
        """`lag`: seconds that a request, an answer or a marker travels at most."""
        self.dice, self.lag, self.strike = dice, lag, strike
        self.topics: dict[str, list[Partition]] = {}
        self.writers: dict[str, Writer] = {}
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self.groups: dict[str, Group] = {}
        self.resumes_at = 0.0
        """Until then it answers nobody."""
        self.changed = asyncio.Event()
        """Set, and replaced, whenever there may be more to read."""

    # --- the wire ----------------------------------------------------------------------------------------

    async def call(self, action: Callable[[], Answer]) -> Answer:
        """A request that does `action`, and its answer. Either may be lost with its host."""
        await self.travel()
        answer = action()
        await self.travel()
        return answer

    async def travel(self) -> None:
        mine, loop = host(), asyncio.get_running_loop()
        if mine.dead:
            raise asyncio.CancelledError
        mine.calls += 1
        self.strike(mine)
        await asyncio.sleep(self.dice.random() * self.lag)
        while (until := max(self.resumes_at, mine.thaws_at)) > loop.time():  # noqa: ASYNC110
            await asyncio.sleep(until - loop.time())
        if mine.dead:
            raise asyncio.CancelledError

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    # --- topics ------------------------------------------------------------------------------------------

    def create(self, name: str, partitions: int) -> None:
        self.topics[name] = [Partition(TopicPartition(name, number)) for number in range(partitions)]
        for group in self.groups.values():
            group.topic_created(name)

    def log(self, tp: TopicPartition) -> Partition:
        return self.topics[tp.topic][tp.partition]

    def append(self, tp: TopicPartition, entries: list[Entry]) -> int:
        """The offset of the first."""
        log = self.log(tp)
        first = log.end
        log.entries += entries
        self.wake()
        return first

    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        log = self.log(tp)
        gone = max(0, min(offset, log.end) - log.start)
        log.entries, log.start = log.entries[gone:], log.start + gone

    # --- transactions ------------------------------------------------------------------------------------

    def fence(self, id: str) -> int:
        """A new epoch of a transactional id. What the former one left open is aborted."""
        writer = self.writers.setdefault(id, Writer())
        writer.epoch += 1
        if writer.transaction is not None and writer.transaction.committed is None:
            self._decide(writer, commit=False)
        return writer.epoch

    def is_ending(self, id: str) -> bool:
        """Whether a transaction's markers are still on their way: the next one has to wait."""
        transaction = self.writers[id].transaction
        return transaction is not None and transaction.committed is not None

    def open(self, id: str, epoch: int, timeout: float) -> Transaction:
        """The transaction of this epoch, begun if there is none."""
        writer = self._writer(id, epoch)
        if writer.transaction is None:
            loop = asyncio.get_running_loop()
            writer.transaction = Transaction(loop.time())
            writer.expiry = loop.call_later(timeout, self._expire, id, writer.transaction)
        if writer.transaction.committed is not None:
            raise InvalidTxnState
        return writer.transaction

    def end(self, id: str, epoch: int, *, commit: bool) -> None:
        writer = self._writer(id, epoch)
        if writer.transaction is not None:
            self._decide(writer, commit=commit)

    def _writer(self, id: str, epoch: int) -> Writer:
        writer = self.writers[id]
        if epoch != writer.epoch:
            raise ProducerFenced
        return writer

    def _expire(self, id: str, transaction: Transaction) -> None:
        if self.writers[id].transaction is transaction and transaction.committed is None:
            self.fence(id)

    def _decide(self, writer: Writer, *, commit: bool) -> None:
        transaction, loop = writer.transaction, asyncio.get_running_loop()
        assert transaction is not None
        transaction.committed = commit
        if writer.expiry is not None:
            writer.expiry.cancel()
        waits = [self.dice.random() * self.lag * 4 for _ in range(len(transaction.partitions) + 1)]
        for tp, wait in zip(sorted(transaction.partitions), waits, strict=False):
            loop.call_later(wait, self._mark, transaction, tp)
        loop.call_later(waits[-1], self._move_offsets, transaction)
        loop.call_later(max(waits), self._close, writer)

    def _mark(self, transaction: Transaction, tp: TopicPartition) -> None:
        transaction.ended.add(tp)
        self.append(tp, [Entry(0, None, None, (), transaction, marker=True)])

    def _move_offsets(self, transaction: Transaction) -> None:
        if transaction.committed:
            self.committed |= transaction.offsets

    def _close(self, writer: Writer) -> None:
        writer.transaction = None

    # --- groups ------------------------------------------------------------------------------------------

    def group(self, id: str) -> Group:
        if id not in self.groups:
            self.groups[id] = Group(self.dice, self.topics)
        return self.groups[id]


BROKERS: dict[str, Broker] = {}
"""By their `bootstrap_servers`."""
