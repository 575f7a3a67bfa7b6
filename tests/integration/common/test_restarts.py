"""A member that ends without leaving its group, as one that is killed does, and starts again under its name."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.kafka import ensure_topics, producer
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream.membership import Membership, fetch
from libs.common.topics import LEDGER, SIGNALS

SECONDS = 60.0
"""Bound of every wait: none is near it unless a group stands still, which it does for ever."""


@dataclass
class Owned:
    """What one life of a member had: how often each partition, and the partitions that gave it a record."""

    times: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    consumed: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_consumed(self, *wanted: tuple[str, int]) -> None:
        async with asyncio.timeout(SECONDS):
            while not self.consumed.issuperset(wanted):
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def settings(servers: dict[str, str], namespace: str) -> ServiceSettings:
    return ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=servers["SEXTANT_DATABASE"], redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=namespace, port=0, instance="one",
    )  # fmt: skip


@asynccontextmanager
async def living(settings: ServiceSettings, topics: Iterable[str]) -> AsyncGenerator[Owned]:
    """A life of the member that follows the topics. It ends without leaving the group."""
    owned, stopping = Owned(), asyncio.Event()

    async def own(client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event) -> None:
        place = tp.topic.removeprefix(settings.prefix), tp.partition
        owned.times[place] += 1
        await client.seek_to_beginning(tp)
        while not release.is_set():
            if await fetch(client, tp, release, timeout_ms=250, max_records=50):
                owned.consumed.add(place)
                owned.changed.set()

    member = Membership(settings, "test.restarts", own, Readiness())
    member.follow(topics)
    running = asyncio.create_task(member.run(stopping))
    try:
        yield owned
    finally:
        stopping.set()
        await running


async def fill(settings: ServiceSettings, topic: str, partitions: int) -> None:
    writer = producer(settings)
    await writer.start()
    for number in range(partitions):
        await writer.send_and_wait(settings.prefix + topic, b"{}", partition=number)
    await writer.stop()


async def test_one_that_starts_again_with_another_topic_consumes_it(settings: ServiceSettings) -> None:
    await ensure_topics(settings, [(LEDGER.name, LEDGER, 2), (SIGNALS.name, SIGNALS, 2)])
    await fill(settings, LEDGER.name, 2)
    await fill(settings, SIGNALS.name, 2)
    old, new = [(LEDGER.name, 0), (LEDGER.name, 1)], [(SIGNALS.name, 0), (SIGNALS.name, 1)]
    async with living(settings, [LEDGER.name]) as first:
        await first.until_consumed(*old)
    async with living(settings, [LEDGER.name, SIGNALS.name]) as second:
        await second.until_consumed(*old, *new)
    async with living(settings, [SIGNALS.name]) as third:
        await third.until_consumed(*new)
        assert set(third.times) == set(new), "what it no longer follows is not its own"


async def test_one_that_starts_again_consumes_a_topic_that_is_made_afterwards(
    settings: ServiceSettings,
) -> None:
    await ensure_topics(settings, [(LEDGER.name, LEDGER, 1)])
    await fill(settings, LEDGER.name, 1)
    for _ in range(2):
        async with living(settings, [LEDGER.name, SIGNALS.name]) as life:
            await life.until_consumed((LEDGER.name, 0))
    async with living(settings, [LEDGER.name, SIGNALS.name]) as last:
        await last.until_consumed((LEDGER.name, 0))
        await ensure_topics(settings, [(SIGNALS.name, SIGNALS, 1)])
        await fill(settings, SIGNALS.name, 1)
        await last.until_consumed((SIGNALS.name, 0))


async def test_one_that_starts_again_with_the_same_topics_takes_its_own_back_and_disturbs_nobody(
    settings: ServiceSettings,
) -> None:
    await ensure_topics(settings, [(LEDGER.name, LEDGER, 4)])
    await fill(settings, LEDGER.name, 4)
    all_of = {(LEDGER.name, number) for number in range(4)}
    other = settings.model_copy(update={"instance": "two"})
    async with AsyncExitStack() as others:
        async with living(settings, [LEDGER.name]) as leader:
            await leader.until_consumed(*all_of)
            steady = await others.enter_async_context(living(other, [LEDGER.name]))
            async with asyncio.timeout(SECONDS):
                while not steady.consumed:
                    await steady.changed.wait()
        theirs = set(steady.times)
        for _ in range(3):
            async with living(settings, [LEDGER.name]) as again:
                await again.until_consumed(*(all_of - theirs))
                assert set(again.times) == all_of - theirs
        assert steady.times == Counter(theirs)
