"""The first loop: events of a source's partition → partial aggregates, for the merge partition of each series."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock, telemetry
from libs.common.batches import are_heartbeats, controls, number
from libs.common.catalog import Source
from libs.common.errors import BadMessage, TryLater
from libs.common.expressions import TIME
from libs.common.kafka import Headers, Record, consumer, read_all
from libs.common.settings import ServiceSettings
from libs.common.stream import Limit, Output, Outputs, dead_letter
from libs.common.topics import DEAD, EVENTS, INPUTS, PARTIALS
from services.detector.core.combine import by_shape, chosen, partials, split
from services.detector.core.definitions import CompiledKpi, newest
from services.detector.core.windows import milliseconds
from services.detector.handlers import bus
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import AGAIN_SECONDS
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.reading import Reading
from services.detector.handlers.shared import Shared
from services.detector.settings import Settings

log = logging.getLogger(__name__)

CATCH_UP_RECORDS = 50_000
"""Of the past, beside each batch of the present."""

AGAIN_IDLE_SECONDS = 10.0
"""No more often is it said again that a partition is idle."""


@dataclass
class Progress:
    """How far an input partition was combined for each KPI: durable, one record of `detector.inputs`."""

    live: set[str] = field(default_factory=set)
    behind: dict[str, int] = field(default_factory=dict)
    """KPI → offset from which its past is still to be read."""
    parked: dict[str, str] = field(default_factory=dict)
    """KPI → what went wrong."""

    @property
    def known(self) -> set[str]:
        return self.live | self.behind.keys() | self.parked.keys()

    def encode(self) -> bytes:
        return json.dumps({"live": sorted(self.live), "behind": self.behind, "parked": self.parked}).encode()

    @classmethod
    def decode(cls, value: bytes) -> "Progress":
        kept = json.loads(value)
        return cls(set(kept["live"]), kept["behind"], kept["parked"])


async def progress(settings: ServiceSettings) -> dict[str, Progress]:
    """`source/partition` → how far it was combined for each KPI."""
    found: dict[str, Progress] = {}
    async for records in read_all(settings, INPUTS.name, undecided=True):
        found |= {(each.key or b"").decode(): Progress.decode(each.value) for each in records if each.value}
    return found


@dataclass
class Input:
    """One input partition."""

    progress: Progress
    limit: Limit
    heard: float
    """Monotonic time of the last record, or when merge was told last that there is none."""
    idle: bool = False
    at: int | None = None
    """The watermark that was told last."""
    looked_to: int = 0
    """Offset up to which it was looked for what is urgent."""
    past: AIOKafkaConsumer | None = None
    """Reads the past for KPIs that are behind."""
    definitions: int = -1
    told: dict[str, float] = field(default_factory=dict)
    """Erasure → when (monotonic) merge was told last that nothing of its subject comes from here any more."""


class Combine:
    """The processor of `detector.combine`."""

    def __init__(
        self,
        settings: Settings,
        definitions: Definitions,
        reading: Reading,
        publisher: Publisher,
    ) -> None:
        self.settings, self.definitions, self.publisher = settings, definitions, publisher
        self.reading = reading
        self.load_omissions = Shared(reading.load)
        self.load_progress = Shared(partial(progress, settings))
        self.inputs: dict[TopicPartition, Input] = {}
        self.client: AIOKafkaConsumer | None = None

    async def assigned(
        self, client: AIOKafkaConsumer, tp: TopicPartition
    ) -> list[Output | Outputs] | tuple[()]:
        self.client = client
        await self.load_omissions()
        known = (await self.load_progress()).get(self._key(tp).decode())
        state = self.inputs[tp] = Input(known or Progress(), Limit(), clock.monotonic())
        if await client.committed(tp) is not None:
            return ()
        # Merge waits from now on for a partition that is new. Whoever adds partitions sees by the group's offset, which
        # goes with this, that it does.
        first: list[Output | Outputs] = []
        with suppress(TryLater):
            first += await self.process(tp, ())
        return [*first, Output(INPUTS.name, self._key(tp), state.progress.encode())]

    async def revoked(self, tp: TopicPartition) -> None:
        state = self.inputs.pop(tp, None)
        if state is not None and state.past is not None:
            await state.past.stop()

    async def releasing(self, tp: TopicPartition) -> list[Output]:
        return []

    def _source(self, tp: TopicPartition) -> Source | None:
        return self.definitions.catalog.source(self._source_id(tp))

    def _source_id(self, tp: TopicPartition) -> str:
        return tp.topic.removeprefix(self.settings.prefix + EVENTS.of(""))

    def _key(self, tp: TopicPartition) -> bytes:
        return f"{self._source_id(tp)}/{tp.partition}".encode()

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        """Whether the partition's watermark passes the end of a window: its value is waited for."""
        state, source = self.inputs[tp], self._source(tp)
        if source is None:
            return False
        new = [record for record in records if record.offset >= state.looked_to]
        newest = await self.reading.newest(source, [each for each in new if each.value])
        at, state.looked_to = watermark(source, new, newest), records[-1].offset + 1
        if at is None or (state.at is not None and at <= state.at):
            return False
        windows = self.definitions.windows.get(source.id, ())
        return state.at is None or any(each.ends_between(state.at, at) for each in windows)

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output | Outputs]:
        """The past for KPIs that are new, then these records for those that are live."""
        state, source = self.inputs[tp], self._source(tp)
        if source is None:
            return []
        before = deepcopy(state.progress), state.definitions
        try:
            outputs = await self._process(tp, source, state, records)
        except TryLater:  # nothing of it is written: it is all done again
            state.progress, state.definitions = before
            raise
        return [*outputs, *await self._erased(tp, source, state, records)]

    async def _erased(
        self, tp: TopicPartition, source: Source, state: Input, records: Sequence[Record]
    ) -> list[Output]:
        """Tell merge of erasures that this partition has passed: from now on it brings nothing of their subjects."""
        outputs: list[Output] = []
        for subject in self.reading.erasures.open_of(source.id):
            assert self.client is not None
            position = records[-1].offset + 1 if records else await self.client.position(tp)
            now = clock.monotonic()
            again = now - state.told.get(subject.id, -AGAIN_SECONDS) >= AGAIN_SECONDS
            if again and position >= subject.upto.get(str(tp.partition), 0):
                state.told[subject.id] = now
                outputs += bus.erased(subject.id, 0, tp.partition)
        return outputs

    async def _process(
        self, tp: TopicPartition, source: Source, state: Input, records: Sequence[Record]
    ) -> list[Output | Outputs]:
        kpis = {compiled.name: compiled for compiled in self.definitions.by_source.get(source.id, ())}
        outputs: list[Output | Outputs] = [*await self._redefine(tp, state, kpis)]
        if state.progress.behind:
            outputs += await self._catch_up(tp, source, state, kpis, records)
        if not records:
            if not outputs:
                outputs += await self._silence(tp, source, state)
            return outputs
        if are_heartbeats(records):  # as silent as a partition that brings nothing
            return outputs
        state.heard, state.idle = clock.monotonic(), False
        events, bad = await self.reading.events(source, tp.partition, records)
        live = [kpis[name] for name in sorted(state.progress.live & kpis.keys())]
        parked = len(state.progress.parked)
        outputs += await self._combine(tp, source, state, live, events)
        state.limit.count(events.height + len(bad), len(bad))  # after all that may have to be tried again
        outputs += [self._bury(source, tp, records[index], error) for index, error in bad]
        if len(state.progress.parked) > parked:
            outputs.append(Output(INPUTS.name, self._key(tp), state.progress.encode()))
        at = watermark(source, records, events[TIME].max())
        state.at = state.at if at is None else max(at, state.at or at)
        since, upto = records[0].offset, records[-1].offset + 1
        return [*outputs, *bus.marks(source.id, tp.partition, at, idle=False, since=since, upto=upto)]

    async def _redefine(self, tp: TopicPartition, state: Input, kpis: dict[str, CompiledKpi]) -> list[Output]:
        """Begin the past of KPIs that are new to this partition; forget those that are gone.

        A version that was replaced goes on where it is live, and is not begun any more, but in a partition that is new.
        """
        if state.definitions == self.definitions.version:
            return []
        progress = state.progress
        known = progress.known
        new, gone = (newest(kpis) if known else kpis.keys()) - known, known - kpis.keys()
        for name in gone:
            self.definitions.expect(name)  # else one that the catalog read so far lacks would be begun twice
        state.definitions = self.definitions.version
        if not new and not gone:
            return []
        progress.live -= gone
        for name in gone:
            progress.behind.pop(name, None)
            progress.parked.pop(name, None)
        assert self.client is not None
        first = (await self.client.beginning_offsets([tp]))[tp]
        progress.behind |= dict.fromkeys(new, first or 0)
        return [Output(INPUTS.name, self._key(tp), progress.encode())]

    async def _catch_up(
        self,
        tp: TopicPartition,
        source: Source,
        state: Input,
        kpis: dict[str, CompiledKpi],
        records: Sequence[Record],
    ) -> list[Output | Outputs]:
        """Read a piece of the past for the KPIs furthest behind; those that have reached the present go live."""
        assert self.client is not None
        present = records[0].offset if records else await self.client.position(tp)
        behind = state.progress.behind
        start = min(behind.values())
        names = sorted(name for name, offset in behind.items() if offset == start)
        until = min([present, *(offset for offset in behind.values() if offset > start)])
        outputs: list[Output | Outputs] = []
        at, position = None, start
        if start < until:
            past, position = await self._past(tp, state, start, until)
            if past:
                # What is none was counted, and its dead letters written, when it was the present.
                events, _ = await self.reading.events(source, tp.partition, past)
                outputs += await self._combine(tp, source, state, [kpis[name] for name in names], events)
                at = watermark(source, past, events[TIME].max())
        for name in names:
            if name in state.progress.parked:
                continue
            live = position >= present
            behind[name] = position
            if live:
                del behind[name]
                state.progress.live.add(name)
            outputs += bus.announcement(name, source.id, tp.partition, at, live=live, upto=position)
        if not behind and state.past is not None:
            await state.past.stop()
            state.past = None
        return [*outputs, Output(INPUTS.name, self._key(tp), state.progress.encode())]

    async def _past(
        self, tp: TopicPartition, state: Input, start: int, until: int
    ) -> tuple[Sequence[Record], int]:
        """Records from `start`, before `until`, and the offset from which the next ones are to be read."""
        if state.past is None:
            state.past = consumer(self.settings)
            await state.past.start()
            state.past.assign([tp])
        state.past.seek(tp, start)
        fetched = await state.past.getmany(tp, timeout_ms=1_000, max_records=CATCH_UP_RECORDS)
        records = fetched.get(tp, [])
        if records and records[-1].offset >= until:
            return [record for record in records if record.offset < until], until
        return records, min(until, await state.past.position(tp))

    def _bury(self, source: Source, tp: TopicPartition, record: Record, error: BadMessage) -> Output:
        letter = dead_letter(
            record, tp, error, source=source.id, stage="combine", service="detector", now=clock.now()
        )
        telemetry.DEAD_LETTERS.labels("detector.combine", EVENTS.of(source.id)).inc()
        return Output(DEAD.name, source.id.encode(), letter.encode())

    async def _combine(
        self,
        tp: TopicPartition,
        source: Source,
        state: Input,
        kpis: Sequence[CompiledKpi],
        events: pl.DataFrame,
    ) -> list[Output | Outputs]:
        """Partial rows per shape; single events at once. A KPI that cannot be computed is parked."""
        outputs: list[Output | Outputs] = []
        if events.is_empty():
            return outputs
        for group in by_shape(kpis):
            try:
                seen = await self.reading.enriched(events, group[0])
                if group[0].scalar is not None:
                    for compiled in group:
                        outputs.append(self.publisher.single(compiled, chosen(seen, compiled)))
                else:
                    outputs += self._partials(tp, source, group, seen)
            except pl.exceptions.PolarsError as error:
                outputs += self._park(tp, source, state, group, error)
        return outputs

    def _partials(
        self, tp: TopicPartition, source: Source, group: Sequence[CompiledKpi], events: pl.DataFrame
    ) -> Iterator[Output]:
        rows = partials(events, group)
        names = [compiled.name for compiled in group]
        headers: Headers = telemetry.inject([])
        for target, part in split(rows, PARTIALS.partitions).items():
            yield bus.rows(names, source.id, tp.partition, part, target, headers)

    def _park(
        self, tp: TopicPartition, source: Source, state: Input, group: Sequence[CompiledKpi], error: Exception
    ) -> Iterator[Output]:
        reason = str(error).splitlines()[0]
        for compiled in group:
            log.error("a KPI is parked", extra={"fields": {"kpi": compiled.name, "error": reason}})
            state.progress.live.discard(compiled.name)
            state.progress.behind.pop(compiled.name, None)
            state.progress.parked[compiled.name] = reason
            yield from bus.announcement(compiled.name, source.id, tp.partition, None, live=False)

    async def _silence(self, tp: TopicPartition, source: Source, state: Input) -> list[Output]:
        """A partition that is read to its end and silent for long no longer holds windows back.

        It is said again and again: when the source wakes, merge counts only what it hears from then on.
        """
        silent = source.watermark.idle.total_seconds()
        due = max(silent, AGAIN_IDLE_SECONDS) if state.idle else silent
        if clock.monotonic() - state.heard < due:
            return []
        assert self.client is not None
        end = (await self.client.end_offsets([tp]))[tp]
        if await self.client.position(tp) < end:
            return []  # looked at again when what is left was read: it may be heartbeats
        state.heard, state.idle = clock.monotonic(), True
        return bus.marks(source.id, tp.partition, None, idle=True, since=end, upto=end)


def watermark(source: Source, records: Sequence[Record], newest: object) -> int | None:
    """The latest (ms) of what was declared and of the newest time seen (None: none), less the source's delay."""
    said = (dict(record.headers).get("sx-watermark") for record in controls(records))
    times = [at for value in said if (at := number(value)) is not None]
    if isinstance(newest, int):
        times.append(newest - milliseconds(source.watermark.delay))
    return max(times, default=None)
