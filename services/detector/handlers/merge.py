"""The second loop: partial aggregates → observations, with each step in the partition's log."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock, telemetry
from libs.common.errors import TryLater
from libs.common.events import BackfillChanged, LateEvents, VersionReady
from libs.common.kafka import Record, delete_before, high_watermarks, read_between
from libs.common.stream import Backoff, Output, Outputs
from libs.common.topics import BACKFILLS, LATE, PARTIALS, STATE, VERSIONS
from services.detector.core.budget import MIB, excess
from services.detector.core.engine import INPUT, Engine
from services.detector.core.steps import CLOSED, Announcement, Emission, Ready, Rows
from services.detector.handlers import bus
from services.detector.handlers.combine import progress
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasing import Erasing, carry_out, due, tell
from services.detector.handlers.erasures import Erasures
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.rebuild import Rebuild
from services.detector.handlers.remembered import versions
from services.detector.handlers.statelog import CORRUPT, Restored, StateLog, Step, forget_before, restore
from services.detector.settings import Settings

log = logging.getLogger(__name__)

RELEASE_BYTES = 32 * 1024 * 1024
"""A state of at most so many bytes is written out whole when its partition is given up."""
ATTEMPTS = 4
MEASURE_SECONDS = 1.0
"""Between two looks at what all states take together."""
CATALOG_SECONDS = 30.0
"""So long the catalog may lag behind that of the process which had the partition before."""


@dataclass
class Partition:
    """One merge partition."""

    engine: Engine
    log: StateLog
    definitions: int = -1
    """Version of the definitions that the engine was given last."""
    late: dict[str, int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """Versions that this process has said to be caught up."""
    brought: set[str] = field(default_factory=set)
    """KPIs over others that this process has brought what stood of their inputs."""
    erasing: Erasing = field(default_factory=Erasing)
    needless: int | None = None
    """Offset of the log before which a snapshot, once committed, makes all needless."""
    taken_in: int | None = None
    """Offset of the partials up to which a snapshot without a subject, once committed, makes all needless."""


def named(rows: Iterable[Rows], announced: Iterable[Announcement], ready: Iterable[Ready]) -> set[str]:
    """The KPIs (`id@version`) that a step is for."""
    return {name for each in rows for name in each.kpis} | {each.kpi for each in (*announced, *ready)}


class Merge:
    """The processor of `detector.merge`."""

    def __init__(
        self,
        settings: Settings,
        definitions: Definitions,
        publisher: Publisher,
        erasures: Erasures,
        rebuild: Rebuild,
    ) -> None:
        self.settings, self.definitions, self.publisher = settings, definitions, publisher
        self.erasures, self.rebuild = erasures, rebuild
        self.rebuilding = asyncio.Lock()
        self.measured = 0.0
        self.excess: dict[str, str] = {}
        """KPIs (`id@version`) that are given up here for the others' sake, and why."""
        self.partitions: dict[int, Partition] = {}
        self.client: AIOKafkaConsumer | None = None

    @property
    def parked(self) -> dict[str, str]:
        """KPI id → why its values cannot be computed."""
        parked = [each.engine.parked for each in self.partitions.values()]
        return {name.rpartition("@")[0]: text for each in parked for name, text in each.items()}

    def leads(self) -> bool:
        """Whether this process does what only one may: it has the first partition."""
        return 0 in self.partitions

    def closed_to(self, name: str) -> int | None:
        """Up to where (ms) the windows of a KPI are closed in the partitions of this process; None if it is not known."""
        engines = [each.engine for each in self.partitions.values() if name in each.engine.states]
        times = [engine.watermark(name) for engine in engines]
        known = [at for at in times if at is not None]
        return min(known) - engines[0].kpis[name].lateness if known and len(known) == len(times) else None

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> list[Output | Outputs]:
        """Restore the partition's state from its log, or without one from the events."""
        self.client = client
        began = clock.monotonic()
        found = await self._restored(client, tp)
        fault = found.fault or await self._lacking(client, tp, found)
        if found.value is not None:
            await self._defined(found.value["kpis"])
        engine = Engine(PARTIALS.partitions)
        engine.define(self.definitions.kpis)
        if fault is None and found.value is not None:
            try:
                engine.restore(found.value, found.frames)
            except CORRUPT as error:
                fault = f"its snapshot cannot be read: {error!r}"
        if fault is not None:
            committed = await client.committed(tp)
            if committed is None and (found.fault is not None or found.last.number):
                committed = found.last.to  # as far as the log says: none of it, if it has no step
            return await self._rebuilt(client, tp, fault, committed)
        await self._replay(tp, engine, found)
        partition = Partition(
            engine,
            StateLog(tp.partition, found.last, found.steps[0].now if found.steps else None),
            erasing=Erasing(dict((found.value or {}).get("erased", {}))),
        )
        self.partitions[tp.partition] = partition
        fields = {
            "partition": tp.partition, "steps": len(found.steps), "rows": sum(s.rows for s in engine.states.values()),
            "seconds": round(clock.monotonic() - began, 3),
        }  # fmt: skip
        log.info("state restored", extra={"fields": fields})
        return []

    async def _rebuilt(
        self, client: AIOKafkaConsumer, tp: TopicPartition, fault: str, committed: int | None
    ) -> list[Output | Outputs]:
        """Make the state anew from the events; goes on behind what it is made of.

        `committed`: the offset of the partial rows up to which they were taken in; None if nobody knows: then it goes on
        behind those that there are now."""
        number, began, backoff = tp.partition, clock.monotonic(), Backoff()
        telemetry.REBUILDS.labels(str(number)).inc()
        fields: dict[str, object] = {"partition": number, "fault": fault}
        log.error("a state is lost: it is made anew from the events", extra={"fields": fields})
        async with self.rebuilding:  # one after the other: each reads all that there is
            while True:
                engine = Engine(PARTIALS.partitions)
                try:
                    cut = committed
                    if cut is None:
                        cut = (await high_watermarks(self.settings, tp.topic))[number]
                    known = await progress(
                        self.settings
                    )  # after the cut: all that the rows before it are for
                    names = {name for each in known.values() for name in each.live | each.behind.keys()}
                    await self._defined(names)
                    engine.define(self.definitions.kpis)
                    emissions = await self.rebuild.run(tp, engine, cut, known)
                    break
                except TryLater as later:
                    log.warning("waiting", extra={"fields": {**fields, "reason": str(later)}})
                    await asyncio.sleep(backoff.next())
        client.seek(tp, cut)
        now = int(clock.now().timestamp() * 1000)
        partition = self.partitions[number] = Partition(engine, StateLog(number, Step(1, cut, now)))
        outputs: list[Output | Outputs] = []
        for _, written in self.publisher.emissions(emissions):
            outputs += written
        outputs += await self._snapshot(number, partition)
        windows = sum(each.due.height for each in emissions)
        took = {"windows": windows, "seconds": round(clock.monotonic() - began, 3)}
        log.info("state made anew", extra={"fields": {**fields, **took}})
        return outputs

    async def _restored(self, client: AIOKafkaConsumer, tp: TopicPartition) -> Restored:
        """What the log holds. A partition that another process takes over just now is read in the midst of a step:
        a fault is one that stays."""
        for _ in range(ATTEMPTS):
            found = await restore(self.settings, tp.partition, await client.committed(tp))
            if found.fault is None:
                return found
            await asyncio.sleep(0.5)
        return await restore(self.settings, tp.partition, await client.committed(tp))

    async def _lacking(self, client: AIOKafkaConsumer, tp: TopicPartition, found: Restored) -> str | None:
        """What is gone though the log does not say so.

        Of rows that the steps took in, they would be taken as if they had had none. A log that is gone with the group's
        offset looks like that of a partition that never was; but that one has not told of any version.
        """
        if found.last.number == 0 and any(
            each.partition == tp.partition for each in await versions(self.settings)
        ):
            return "the log is empty, and so is the group's offset, of a partition that has published"
        first = (await client.beginning_offsets([tp]))[tp]
        if not found.steps or first <= found.snapshot_at.to:
            return None
        return f"partial rows of offsets {found.snapshot_at.to} to {first} were deleted before they were in a snapshot"

    async def _replay(self, tp: TopicPartition, engine: Engine, found: Restored) -> None:
        """Take the steps since the snapshot again. What they brought was published then.

        They may be thousands: between two of them others have their turn, or the group would take this process for
        dead, and give the partition away, and back, without end.
        """
        steps = iter(found.steps)
        step = next(steps, None)
        waiting: list[Record] = []
        async for records in read_between(self.settings, tp, found.snapshot_at.to, found.last.to):
            waiting += records
            while step is not None and waiting and waiting[-1].offset + 1 >= step.to:
                taken = [record for record in waiting if record.offset < step.to]
                waiting = waiting[len(taken) :]
                rows, marks, announced, ready = bus.read(taken)
                if await self._defined(named(rows, announced, ready)):
                    engine.define(self.definitions.kpis)
                engine.step(rows, marks, announced, step.now, ready)
                step = next(steps, None)
                await asyncio.sleep(0)
        while step is not None:
            engine.step((), (), (), step.now)
            step = next(steps, None)
            await asyncio.sleep(0)

    async def _defined(self, names: Iterable[str]) -> bool:
        """Wait until the catalog says what these KPIs are; whether that took a while."""
        deadline, waited = clock.monotonic() + CATALOG_SECONDS, False
        for name in names:
            while True:
                try:
                    self.definitions.expect(name)
                    break
                except TryLater as later:
                    if clock.monotonic() > deadline:
                        raise RuntimeError(f"a state cannot be restored: {later}") from later
                    waited = True
                    await asyncio.sleep(0.1)
        return waited

    async def revoked(self, tp: TopicPartition) -> None:
        self.partitions.pop(tp.partition, None)

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        """Whether a window's end has come: its value is waited for."""
        return self.partitions[tp.partition].engine.closes(bus.marks_in(records))

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output | Outputs]:
        """Take a batch in, and publish what is due."""
        partition = self.partitions[tp.partition]
        await self._trim(tp.partition, partition)
        rows, marks, announced, ready = bus.read(records)
        asked = bus.asked_in(records)
        for name in named(rows, announced, ready) | {name for name, _ in asked}:
            self.definitions.expect(name)
        if partition.definitions != self.definitions.version:
            partition.definitions = self.definitions.version
            partition.engine.define(self.definitions.kpis)
        now = int(clock.now().timestamp() * 1000)
        emissions = partition.engine.step(rows, marks, announced, now, ready)
        erased = self._erase(tp.partition, partition, records)
        given_up = self._give_up(tp.partition, partition)
        begun = [*self._begun(tp.partition, partition)]
        outputs: list[Output | Outputs] = [*self._ready(tp.partition, partition)]
        settled = partition.needless is None and not erased
        outputs += tell(self.erasures, tp.partition, partition.erasing, settled=settled)
        outputs += self._closed(tp.partition, partition.engine, asked)
        if not records and not erased and not given_up and not emissions and not outputs and not begun:
            return [*await self._snapshot(tp.partition, partition)] if partition.log.is_due(now) else []
        over = self.definitions.over
        for emission, written in self.publisher.emissions(emissions):
            outputs += written
            outputs += self.publisher.onward(emission, over.get(emission.compiled.kpi.id, []), tp.partition)
            outputs += self._late(partition, emission)
        for emission in emissions:
            outputs += self.publisher.passed(emission, over.get(emission.compiled.kpi.id, []), tp.partition)
        outputs += begun  # says how far the inputs are: after what this step brings of them
        to = records[-1].offset + 1 if records else partition.log.last.to
        outputs.append(partition.log.step(to, now, sum(len(record.value or b"") for record in records)))
        if erased or given_up or partition.log.is_due(now):
            outputs += await self._snapshot(tp.partition, partition)
        if erased:
            partition.taken_in = to
        return outputs

    def _erase(self, number: int, partition: Partition, records: Sequence[Record]) -> bool:
        """A round of every erasure that is due; whether there was one. What it leaves is snapshot with this step."""
        erasing, engine = partition.erasing, partition.engine
        erasing.hear(records)
        subjects = due(self.erasures, self.definitions.catalog, number, erasing, engine)
        carry_out(subjects, erasing, engine)
        return bool(subjects)

    def _give_up(self, number: int, partition: Partition) -> bool:
        """Park what takes too much memory; whether anything was. That is not of the steps' making, so it must be in a
        snapshot: a replay of the steps would have the KPI again, but not publish what it did not say meanwhile."""
        now = clock.monotonic()
        if now - self.measured >= MEASURE_SECONDS:
            self.measured = now
            self.excess |= excess(
                (each.engine for each in self.partitions.values()), self.settings.state_mib * MIB
            )
        engine = partition.engine
        names = (self.excess.keys() & engine.states.keys()) - engine.parked.keys()
        for name in names:
            fields = {"kpi": name, "partition": number, "error": self.excess[name]}
            log.error("a KPI is parked", extra={"fields": fields})
            engine.park([name], ValueError(self.excess[name]))
        return bool(names)

    def _begun(self, number: int, partition: Partition) -> Iterator[Output]:
        """Bring, once, what stands of their inputs to KPIs over others that are new."""
        for compiled in partition.engine.wanting(number):
            if compiled.name not in partition.brought:
                partition.brought.add(compiled.name)
                yield from self.publisher.standing(partition.engine, compiled, number)

    def _ready(self, number: int, partition: Partition) -> Iterator[Output]:
        """Tell, once, of versions that have caught up: the other merge partitions, and who reads."""
        for name in partition.engine.caught_up(partition.told):
            partition.told.add(name)
            if number in partition.engine.ready.get(name, ()):
                continue
            compiled = partition.engine.kpis[name]
            event = VersionReady.build(
                kpi=compiled.kpi.id, kpi_version=compiled.version, partition=number, partitions=PARTIALS.partitions,
                recorded_at=clock.now(),
            )  # fmt: skip
            yield from bus.ready(name, number)
            yield Output(VERSIONS.name, f"{compiled.kpi.id}/{number}".encode(), event.encode())

    def _closed(self, number: int, engine: Engine, asked: Sequence[tuple[str, bytes]]) -> Iterator[Output]:
        """Tell backfills up to where windows are closed: all that is ever said of them was said before."""
        for name, text in asked:
            order, at = BackfillChanged.decode(text), None
            if name in engine.states and name not in engine.parked:
                at = engine.watermark(name)
            closed = None if at is None else clock.moment(at - engine.kpis[name].lateness)
            told = {"partition": number, "closed_to": closed, "recorded_at": clock.now()}
            key = f"{order.id}/{number}".encode()
            yield Output(BACKFILLS.name, key, order.model_copy(update=told).encode())

    async def releasing(self, tp: TopicPartition) -> list[Output]:
        """A last snapshot, so that whoever takes the partition over need not take the steps again."""
        partition = self.partitions[tp.partition]
        size = sum(state.size for state in partition.engine.states.values())
        if partition.log.steps == 0 or size > RELEASE_BYTES:
            return []
        return await self._snapshot(tp.partition, partition)

    async def _snapshot(self, number: int, partition: Partition) -> list[Output]:
        assert self.client is not None
        place = TopicPartition(self.settings.prefix + STATE.name, number)
        partition.needless = (await self.client.end_offsets([place]))[place]
        value, frames = partition.engine.snapshot()
        return partition.log.snapshot({**value, "erased": partition.erasing.counts}, frames)

    async def _trim(self, number: int, partition: Partition) -> None:
        """The snapshot of the step before is committed: delete what lies before it."""
        if partition.needless is not None:
            await forget_before(self.settings, number, partition.needless)
            partition.needless = None
        if partition.taken_in is not None:
            place = TopicPartition(self.settings.prefix + PARTIALS.name, number)
            await delete_before(self.settings, place, partition.taken_in)
            partition.taken_in = None

    def _late(self, partition: Partition, emission: Emission) -> Iterator[Output]:
        late, compiled, now = emission.late, emission.compiled, clock.now()
        if late.is_empty():
            return
        count = int(late["count"].sum())
        partition.late[compiled.name] = partition.late.get(compiled.name, 0) + count
        telemetry.LATE_EVENTS.labels(compiled.kpi.id).inc(count)
        source = compiled.source.id if compiled.source else f"{INPUT}{compiled.kpi.id}"
        for row in late.iter_rows(named=True):
            event = LateEvents.build(
                kpi=compiled.kpi.id, kpi_version=compiled.version, source=source, series_key=row["series_key"],
                window_start=clock.moment(row["start"]), partition=row["partition"], first=row.get("first", 0),
                last=row.get("end", 0), count=row["count"], recorded_at=now,
                closed_to=None if row[CLOSED] is None else clock.moment(row[CLOSED]),
            )  # fmt: skip
            yield Output(LATE.name, compiled.kpi.id.encode(), event.encode())
