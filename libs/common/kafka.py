"""Kafka clients as this project uses them, and what the client library leaves out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError
from aiokafka.producer import sender

from libs.common import fetches, groups
from libs.common.batches import Record
from libs.common.settings import ServiceSettings
from libs.common.topics import Topic

log = logging.getLogger(__name__)

MAX_MESSAGE = 8 * 1024 * 1024
Headers = list[tuple[str, bytes]]


fetches.mend()
groups.mend()
sender.BACKOFF_OVERRIDE = 0.002
"""Seconds. The broker refuses a transaction until it has ended the one before, a few milliseconds after it says so."""


def producer(settings: ServiceSettings, transactional_id: str | None = None) -> AIOKafkaProducer:
    """Idempotent, acknowledged by all replicas; transactional when an id is given (prefix added here)."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        enable_idempotence=True,
        transactional_id=f"{settings.prefix}{transactional_id}" if transactional_id else None,
        transaction_timeout_ms=30_000,
        max_batch_size=512 * 1024,
        max_request_size=MAX_MESSAGE,
        linger_ms=0 if transactional_id else 5,
    )


def consumer(settings: ServiceSettings, group: str | None = None, **options: Any) -> AIOKafkaConsumer:
    """Committed records only; offsets are committed by whoever processes, never by itself."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=f"{settings.prefix}{group}" if group else None,
        group_instance_id=f"{settings.instance}-{group}" if group else None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=MAX_MESSAGE,
        session_timeout_ms=10_000,
        # A topic that is created after the subscription is consumed this much later.
        metadata_max_age_ms=3_000,
        **options,
    )


async def answering(settings: ServiceSettings, stopping: asyncio.Event) -> bool:
    """Waits until the brokers answer, and says so; false if the process is to stop before."""
    while not stopping.is_set():
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        try:
            await admin.start()
            return True
        except KafkaConnectionError as error:
            log.warning("the brokers do not answer", extra={"fields": {"error": str(error)}})
        finally:
            await admin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 1)
    return False


async def ensure_topics(settings: ServiceSettings, topics: Iterable[tuple[str, Topic, int]]) -> None:
    """Create what is missing of (logical name, its page in `topics.py`, partitions); what exists stays."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        for name, topic, partitions in topics:
            if settings.prefix + name not in present:
                await _create(admin, settings, name, topic, partitions)
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, settings: ServiceSettings, name: str, topic: Topic, partitions: int
) -> None:
    retention = -1 if topic.retention is None else int(topic.retention.total_seconds() * 1000)
    config = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(retention),
        "max.message.bytes": str(MAX_MESSAGE),
        "message.timestamp.type": "CreateTime",
    }
    new = NewTopic(settings.prefix + name, partitions, settings.replication, topic_configs=config)
    response: Any = await admin.create_topics([new])
    for _, code, *message in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise RuntimeError(f"topic {name} cannot be created: error {code} {message}")


async def read_all(
    settings: ServiceSettings,
    topic: str,
    *,
    partitions: Iterable[int] | None = None,
    undecided: bool = False,
    since: int | None = None,
) -> AsyncIterator[Sequence[Record]]:
    """Batches of a topic's committed records from its start, or what came since (ms), to the end that it has now.

    Readers see nothing behind a transaction that is open. In a partition that several writers share, that is
    anyone's, and what is committed behind it is missed: with `undecided` those that are open now are waited for.
    Transaction markers and compacted holes take offsets without being records, so the end is known by the
    consumer's position and not by the last record.
    """
    client = consumer(settings)
    try:
        await client.start()
        name = settings.prefix + topic
        if partitions is None:
            partitions = await partitions_of(settings, name)
        assigned = [TopicPartition(name, number) for number in partitions]
        if not assigned:
            return
        client.assign(assigned)
        await client.seek_to_beginning(*assigned)
        if undecided:
            marks = await high_watermarks(settings, name)
            ends = {tp: marks[tp.partition] for tp in assigned}
        else:
            ends = await client.end_offsets(assigned)
        pending = {tp for tp in assigned if ends[tp] > 0}
        if since is not None:
            for tp, found in (await client.offsets_for_times(dict.fromkeys(pending, since))).items():
                client.seek(tp, ends[tp] if found is None else found.offset)
        while pending:
            for records in (await client.getmany(*pending, timeout_ms=100)).values():
                yield records
            pending = {tp for tp in pending if await client.position(tp) < ends[tp]}
    finally:
        await client.stop()


