"""What the gateway reads of the bus: the facts of its streams, offered to the windows in Redis."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from libs.common import clock
from libs.common.errors import BadMessage, TryLater
from libs.common.events import OBSERVATION_SCHEMA, AuditEntry
from libs.common.kafka import Record as KafkaRecord
from libs.common.kafka import consumer
from libs.common.registry import Codecs, Registry
from libs.common.service import Readiness
from libs.common.topics import ACTIONS, AUDIT, HEALTH, INCIDENTS, OBSERVATIONS, SIGNALS
from libs.common.wire import record as avro_record
from services.gateway.api.auditing import AuditDown
from services.gateway.settings import Settings
from services.gateway.store.kpis import all_served as served_versions
from services.gateway.store.signals import kpi_and_series
from services.gateway.store.windows import EpochLost, Record, Windows

log = logging.getLogger(__name__)

CHANNELS = {
    SIGNALS.name: "signals",
    ACTIONS.name: "actions",
    INCIDENTS.name: "incidents",
    HEALTH.name: "health",
}
TOPICS = (OBSERVATIONS, SIGNALS, ACTIONS, INCIDENTS, HEALTH)
SERVED_SECONDS = 1.0
"""So long it is taken as known which versions are served. A former version is never left out, so nothing is missed."""
BACK = 2_000
"""Records before the present end that a new epoch begins with, per partition."""


class Feeder:
    """Reads the topics of the streams and offers every record to the windows; one of the gateway's loops."""

    def __init__(
        self, settings: Settings, windows: Windows, pool: asyncpg.Pool, readiness: Readiness
    ) -> None:
        self.settings, self.windows, self.pool, self.readiness = settings, windows, pool, readiness
        self.registry = Registry(settings)
        self.codecs = Codecs(self.registry, OBSERVATION_SCHEMA)
        self.epoch = ""
        self.served, self.served_at = dict[str, int](), 0.0
        """KPI → the version that is served, and the (monotonic) time of that."""
        self.reached: dict[TopicPartition, int] = {}
        """The offset up to which each partition was offered."""
        self.partitions = [
            TopicPartition(settings.prefix + topic.name, number)
            for topic in TOPICS
            for number in range(topic.partitions)
        ]

    async def run(self, stopping: asyncio.Event) -> None:
        client = consumer(self.settings)
        await client.start()
        try:
            client.assign(self.partitions)
            await self._begin(client)
            while not stopping.is_set():
                try:
                    await self._round(client)
                    self.readiness.ready()
                except EpochLost:
                    await self._begin(client)
                except (RedisError, TryLater) as error:
                    self.readiness.not_ready(f"the streams are not fed: {error}")
                    log.warning("stream feed waits", extra={"fields": {"error": repr(error)}})
                    await self._again(client)
        finally:
            await client.stop()
            await self.registry.close()

    async def _begin(self, client: AIOKafkaConsumer) -> None:
        """Go on where the windows are, or begin an epoch a little before the topics' ends."""
        ends = await client.end_offsets(self.partitions)
        first = await client.beginning_offsets(self.partitions)
        starts = {self._place(tp): max(first[tp], ends[tp] - BACK) for tp in self.partitions}
        self.epoch, held = await self.windows.begin(uuid4().hex[:12], starts)
        if any(held[self._place(tp)] < first[tp] for tp in self.partitions):
            log.warning("Kafka no longer has what the windows lack: a new epoch begins")
            await self.windows.restart(self.epoch)
            self.epoch, held = await self.windows.begin(uuid4().hex[:12], starts)
        for tp in self.partitions:
            self._seek(client, tp, held[self._place(tp)])

    async def _again(self, client: AIOKafkaConsumer) -> None:
        """After a failure: wait, and begin where the windows are."""
        await asyncio.sleep(0.5)
        try:
            await self._begin(client)
        except (RedisError, KafkaError) as error:
            log.warning("stream feed cannot begin", extra={"fields": {"error": repr(error)}})

    def _place(self, tp: TopicPartition) -> tuple[str, int]:
        return tp.topic.removeprefix(self.settings.prefix), tp.partition

    async def _round(self, client: AIOKafkaConsumer) -> None:
        for tp, records in (await client.getmany(timeout_ms=200, max_records=2_000)).items():
            topic, partition = self._place(tp)
            facts = await self._facts(topic, records)
            # Transaction markers take offsets: a run begins where the last one ended, not at its first record.
            start, through = self.reached[tp], records[-1].offset + 1
            back = await self.windows.add(self.epoch, topic, partition, start, through, facts)
            if back is None:
                self.reached[tp] = through
            else:
                self._seek(client, tp, back)

    def _seek(self, client: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> None:
        client.seek(tp, offset)
        self.reached[tp] = offset

    async def _facts(self, topic: str, records: Sequence[KafkaRecord]) -> list[Record]:
        facts = []
        if topic == OBSERVATIONS.name and clock.monotonic() - self.served_at >= SERVED_SECONDS:
            self.served, self.served_at = await served_versions(self.pool), clock.monotonic()
        for record in records:
            try:
                found = await self._fact(topic, record)
            except (BadMessage, ValueError) as error:
                log.error(
                    "a fact cannot be read",
                    extra={"fields": {"topic": topic, "offset": record.offset, "error": repr(error)}},
                )
                continue
            if topic == OBSERVATIONS.name and self._is_to_come(found):
                continue
            if topic == ACTIONS.name:
                found |= await kpi_and_series(self.pool, found.get("signal"))
            channel = CHANNELS.get(topic) or f"observations/{found['kpi']}"
            key = str(found["series_key"]) if topic == OBSERVATIONS.name else _key(topic, found)
            facts.append(Record(record.offset, channel, key, json.dumps(found, default=_time).encode()))
        return facts

    def _is_to_come(self, fact: Mapping[str, Any]) -> bool:
        """Whether a value is of a version that still catches up: the stream goes on with the one that is served."""
        return fact["kpi_version"] > self.served.get(fact["kpi"], fact["kpi_version"])

    async def _fact(self, topic: str, record: KafkaRecord) -> dict[str, Any]:
        if topic == OBSERVATIONS.name:
            return avro_record(record.value, await self.codecs.of([record.value]))
        return json.loads(record.value or b"")


def _key(topic: str, fact: Mapping[str, Any]) -> str:
    """What replaces what: a signal, an incident, a source's health; actions never do."""
    if topic == ACTIONS.name:
        return ""
    return str(fact["source"] if topic == HEALTH.name else fact["id"])


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is not JSON")


class AuditSender:
    """Puts audit entries on the brokers."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self.topic, self.producer = settings.prefix + AUDIT.name, producer

    async def send(self, entry: AuditEntry) -> None:
        """Returns when all in-sync replicas have it; AuditDown otherwise."""
        try:
            await asyncio.wait_for(
                self.producer.send_and_wait(self.topic, entry.encode(), key=entry.actor.encode()), 10
            )
        except (KafkaError, TimeoutError) as error:
            raise AuditDown(repr(error)) from error
