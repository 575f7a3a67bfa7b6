"""Small topics of one partition that a process knows whole: read to their ends, then followed."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import TopicPartition

from libs.common.kafka import Record, consumer, read_all
from libs.common.settings import ServiceSettings
from libs.common.topics import Topic

Take = Callable[[str, Record], None]
"""Told the topic, without the prefix, and a record of it."""


async def load(settings: ServiceSettings, topics: Sequence[Topic], take: Take) -> None:
    """One topic after the other, to the ends that they have now."""
    for topic in topics:
        async for records in read_all(settings, topic.name):
            for record in records:
                take(topic.name, record)


async def follow(
    settings: ServiceSettings, topics: Sequence[Topic], take: Take, stopping: asyncio.Event
) -> None:
    """All of them, from their beginnings."""
    client = consumer(settings)
    await client.start()
    try:
        places = [TopicPartition(settings.prefix + topic.name, 0) for topic in topics]
        client.assign(places)
        await client.seek_to_beginning(*places)
        while not stopping.is_set():
            for tp, records in (await client.getmany(*places, timeout_ms=500)).items():
                for record in records:
                    take(tp.topic.removeprefix(settings.prefix), record)
    finally:
        await client.stop()
