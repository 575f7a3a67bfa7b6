"""A topic of another Kafka cluster: JSON values, committed ones only. The cursor is the next offset per partition."""

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.helpers import create_ssl_context

from libs.common.catalog import Source
from libs.common.catalog.pulls import KafkaPull
from libs.common.kafka import MAX_MESSAGE
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors.desk import Desk

log = logging.getLogger(__name__)


async def kafka(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    """Until the topic has other partitions than it had."""
    pull = source.pull
    assert isinstance(pull, KafkaPull)
    async with _consumer(desk, pull) as consumer:
        partitions = consumer.partitions_for_topic(pull.topic)
        if not partitions:
            raise Unreadable(f"there is no topic {pull.topic} at {pull.servers}")
        offsets = await _begin(consumer, source, pull, partitions, standing)
        yield Page([], _cursor(offsets))
        while consumer.partitions_for_topic(pull.topic) == partitions:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=pull.page_size)
            records = [bytes(each.value) for some in fetched.values() for each in some if each.value]
            moved = {tp.partition: await consumer.position(tp) for tp in fetched}
            if moved:
                offsets |= moved
                yield Page(records, _cursor(offsets))


def _consumer(desk: Desk, pull: KafkaPull) -> AIOKafkaConsumer:
    options: dict[str, Any] = {}
    if pull.user is not None and pull.password is not None:
        options = {
            "sasl_mechanism": pull.mechanism,
            "sasl_plain_username": pull.user,
            "sasl_plain_password": desk.secret(pull.password),
        }
    return AIOKafkaConsumer(
        pull.topic,
        bootstrap_servers=pull.servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=MAX_MESSAGE,
        metadata_max_age_ms=30_000,
        security_protocol=("SASL_" if options else "") + ("SSL" if pull.tls else "PLAINTEXT"),
        ssl_context=create_ssl_context() if pull.tls else None,
        **options,
    )


async def _begin(
    consumer: AIOKafkaConsumer, source: Source, pull: KafkaPull, partitions: set[int], standing: Standing
) -> dict[int, int]:
    """Seek to where the pull stands, and say what the other cluster no longer has. A partition that is new since the
    last round is read from its beginning."""
    stored = {int(number): offset for number, offset in json.loads(standing.cursor or "{}").items()}
    places = [TopicPartition(pull.topic, number) for number in sorted(partitions)]
    starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    offsets = {}
    for place in places:
        first = ends[place] if pull.start == "latest" and not stored else starts[place]
        offset = stored.get(place.partition, first)
        if offset < starts[place]:
            fields = {"source": source.id, "partition": place.partition, "offsets": starts[place] - offset}
            log.error("the other cluster deleted records before they were pulled", extra={"fields": fields})
        offsets[place.partition] = max(offset, starts[place])
        consumer.seek(place, offsets[place.partition])
    return offsets


def _cursor(offsets: dict[int, int]) -> str:
    return json.dumps({str(number): offsets[number] for number in sorted(offsets)})
