"""Scripts of what clients of Kafka do, and what they are shown: run on the simulation's Kafka and on the real one.

They tell only what Kafka promises: what may be otherwise the next time is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from libs.common import kafka
from libs.common.settings import ServiceSettings
from libs.common.topics import LEDGER, SIGNALS

Told = list[Any]
Script = Callable[[ServiceSettings], Coroutine[Any, Any, Told]]
ONE, TWO = (TopicPartition(LEDGER.name, number) for number in (0, 1))
"""Without the prefix."""


# --- what the scripts are made of ------------------------------------------------------------------------


def at(settings: ServiceSettings, tp: TopicPartition) -> TopicPartition:
    return TopicPartition(settings.prefix + tp.topic, tp.partition)


async def topic(settings: ServiceSettings, partitions: int = 2) -> None:
    await kafka.ensure_topics(settings, [(LEDGER.name, LEDGER, partitions)])


async def writer(settings: ServiceSettings, id: str | None = "writer") -> AIOKafkaProducer:
    client = kafka.producer(settings, id)
    await client.start()
    return client


async def reader(
    settings: ServiceSettings, *places: TopicPartition, group: str | None = None
) -> AIOKafkaConsumer:
    client = kafka.consumer(settings, group)
    await client.start()
    client.assign([at(settings, tp) for tp in places])
    return client


async def send(settings: ServiceSettings, client: AIOKafkaProducer, tp: TopicPartition, *values: str) -> None:
    for value in values:
        await client.send_and_wait(at(settings, tp).topic, value.encode(), partition=tp.partition)


async def written(
    settings: ServiceSettings, client: AIOKafkaProducer, tp: TopicPartition, *values: str, commit: bool = True
) -> None:
    """One transaction."""
    await client.begin_transaction()
    await send(settings, client, tp, *values)
    await (client.commit_transaction() if commit else client.abort_transaction())


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true."""
    async with asyncio.timeout(40):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(0.02)  # brokers call nobody back


async def read(client: AIOKafkaConsumer, count: int, **options: Any) -> list[tuple[int, int, str]]:
    """So many records as (partition, offset, value), by partition: between partitions there is no order."""
    found: list[tuple[int, int, str]] = []

    async def enough() -> bool:
        for tp, records in (await client.getmany(timeout_ms=100, **options)).items():
            found.extend((tp.partition, each.offset, (each.value or b"").decode()) for each in records)
        return len(found) >= count

    await until(enough)
    return sorted(found, key=lambda each: each[0])


async def ends(settings: ServiceSettings) -> tuple[dict[int, int], dict[int, int]]:
    """What a reader of committed records takes for the end, and the end."""
    return (
        await kafka.ends_of(settings, LEDGER.name),
        await kafka.high_watermarks(settings, settings.prefix + LEDGER.name),
    )


async def all_of(settings: ServiceSettings) -> list[str]:
    return [
        (record.value or b"").decode()
        async for records in kafka.read_all(settings, LEDGER.name)
        for record in records
    ]


async def raised(doing: Awaitable[Any]) -> str:
    try:
        await doing
    except (KafkaError, AssertionError) as error:
        return type(error).__name__
    return "nothing"


# --- the scripts -----------------------------------------------------------------------------------------


async def transactions(settings: ServiceSettings) -> Told:
    """Committed records are read in order; aborted ones and markers take offsets, and are not."""
    await topic(settings)
    client = await writer(settings)
    await written(settings, client, ONE, "a", "b")
    await written(settings, client, ONE, "c", "d", commit=False)
    await written(settings, client, TWO, "e")
    await written(settings, client, ONE, "f")
    await client.stop()
    await until(lambda: _stable(settings))
    consumer = await reader(settings, ONE, TWO)
    found = await read(consumer, 4)
    positions = [await consumer.position(at(settings, tp)) for tp in (ONE, TWO)]
    await consumer.stop()
    return [found, positions, await ends(settings)]


async def _stable(settings: ServiceSettings) -> bool:
    """Whether no transaction is open any more: markers come a little after a commit."""
    stable, end = await ends(settings)
    return stable == end


async def aborted_tail(settings: ServiceSettings) -> Told:
    """What is no record is passed over: the position reaches the end though nothing comes."""
    await topic(settings)
    client = await writer(settings)
    await written(settings, client, ONE, "a")
    await written(settings, client, ONE, "b", "c", commit=False)
    await client.stop()
    await until(lambda: _stable(settings))
    consumer = await reader(settings, ONE)
    found = await read(consumer, 1)

    async def passed() -> bool:
        found.extend((0, 0, str(each)) for each in await consumer.getmany(timeout_ms=50))
        return await consumer.position(at(settings, ONE)) == 5

    await until(passed)
    await consumer.stop()
    return [found]


