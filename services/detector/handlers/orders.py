"""Backfills as they were ordered and as they go on: `detector.backfills`, read by every process of the detector."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition

from libs.common import clock
from libs.common.errors import Conflict, Invalid, NotFound, Overloaded
from libs.common.events import BackfillChanged, BackfillState
from libs.common.kafka import Record, consumer, producer
from libs.common.settings import ServiceSettings
from libs.common.topics import BACKFILLS
from services.detector.handlers.definitions import Definitions

ENDED: frozenset[BackfillState] = frozenset({"done", "failed", "cancelled"})
FIRST = datetime(1900, 1, 1, tzinfo=UTC)
CANCEL = "cancel"
Closed = Callable[[str], int | None]
"""KPI (`id@version`) → up to where (ms) its windows are closed, as far as this process knows."""


class Orders:
    """Follows the topic; one of the detector's loops."""

    def __init__(self, settings: ServiceSettings, definitions: Definitions) -> None:
        self.settings, self.definitions = settings, definitions
        self.known: dict[str, BackfillChanged] = {}
        """By id, in the order in which they were ordered."""
        self.cancelled: set[str] = set()
        self.answers: dict[str, dict[int, BackfillChanged]] = {}
        """Id → merge partition → up to where its windows are closed."""
        self.place = TopicPartition(settings.prefix + BACKFILLS.name, 0)
        self.position = 0
        self.loaded = False
        """The topic was read to the end that it had at start."""
        self.writer: AIOKafkaProducer | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        client, self.writer = consumer(self.settings), producer(self.settings)
        await client.start()
        await self.writer.start()
        try:
            client.assign([self.place])
            await client.seek_to_beginning(self.place)
            end = (await client.end_offsets([self.place]))[self.place]
            while not stopping.is_set():
                for records in (await client.getmany(self.place, timeout_ms=250)).values():
                    for record in records:
                        self._take(record)
                self.position = await client.position(self.place)
                self.loaded = self.loaded or self.position >= end
        finally:
            await client.stop()
            await self.writer.stop()

    def _take(self, record: Record) -> None:
        told = BackfillChanged.decode(record.value or b"")
        id, _, part = (record.key or b"").decode().partition("/")
        if part == CANCEL:
            self.cancelled.add(id)
        elif part:
            self.answers.setdefault(id, {})[int(part)] = told
        else:
            self.put(told)

    def put(self, told: BackfillChanged) -> None:
        """What this process knows first is not undone by what it reads later."""
        known = self.known.get(told.id)
        if known is None or told.recorded_at >= known.recorded_at:
            self.known[told.id] = told

    def next(self, closed: Closed) -> BackfillChanged | None:
        """The first that has not ended and may begin. While one waits for windows to be closed, those of the same
        withdrawal behind it wait too: they may be of KPIs over its KPI."""
        waiting = [each for each in self.known.values() if each.state not in ENDED]
        held: set[str | None] = set()
        for each in sorted(waiting, key=lambda each: (each.ordered_at, each.id)):
            if not self._may_begin(each, closed):
                held.add(each.withdrawal)
            elif each.withdrawal is None or each.withdrawal not in held:
                return each
        return None

    def _may_begin(self, order: BackfillChanged, closed: Closed) -> bool:
        """Also one that will only end: it is cancelled, or its version is gone."""
        name = f"{order.kpi}@{order.kpi_version}"
        if order.awaits is None or order.id in self.cancelled or name not in self.definitions.kpis:
            return True
        at = closed(name)
        return at is not None and at >= clock.milliseconds(order.awaits)

    # --- commands ----------------------------------------------------------------------------------------

    async def order(
        self, kpi: str, start: datetime, stop: datetime, *, dry_run: bool, reason: str, by: str
    ) -> BackfillChanged:
        """Problem if it cannot be."""
        self._await_loaded()
        now = clock.now()
        version = self._version(kpi)
        if start >= stop:
            raise Invalid(f"from: {start.isoformat()} is not before to ({stop.isoformat()})", field="from")
        if start >= now:
            raise Invalid(f"from: {start.isoformat()} lies in the future", field="from")
        if start < FIRST:
            raise Invalid(f"from: {start.isoformat()} is before {FIRST.year}", field="from")
        told = BackfillChanged.build(
            id=uuid4().hex, kpi=kpi, kpi_version=version, start=start, stop=stop, state="queued", dry_run=dry_run,
            reason=reason, by=by, ordered_at=now, recorded_at=now,
        )  # fmt: skip
        await self._send(told.id, told)
        self.put(told)
        return told

    def _version(self, id: str) -> int:
        """The newest version of a KPI, if it can be backfilled."""
        kpi = self.definitions.catalog.kpi(id)
        if kpi is None:
            raise NotFound(f"kpi: there is no KPI {id}", field="kpi")
        if kpi.engine != "embedded":
            raise Invalid(f"kpi: {id} runs on Flink, whose job reads its whole topic anew", field="kpi")
        if kpi.window.each is not None:
            raise Invalid(
                f"kpi: each event of {id} is a value of its own, so that none comes too late", field="kpi"
            )
        if id in self.definitions.parked:
            raise Conflict(f"kpi: {id} is parked: {self.definitions.parked[id]}", field="kpi")
        version = max(self.definitions.written.get(id, ()), default=0)
        if f"{id}@{version}" not in self.definitions.kpis:
            raise Conflict(f"kpi: {id} is not known to the detector yet", field="kpi")
        return version

    async def cancel(self, id: str) -> BackfillChanged:
        """It ends where it is; what it has published stays."""
        told = self.found(id)
        if told.state in ENDED:
            raise Conflict(f"backfill {id} is {told.state} already")
        await self._send(f"{id}/{CANCEL}", told)
        self.cancelled.add(id)
        return told

    def found(self, id: str) -> BackfillChanged:
        self._await_loaded()
        told = self.known.get(id)
        if told is None:
            raise NotFound(f"there is no backfill {id}")
        return told

    @property
    def newest(self) -> list[BackfillChanged]:
        self._await_loaded()
        return sorted(self.known.values(), key=lambda each: each.ordered_at, reverse=True)

    def _await_loaded(self) -> None:
        if not self.loaded:
            raise Overloaded("the detector is starting: it reads which backfills there are")

    async def _send(self, key: str, told: BackfillChanged) -> None:
        assert self.writer is not None
        await self.writer.send_and_wait(self.place.topic, told.encode(), key=key.encode(), partition=0)
