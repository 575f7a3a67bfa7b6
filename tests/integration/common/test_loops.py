"""The three outcomes of a record in both loops: done, bad, not now. And events that come out of database state."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock
from libs.common.database import pool
from libs.common.errors import BadMessage, TryLater
from libs.common.events import DeadLetter, LedgerEntry
from libs.common.kafka import Record, ensure_topics, producer, read_all
from libs.common.outbox import Publisher, put
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream import Output, StoredLoop, TooManyDeadLetters, TransactionalLoop, dead_letter
from libs.common.stream.stored import Connection
from libs.common.topics import DEAD, LEDGER, SIGNALS

SCHEMA = """
CREATE SCHEMA test;
CREATE TABLE test.offsets (topic text, partition int, next_offset bigint NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE test.rows (value text);
CREATE TABLE test.outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);
"""


@pytest.fixture
async def settings(servers: dict[str, str], namespace: str, database: str) -> ServiceSettings:
    found = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=namespace, port=0,
    )  # fmt: skip
    await ensure_topics(found, [(LEDGER.name, LEDGER, 1), (SIGNALS.name, SIGNALS, 1), (DEAD.name, DEAD, 1)])
    return found


@pytest.fixture
async def rows(settings: ServiceSettings) -> AsyncGenerator[asyncpg.Pool]:
    connections = await pool(settings, "test")
    await connections.execute(SCHEMA)
    yield connections
    await connections.close()


async def send(settings: ServiceSettings, *values: str) -> None:
    writer = producer(settings)
    await writer.start()
    for value in values:
        await writer.send_and_wait(settings.prefix + LEDGER.name, value.encode(), partition=0)
    await writer.stop()


async def values(settings: ServiceSettings, topic: str) -> list[bytes]:
    return [record.value or b"" async for records in read_all(settings, topic) for record in records]


class Unready:
    """Refuses the records that say `later`, three times."""

    def __init__(self) -> None:
        self.refusals = 0

    def ask(self, records: Sequence[Record]) -> None:
        if any(record.value == b"later" for record in records) and self.refusals < 3:
            self.refusals += 1
            raise TryLater("not yet")


async def running(loop: StoredLoop | TransactionalLoop, done: asyncio.Event) -> None:
    """Run a loop until it has done its work; raises what ends it before."""
    stopping = asyncio.Event()
    task = asyncio.create_task(loop.run(stopping))
    finished = asyncio.create_task(done.wait())
    async with asyncio.timeout(60):
        await asyncio.wait({task, finished}, return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    finished.cancel()
    await task


async def test_a_stored_loop_keeps_sets_aside_and_waits(
    settings: ServiceSettings, rows: asyncpg.Pool
) -> None:
    await send(settings, "a", "bad", "later", "b")
    unready, done = Unready(), asyncio.Event()

    async def keep(
        connection: Connection, tp: TopicPartition, records: Sequence[Record]
    ) -> list[tuple[Record, BadMessage]]:
        good = [record for record in records if record.value != b"bad"]
        for record in good:
            await connection.execute("INSERT INTO test.rows VALUES ($1)", (record.value or b"").decode())
        unready.ask(records)
        if any(record.value == b"b" for record in records):
            done.set()
        return [(record, BadMessage("no good", rule="good")) for record in records if record not in good]

    loop = StoredLoop(settings, "test.rows", rows, keep, Readiness(), max_records=10)
    loop.follow([LEDGER.name])
    await running(loop, done)
    assert unready.refusals == 3
    assert [row["value"] for row in await rows.fetch("SELECT value FROM test.rows")] == ["a", "later", "b"]
    assert await rows.fetchval("SELECT next_offset FROM test.offsets") == 4
    letters = {DeadLetter.decode(value).id for value in await values(settings, DEAD.name)}
    assert letters == {f"{settings.prefix}{LEDGER.name}/0/1"}


async def test_a_stored_loop_says_when_a_partition_is_read_to_its_end_marks_of_transactions_aside(
    settings: ServiceSettings, rows: asyncpg.Pool
) -> None:
    writer = producer(settings, "test.rest")
    await writer.start()
    for value in (b"a", b"b"):
        async with writer.transaction():
            await writer.send(settings.prefix + LEDGER.name, value, partition=0)
    await writer.stop()
    told, done = list[int](), asyncio.Event()

    async def keep(connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> list[Any]:
        return []

    async def at_rest(tp: TopicPartition, next_offset: int) -> None:
        told.append(next_offset)
        if next_offset == 3:
            done.set()

    loop = StoredLoop(settings, "test.rows", rows, keep, Readiness(), at_rest=at_rest)
    loop.follow([LEDGER.name])
    await running(loop, done)
    assert told.count(3) == 1
    assert await rows.fetchval("SELECT next_offset FROM test.offsets") == 3  # behind b; its mark is beyond


async def test_a_stored_loop_in_which_all_is_bad_ends_and_moves_no_further(
    settings: ServiceSettings, rows: asyncpg.Pool
) -> None:
    writer = producer(settings)
    await writer.start()
    await asyncio.gather(*[
        await writer.send(settings.prefix + LEDGER.name, b"bad", partition=0) for _ in range(1_500)
    ])  # fmt: skip
    await writer.stop()

    async def keep(
        connection: Connection, tp: TopicPartition, records: Sequence[Record]
    ) -> list[tuple[Record, BadMessage]]:
        return [(record, BadMessage("no good")) for record in records]

    loop = StoredLoop(settings, "test.rows", rows, keep, Readiness(), max_records=300)
    loop.follow([LEDGER.name])
    with pytest.raises(TooManyDeadLetters):
        await running(loop, asyncio.Event())
    assert await rows.fetchval("SELECT next_offset FROM test.offsets") <= 1_000
    assert len(await values(settings, DEAD.name)) <= 1_000


class Upper:
    """A processor that answers in capitals, sets `bad` aside and is not ready for `later` at once."""

    def __init__(self, done: asyncio.Event) -> None:
        self.unready, self.done, self.assignments = Unready(), done, 0

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> tuple[()]:
        self.assignments += 1
        return ()

    async def releasing(self, tp: TopicPartition) -> list[Output]:
        return []

    async def revoked(self, tp: TopicPartition) -> None:
        pass

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        return False

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output]:
        self.unready.ask(records)
        outputs = []
        for record in records:
            if record.value == b"bad":
                letter = dead_letter(
                    record, tp, BadMessage("no good"), source="x", stage="t", service="t", now=clock.now()
                )
                outputs.append(Output(DEAD.name, b"x", letter.encode()))
            else:
                outputs.append(Output(SIGNALS.name, record.key, (record.value or b"").upper()))
            if record.value == b"b":
                self.done.set()
        return outputs


async def test_a_transactional_loop_answers_sets_aside_and_waits(settings: ServiceSettings) -> None:
    await send(settings, "a", "bad", "later", "b")
    for _ in range(2):  # the second time there is nothing left to do
        done = asyncio.Event()
        processor = Upper(done)
        loop = TransactionalLoop(settings, "test.upper", processor, Readiness(), tick_seconds=0.05)
        loop.follow([LEDGER.name])
        if await values(settings, SIGNALS.name):
            await send(settings, "b")
        await running(loop, done)
    assert await values(settings, SIGNALS.name) == [b"A", b"LATER", b"B", b"B"]
    (letter,) = await values(settings, DEAD.name)
    assert DeadLetter.decode(letter).offset == 1


async def test_what_is_put_in_a_transaction_is_sent_if_it_commits_and_in_order(
    settings: ServiceSettings, rows: asyncpg.Pool
) -> None:
    def entry(number: int) -> LedgerEntry:
        return LedgerEntry.build(
            source="x", minute=clock.now(), accepted=number, published=number, dead_lettered=0, duplicate=0,
            receipt="r", recorded_at=clock.now(),
        )  # fmt: skip

    async with rows.acquire() as connection:
        for number in range(20):
            transaction = connection.transaction()
            await transaction.start()
            await put(connection, "test", LEDGER.name, "x", entry(number))
            await (transaction.rollback() if number % 2 else transaction.commit())
    stopping = asyncio.Event()
    publisher = asyncio.create_task(Publisher(settings, "test", rows, Readiness()).run(stopping))
    async with asyncio.timeout(60):
        while await rows.fetchval("SELECT count(*) FROM test.outbox"):
            await asyncio.wait({publisher}, timeout=0.05)
    stopping.set()
    await publisher
    sent = [LedgerEntry.decode(value).accepted for value in await values(settings, LEDGER.name)]
    assert sent == list(range(0, 20, 2))