async def last_stable_offset(settings: ServiceSettings) -> Told:
    """Behind a transaction that is open nothing is read, whoever wrote it; when it ends all of it is."""
    await topic(settings)
    slow, quick = await writer(settings, "slow"), await writer(settings, "quick")
    await written(settings, quick, ONE, "before")
    await until(lambda: _stable(settings))
    await slow.begin_transaction()
    await send(settings, slow, ONE, "open")
    await written(settings, quick, ONE, "behind")
    await written(settings, quick, TWO, "elsewhere")

    async def ended() -> bool:
        return (await ends(settings))[1] == {0: 5, 1: 2}

    await until(ended)

    async def elsewhere() -> bool:
        return (await ends(settings))[0][1] == 2

    await until(elsewhere)
    told: Told = [await ends(settings), sorted(await all_of(settings))]
    await slow.commit_transaction()
    await until(lambda: _stable(settings))
    told.append(sorted(await all_of(settings)))
    await slow.stop()
    await quick.stop()
    return told


async def fencing(settings: ServiceSettings) -> Told:
    """A second producer of a transactional id aborts what the first has open, and the first can do nothing any more."""
    await topic(settings)
    first = await writer(settings)
    await first.begin_transaction()
    await send(settings, first, ONE, "of the first")
    second = await writer(settings)
    await written(settings, second, ONE, "of the second")
    fenced = await raised(first.commit_transaction())
    await first.stop()
    await written(settings, second, ONE, "again")
    await second.stop()
    await until(lambda: _stable(settings))
    return [fenced, await all_of(settings), await ends(settings)]


async def fenced_offsets(settings: ServiceSettings) -> Told:
    """Nor can the first one move offsets."""
    await topic(settings)
    group = f"{settings.prefix}group"
    first = await writer(settings)
    await first.begin_transaction()
    second = await writer(settings)
    fenced = await raised(first.send_offsets_to_transaction({at(settings, ONE): 7}, group))
    await second.begin_transaction()
    await second.send_offsets_to_transaction({at(settings, TWO): 3}, group)
    await second.commit_transaction()
    await until(lambda: kafka.committed_of(settings, "group"))
    committed = await kafka.committed_of(settings, "group")
    await first.stop()
    await second.stop()
    return [fenced, {tp.partition: offset for tp, offset in committed.items()}]


async def offsets(settings: ServiceSettings) -> Told:
    """Offsets move with the transaction that they are in, or not at all; a member goes on from them."""
    await topic(settings)
    client = await writer(settings)
    group = f"{settings.prefix}group"
    await written(settings, client, ONE, "a", "b", "c")
    await client.begin_transaction()
    await client.send_offsets_to_transaction({at(settings, ONE): 1}, group)
    await client.abort_transaction()
    await client.begin_transaction()
    await client.send_offsets_to_transaction({at(settings, ONE): 2}, group)
    await client.commit_transaction()
    await until(lambda: kafka.committed_of(settings, "group"))
    committed = await kafka.committed_of(settings, "group")
    await client.stop()
    member = await reader(settings, ONE, TWO, group="group")
    told: Told = [{tp.partition: offset for tp, offset in committed.items()}]
    told += [await member.committed(at(settings, tp)) for tp in (ONE, TWO)]
    told += [await member.position(at(settings, tp)) for tp in (ONE, TWO)]
    told.append(await read(member, 1))
    await member.stop()
    return told


class Listener(ConsumerRebalanceListener):
    def __init__(self) -> None:
        self.assigned: list[list[int]] = []

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None: ...

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.assigned.append(sorted(tp.partition for tp in assigned))


async def member(settings: ServiceSettings, instance: str) -> tuple[AIOKafkaConsumer, Listener]:
    client, listener = kafka.consumer(settings.model_copy(update={"instance": instance}), "group"), Listener()
    await client.start()
    client.subscribe(topics=[settings.prefix + LEDGER.name], listener=listener)
    return client, listener