async def read_between(
    settings: ServiceSettings, tp: TopicPartition, start: int, stop: int
) -> AsyncIterator[Sequence[Record]]:
    """Batches of the committed records of a partition with start <= offset < stop."""
    if start >= stop:
        return
    client = consumer(settings)
    try:
        await client.start()
        client.assign([tp])
        client.seek(tp, start)
        while await client.position(tp) < stop:
            fetched = (await client.getmany(tp, timeout_ms=100)).get(tp, [])
            records = [record for record in fetched if record.offset < stop]
            if records:
                yield records
            if len(records) < len(fetched):
                return
    finally:
        await client.stop()


async def committed_of(settings: ServiceSettings, group: str) -> dict[TopicPartition, int]:
    """The offsets that a group (without the prefix) has committed, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(settings.prefix + group)
        return {tp: each.offset for tp, each in found.items() if each.offset >= 0}
    finally:
        await admin.close()


async def starts_of(settings: ServiceSettings, name: str) -> dict[int, int]:
    """Partition → the offset of the first record that is kept; `name` with the prefix."""
    places = [TopicPartition(name, number) for number in await partitions_of(settings, name)]
    if not places:  # the library cannot stop a client that it has only just started
        return {}
    client = consumer(settings)
    try:
        await client.start()
        return {tp.partition: at for tp, at in (await client.beginning_offsets(places)).items()}
    finally:
        await client.stop()


async def span_of(settings: ServiceSettings, topic: str, start: int, stop: int) -> dict[int, tuple[int, int]]:
    """Partition → the offsets (first, behind the last) of the committed records stamped in [start, stop) ms."""
    places = [
        TopicPartition(settings.prefix + topic, number)
        for number in await partitions_of(settings, settings.prefix + topic)
    ]
    if not places:
        return {}
    client = consumer(settings)
    try:
        await client.start()
        ends = await client.end_offsets(places)
        firsts, lasts = [await client.offsets_for_times(dict.fromkeys(places, at)) for at in (start, stop)]

        def at(found: Any, tp: TopicPartition) -> int:
            return ends[tp] if found[tp] is None else found[tp].offset

        return {tp.partition: (at(firsts, tp), at(lasts, tp)) for tp in places}
    finally:
        await client.stop()


async def high_watermarks(settings: ServiceSettings, name: str) -> dict[int, int]:
    """Partition → the offset that its next record gets, open transactions included; {} if there is no such topic."""
    return await _ends(settings, name, "read_uncommitted")


async def ends_of(settings: ServiceSettings, topic: str) -> dict[int, int]:
    """Partition → its end for readers, before open transactions, of a topic (without the prefix)."""
    return await _ends(settings, settings.prefix + topic, "read_committed")


async def _ends(settings: ServiceSettings, name: str, isolation: str) -> dict[int, int]:
    places = [TopicPartition(name, number) for number in await partitions_of(settings, name)]
    if not places:
        return {}
    client = AIOKafkaConsumer(bootstrap_servers=settings.kafka, isolation_level=isolation)
    try:
        await client.start()
        return {tp.partition: end for tp, end in (await client.end_offsets(places)).items()}
    finally:
        await client.stop()


async def has_records(settings: ServiceSettings, tp: TopicPartition, start: int, stop: int) -> bool:
    """Whether a committed record has start <= offset < stop; offsets may also be those of transaction markers."""
    async for _ in read_between(settings, tp, start, stop):
        return True
    return False


async def partitions_of(settings: ServiceSettings, name: str) -> set[int]:
    """The partitions of a topic; none if there is no such topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        if name not in await admin.list_topics():
            return set()
        (topic,) = await admin.describe_topics([name])
        return {partition["partition"] for partition in topic["partitions"]}
    finally:
        await admin.close()


async def add_partitions(
    settings: ServiceSettings, name: str, count: int, producers: Iterable[AIOKafkaProducer]
) -> None:
    """Let a topic (with the prefix) have so many partitions; returns when the producers can write to them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.create_partitions({name: NewPartitions(count)})
    finally:
        await admin.close()
    for each in producers:
        while len(await each.partitions_for(name)) < count:
            await each.client.force_metadata_update()
            await asyncio.sleep(0.05)


async def delete_before(settings: ServiceSettings, tp: TopicPartition, offset: int) -> None:
    """Delete the records of a partition that lie before an offset."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(offset)})
    finally:
        await admin.close()
