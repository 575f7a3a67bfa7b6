"""A consumer group member with one task per partition that it owns."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from libs.common.kafka import Record, consumer
from libs.common.service import Readiness
from libs.common.settings import ServiceSettings

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.3
"""Changes of the subscription come in bursts: wait for the last one."""


async def fetch(
    client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event, *, timeout_ms: int, max_records: int
) -> Sequence[Record]:
    """The next records of a partition; none once it is to be given up.

    The client lets no fetch return while the group shares its partitions out anew, and that waits for the
    owners to let go: an owner that went on waiting for its fetch would never.
    """
    fetching = asyncio.ensure_future(client.getmany(tp, timeout_ms=timeout_ms, max_records=max_records))
    releasing = asyncio.ensure_future(release.wait())
    try:
        await asyncio.wait({fetching, releasing}, return_when=asyncio.FIRST_COMPLETED)
        return [] if release.is_set() else fetching.result().get(tp, [])
    finally:
        fetching.cancel()
        releasing.cancel()
        await asyncio.gather(fetching, releasing, return_exceptions=True)


class Owner(Protocol):
    """Works on one partition until `release` is set; finishes and commits the batch in hand first."""

    async def __call__(
        self, client: AIOKafkaConsumer, tp: TopicPartition, release: asyncio.Event
    ) -> None: ...


class Membership(ConsumerRebalanceListener):
    """Starts `own` for each partition assigned and ends it before the partition is given up.

    A task that fails ends `run`, and with it the process.
    """

    def __init__(self, settings: ServiceSettings, group: str, own: Owner, readiness: Readiness) -> None:
        self.settings, self.group, self.own, self.readiness = settings, group, own, readiness
        self.topics: frozenset[str] = frozenset()
        self.changed = asyncio.Event()
        self.client: AIOKafkaConsumer | None = None
        self.tasks: dict[TopicPartition, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self.failure: asyncio.Future[None] | None = None

    def follow(self, topics: Iterable[str]) -> None:
        """Consume these topics (names without the prefix) from now on."""
        wanted = frozenset(self.settings.prefix + topic for topic in topics)
        if wanted != self.topics:
            self.topics = wanted
            self.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until stopping; raises what a partition's task raised."""
        self.failure = asyncio.get_running_loop().create_future()
        self.client = consumer(self.settings, self.group)
        await self.client.start()
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                self.changed.clear()
                # A new subscription drops the present partitions at once: give them up in order before.
                await self._release(list(self.tasks))
                if self.topics:
                    self.client.subscribe(topics=sorted(self.topics), listener=self)
                else:
                    self.readiness.ready()
                change = asyncio.create_task(self.changed.wait())
                await asyncio.wait({stop, change, self.failure}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                if self.failure.done():
                    self.failure.result()
                if self.changed.is_set():
                    await asyncio.sleep(SETTLE_SECONDS)
        finally:
            stop.cancel()
            await self._release(list(self.tasks))
            await self.client.stop()

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]: awaited if async
        self, revoked: Iterable[TopicPartition]
    ) -> None:
        await self._release(revoked)

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]: awaited if async
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        for tp in assigned:
            if tp not in self.tasks:
                release = asyncio.Event()
                task = asyncio.create_task(
                    self._work(tp, release), name=f"{self.group} {tp.topic}/{tp.partition}"
                )
                self.tasks[tp] = (task, release)
        self.readiness.ready()

    async def _work(self, tp: TopicPartition, release: asyncio.Event) -> None:
        assert self.client is not None
        assert self.failure is not None
        try:
            await self.own(self.client, tp, release)
        except Exception as error:
            if tp not in self.client.assignment():
                log.info(
                    "partition lost in mid-batch",
                    extra={"fields": {"group": self.group, "partition": str(tp)}},
                )
            elif not self.failure.done():
                self.failure.set_exception(error)

    async def _release(self, partitions: Iterable[TopicPartition]) -> None:
        ending = [self.tasks.pop(tp) for tp in partitions if tp in self.tasks]
        for _, release in ending:
            release.set()
        await asyncio.gather(*(task for task, _ in ending), return_exceptions=True)
