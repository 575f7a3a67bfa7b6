"""A member of a consumer group keeps consuming while the group shares its partitions out anew."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.kafka import ensure_topics, producer
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings
from libs.common.stream.membership import Membership, fetch
from libs.common.topics import LEDGER, SIGNALS


async def test_a_topic_made_in_mid_traffic_is_consumed_and_the_others_go_on(
    servers: dict[str, str], namespace: str
) -> None:
    settings = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=servers["SEXTANT_DATABASE"], redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=namespace, port=0,
    )  # fmt: skip
    await ensure_topics(settings, [(LEDGER.name, LEDGER, 2)])
    seen: dict[str, int] = {}
    stopping = asyncio.Event()

    async def own(client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event) -> None:
        name = tp.topic.removeprefix(namespace)
        await client.seek_to_beginning(tp)
        while not release.is_set():
            records = await fetch(client, tp, release, timeout_ms=250, max_records=50)
            seen[name] = max(seen.get(name, -1), *(record.offset for record in records), -1)

    member = Membership(settings, "test.member", own, Readiness())
    member.follow([LEDGER.name, SIGNALS.name])
    writer = producer(settings)
    await writer.start()

    async def traffic() -> None:
        while not stopping.is_set():
            for partition in (0, 1):
                await writer.send_and_wait(namespace + LEDGER.name, b"{}", partition=partition)

    async def reached(name: str, offset: int) -> None:
        while seen.get(name, -1) < offset:
            await asyncio.wait({*tasks}, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()

    tasks = {asyncio.create_task(member.run(stopping)), asyncio.create_task(traffic())}
    try:
        async with asyncio.timeout(60):
            await reached(LEDGER.name, 100)
            await ensure_topics(settings, [(SIGNALS.name, SIGNALS, 1)])
            await writer.send_and_wait(namespace + SIGNALS.name, b"{}")
            await reached(SIGNALS.name, 0)
            await reached(LEDGER.name, seen[LEDGER.name] + 100)
    finally:
        stopping.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await writer.stop()
