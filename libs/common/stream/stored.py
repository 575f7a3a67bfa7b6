"""Consume to the database: a batch's rows and its next offset commit in one database transaction.

Offsets live in the table `offsets(topic, partition, next_offset)` of the service's own schema; Kafka's group
only shares the partitions out. The update names the offset it expects, so a member that lost the partition
meanwhile is refused and starts over from the stored offset.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError

from libs.common import clock, telemetry
from libs.common.errors import BadMessage, TryLater
from libs.common.events import Event
from libs.common.kafka import Record, producer
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream.backoff import Backoff
from libs.common.stream.dead import Limit, dead_letter
from libs.common.stream.membership import Membership, fetch
from libs.common.topics import DEAD

log = logging.getLogger(__name__)


Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Bad = list[tuple[Record, BadMessage]]
"""Records that can never be used, and why."""
E = TypeVar("E", bound=Event)


def parsed(kind: type[E], records: Sequence[Record]) -> tuple[list[tuple[Record, E]], Bad]:
    """The events of a JSON topic, and the records that are none."""
    good: list[tuple[Record, E]] = []
    bad: Bad = []
    for record in records:
        try:
            good.append((record, kind.decode(record.value or b"")))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            bad.append((record, BadMessage(f"{field}: {first['msg']}", field=field, rule=first["type"])))
    return good, bad


class Lost(Exception):
    """Somebody else moved the partition's offset."""


class Keeper(Protocol):
    """Turns a batch of one partition into rows, on the connection whose transaction moves the offset."""

    async def __call__(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """Returns the records that can never be used. TryLater makes the partition wait."""
        ...


class Rest(Protocol):
    """Told when a partition was read to its end: `next_offset` is behind its last record, marks of transactions aside."""

    async def __call__(self, tp: TopicPartition, next_offset: int) -> None: ...


class StoredLoop:
    """Runs a Keeper as the member `name` (`service.loop`) of the group of that name."""

    def __init__(
        self,
        settings: ServiceSettings,
        name: str,
        pool: asyncpg.Pool,
        keep: Keeper,
        readiness: Readiness,
        *,
        max_records: int = 10_000,
        at_rest: Rest | None = None,
    ) -> None:
        self.settings, self.name, self.pool, self.keep = settings, name, pool, keep
        self.schema = name.partition(".")[0]
        self.max_records, self.at_rest = max_records, at_rest
        self.membership = Membership(settings, name, self._own, readiness)
        self.dead: AIOKafkaProducer | None = None

    def follow(self, topics: Iterable[str]) -> None:
        """Consume these topics from now on."""
        self.membership.follow(topics)

    def end_of(self, tp: TopicPartition) -> int | None:
        """The end of a partition as last heard from the broker."""
        client = self.membership.client
        return client.highwater(tp) if client is not None else None

    async def run(self, stopping: asyncio.Event) -> None:
        self.dead = producer(self.settings)
        await self.dead.start()
        try:
            await self.membership.run(stopping)
        finally:
            await self.dead.stop()

    async def _own(self, client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event) -> None:
        topic = tp.topic.removeprefix(self.settings.prefix)
        expected = await self._seek(client, tp, topic)
        limit, backoff, rests = Limit(), Backoff(), False
        while not release.is_set():
            records = await fetch(client, tp, release, timeout_ms=250, max_records=self.max_records)
            if not records:
                rests = rests or release.is_set() or await self._rest(client, tp, topic, expected)
                continue
            rests = False
            try:
                await self._step(tp, topic, records, expected, limit)
                expected = records[-1].offset + 1
                backoff.reset()
            except Lost:
                log.warning(
                    "offset moved by another", extra={"fields": {"loop": self.name, "partition": str(tp)}}
                )
                expected = await self._seek(client, tp, topic)
            except (
                TryLater,
                asyncpg.PostgresConnectionError,
                asyncpg.DeadlockDetectedError,
                OSError,
            ) as later:
                telemetry.RETRIES.labels(self.name, topic, str(tp.partition)).inc()
                log.warning(
                    "waiting",
                    extra={"fields": {"loop": self.name, "partition": str(tp), "reason": str(later)}},
                )
                client.seek(tp, expected)
                await asyncio.sleep(backoff.next())
            lag = (client.highwater(tp) or 0) - expected
            telemetry.LAG.labels(self.name, topic, str(tp.partition)).set(max(0, lag))

    async def _rest(self, client: AIOKafkaConsumer, tp: TopicPartition, topic: str, expected: int) -> bool:
        """Whether the partition is read to its end; told once, until there is more."""
        end = client.last_stable_offset(tp)
        if end is None or await client.position(tp) < end:
            return False
        telemetry.LAG.labels(self.name, topic, str(tp.partition)).set(0)
        if self.at_rest is not None:
            try:
                await self.at_rest(tp, expected)
            except (asyncpg.PostgresConnectionError, OSError):
                return False
        return True

    async def _seek(self, client: AIOKafkaConsumer, tp: TopicPartition, topic: str) -> int:
        statement = f'SELECT next_offset FROM "{self.schema}".offsets WHERE topic = $1 AND partition = $2'
        stored = await self.pool.fetchval(statement, topic, tp.partition)
        if stored is None:
            first = (await client.beginning_offsets([tp]))[tp]
            statement = f'INSERT INTO "{self.schema}".offsets VALUES ($1, $2, $3) ON CONFLICT DO NOTHING'
            await self.pool.execute(statement, topic, tp.partition, first)
            return await self._seek(client, tp, topic)
        client.seek(tp, stored)
        return stored

    async def _step(
        self, tp: TopicPartition, topic: str, records: Sequence[Record], expected: int, limit: Limit
    ) -> None:
        began = clock.monotonic()
        with telemetry.consuming(self.name, topic, records):
            async with self.pool.acquire() as connection, connection.transaction():
                moved = await connection.execute(
                    f'UPDATE "{self.schema}".offsets SET next_offset = $1'
                    " WHERE topic = $2 AND partition = $3 AND next_offset = $4",
                    records[-1].offset + 1,
                    topic,
                    tp.partition,
                    expected,
                )
                if moved != "UPDATE 1":
                    raise Lost
                bad = list(await self.keep(connection, tp, records))
                limit.count(len(records), len(bad))
                await self._bury(tp, topic, bad)
        telemetry.CONSUMED.labels(self.name, topic, str(tp.partition)).inc(len(records))
        telemetry.BATCH_SECONDS.labels(self.name).observe(clock.monotonic() - began)

    async def _bury(self, tp: TopicPartition, topic: str, bad: Iterable[tuple[Record, BadMessage]]) -> None:
        """Before the commit: a crash in between sends the same letter again, under the same id."""
        assert self.dead is not None
        for record, error in bad:
            source = topic.partition(".")[2] if topic.startswith(("events.", "reference.")) else topic
            letter = dead_letter(
                record, tp, error, source=source, stage=self.name, service=self.schema, now=clock.now()
            )
            await self.dead.send_and_wait(
                self.settings.prefix + DEAD.name, letter.encode(), key=source.encode()
            )
            telemetry.DEAD_LETTERS.labels(self.name, topic).inc()