async def rebalance(settings: ServiceSettings) -> Told:
    """One member has all; with a second each has its share, and one that starts again under its name has the same at
    once, while the other hears nothing of it."""
    await topic(settings, 4)
    first, of_first = await member(settings, "one")

    async def polled(clients: list[AIOKafkaConsumer], done: Callable[[], bool]) -> None:
        async def ask() -> bool:
            for client in clients:
                await client.getmany(timeout_ms=20)
            return done()

        await until(ask)

    await polled([first], lambda: of_first.assigned[-1:] == [[0, 1, 2, 3]])
    second, of_second = await member(settings, "two")
    await polled([first, second], lambda: bool(of_second.assigned) and len(of_first.assigned[-1]) == 2)
    shares = [of_first.assigned[-1], of_second.assigned[-1]]
    heard = len(of_first.assigned)
    await second.stop()
    again, of_again = await member(settings, "two")
    await polled([first, again], lambda: bool(of_again.assigned))
    told: Told = [
        sorted(number for share in shares for number in share), [len(share) for share in shares],
        of_again.assigned[-1] == shares[1], len(of_first.assigned) - heard,
    ]  # fmt: skip
    await again.stop()
    await first.stop()
    return told


async def order(settings: ServiceSettings) -> Told:
    """Of a partition records come by their offsets, whatever the writers and the size of a piece; `seek` goes back."""
    await topic(settings)
    clients = [await writer(settings, name) for name in ("one", "two")]
    for number in range(6):
        await written(settings, clients[number % 2], (ONE, TWO)[number % 3 == 0], f"{number}", f"{number}'")
        await until(lambda: _stable(settings))  # else the next one's records may come before the marker
    for client in clients:
        await client.stop()
    consumer = await reader(settings, ONE, TWO)
    told: Told = [await read(consumer, 12, max_records=1)]
    consumer.seek(at(settings, ONE), 4)
    told.append(await read(consumer, 5))
    await consumer.seek_to_beginning(at(settings, TWO))
    told.append(await read(consumer, 4, max_records=3))
    told.append(consumer.highwater(at(settings, TWO)))
    await consumer.stop()
    return told


async def list_offsets(settings: ServiceSettings) -> Told:
    """The first and last offset, also of what was deleted; whoever reads from before begins with what is there."""
    await topic(settings)
    name = settings.prefix + LEDGER.name
    told: Told = [await kafka.starts_of(settings, name), await ends(settings)]
    client = await writer(settings)
    await written(settings, client, ONE, "a", "b", "c", "d")
    await client.stop()
    await until(lambda: _stable(settings))
    await kafka.delete_before(settings, at(settings, ONE), 2)
    told += [await kafka.starts_of(settings, name), await ends(settings), await all_of(settings)]
    told.append(await kafka.has_records(settings, at(settings, ONE), 4, 5))  # the marker
    consumer = await reader(settings, ONE, TWO)
    told.append(await consumer.position(at(settings, ONE)))
    await consumer.stop()
    return told


async def without_transactions(settings: ServiceSettings) -> Told:
    """A producer without an id: acknowledged is readable, with its place, key, headers and time."""
    await topic(settings)
    client = await writer(settings, None)
    places = [
        await client.send_and_wait(
            settings.prefix + LEDGER.name, f"v{number}".encode(), key=b"k", partition=number % 2,
            timestamp_ms=1_000 + number, headers=[("h", b"1")],
        )
        for number in range(4)
    ]  # fmt: skip
    await client.stop()
    consumer = await reader(settings, ONE, TWO)
    found: list[Any] = []

    async def enough() -> bool:
        for tp, records in (await consumer.getmany(timeout_ms=100)).items():
            found.extend(
                (tp.partition, each.offset, each.key, each.value, each.timestamp, tuple(each.headers))
                for each in records
            )
        return len(found) >= 4

    await until(enough)
    await consumer.stop()
    return [[(each.partition, each.offset) for each in places], sorted(found)]


async def what_is_not_there(settings: ServiceSettings) -> Told:
    """Topics that do not exist, partitions that are not assigned, topics that exist already."""
    told: Told = [await kafka.partitions_of(settings, f"{settings.prefix}nothing")]
    await topic(settings)
    await topic(settings, 5)
    told.append(await kafka.partitions_of(settings, settings.prefix + LEDGER.name))
    told.append(await kafka.ends_of(settings, SIGNALS.name))
    consumer = await reader(settings, ONE)
    told.append(await raised(consumer.position(at(settings, TWO))))
    try:
        consumer.seek(at(settings, TWO), 0)
    except IllegalStateError as error:
        told.append(type(error).__name__)
    told.append(await consumer.getmany(timeout_ms=50))
    told.append(sorted(tp.partition for tp in consumer.assignment()))
    await consumer.stop()
    return told


SCRIPTS: list[Script] = [
    transactions, aborted_tail, last_stable_offset, fencing, fenced_offsets, offsets, rebalance, order, list_offsets,
    without_transactions, what_is_not_there,
]  # fmt: skip
