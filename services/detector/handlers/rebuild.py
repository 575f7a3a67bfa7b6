"""A merge partition whose log is lost or corrupt: its state is made anew from the events.

The cut is the offset of the partial rows that the group has committed: by then every input partition has said there how
far it was combined. The events before that are read again, from their topic, and what the topic no longer holds from the
archive; what was published is read from `kpi.observations`. The partition goes on behind the cut, as if nothing had been.
If the group's offset is gone too, the cut is the end that the partial rows have now.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

import polars as pl
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Source
from libs.common.errors import TryLater
from libs.common.events import LateEvents
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.kafka import committed_of, high_watermarks, partitions_of, read_between, starts_of
from libs.common.registry import Codecs
from libs.common.topics import EVENTS, PARTIALS
from services.detector.core import rebuild
from services.detector.core.combine import by_shape, chosen, partials, series_keys, split
from services.detector.core.definitions import CompiledKpi
from services.detector.core.derived import CONTENT
from services.detector.core.engine import INPUT, Engine
from services.detector.core.rebuild import Known
from services.detector.core.steps import Announcement, Emission, Mark, Ready
from services.detector.core.windows import Session
from services.detector.handlers import remembered
from services.detector.handlers.archived import Archive
from services.detector.handlers.combine import Progress, watermark
from services.detector.handlers.publishing import keys_of
from services.detector.handlers.reading import Reading
from services.detector.handlers.remembered import Heard, Told
from services.detector.settings import Settings

log = logging.getLogger(__name__)

TELL_SECONDS = 5.0


class Rebuild:
    """`observations`: reads `kpi.observations`."""

    def __init__(self, settings: Settings, reading: Reading, observations: Codecs) -> None:
        self.settings, self.reading, self.observations = settings, reading, observations
        self.archive = Archive(settings)
        self.shown: dict[int, str] = {}
        """Merge partition → what is being read for it."""
        self.told_at = 0.0

    async def run(
        self, tp: TopicPartition, engine: Engine, cut: int, known: Mapping[str, Progress]
    ) -> list[Emission]:
        """Fill an engine that has its definitions and nothing else; what is to be published. TryLater if something
        cannot be read now.

        `cut`: offset of the partial rows behind which the partition goes on. `known`: how far combine was after that.
        """
        number = tp.partition
        try:
            combined = await committed_of(self.settings, "detector.combine")
            end = (await high_watermarks(self.settings, tp.topic))[
                number
            ]  # all that is known was told before it
            heard = await remembered.heard(self.settings, tp, cut, end, lambda text: self._tell(number, text))
            told = await remembered.told(
                self.settings, number, engine.kpis, self.observations, lambda text: self._tell(number, text)
            )
            work = Work(engine, number, heard, told, known)
            work.begin(await remembered.versions(self.settings))
            for source in {
                each.source.id: each.source for each in engine.kpis.values() if each.source
            }.values():
                name = self.settings.prefix + EVENTS.of(source.id)
                for partition in sorted(await partitions_of(self.settings, name)):
                    place = TopicPartition(name, partition)
                    await self._read(work, source, place, combined.get(place, 0))
            work.give()
            return rebuild.finish(engine, work.known, int(clock.now().timestamp() * 1000))
        finally:
            self.shown.pop(number, None)

    def _tell(self, number: int, text: str) -> None:
        self.shown[number] = text
        if clock.monotonic() - self.told_at >= TELL_SECONDS:
            self.told_at = clock.monotonic()
            log.info("rebuilding", extra={"fields": {"partition": number, "reading": text}})

    async def _read(self, work: "Work", source: Source, tp: TopicPartition, combined: int) -> None:
        """The events of an input partition, as far as it was combined."""
        ends = work.ends(source, tp.partition, combined)
        present = work.heard.end("", source.id, tp.partition, live=True, combined=combined)
        stop, at = max([present, *ends.values()]), None
        async for events, reached in self._events(tp, source, present, stop):
            self._tell(work.number, f"{source.id}/{tp.partition}, up to {stop:,}")
            at = reached if at is None else max(at, reached or at)
            for end in set(ends.values()):
                kpis = [work.engine.kpis[name] for name in ends if ends[name] == end]
                await self._combine(work, kpis, events.filter(pl.col(OFFSET) < end))
        if at is not None:  # else it was never heard of, and holds the watermark back
            work.engine.hear([Mark(source.id, tp.partition, at, work.heard.is_idle(source, tp.partition))])

    async def _events(
        self, tp: TopicPartition, source: Source, present: int, stop: int
    ) -> AsyncGenerator[tuple[pl.DataFrame, int | None]]:
        """The events of a partition before `stop`, judged; and of those before `present` the watermark (ms)."""
        first = min(present, (await starts_of(self.settings, tp.topic))[tp.partition])
        if first:
            lacking = await self.archive.lacks(EVENTS.of(source.id), {tp.partition: first})
            if lacking:
                raise TryLater(
                    f"{tp.topic} begins at {first}, and the archive lacks {lacking} records before"
                )
            withdrawn = self.reading.withdrawals.of(source.id)
            if withdrawn and (left := set(withdrawn) - (await self.archive.taken_out(withdrawn)).keys()):
                raise TryLater(
                    f"the archive has not taken out yet what was withdrawn: {', '.join(sorted(left))}"
                )
            async for frame in self.archive.since(source, tp.partition, 0, first):
                left = self.reading.erasures.left(source.id, tp.partition, frame)
                yield await self.reading.judged(source, left), watermark(source, [], left[TIME].max())
        async for records in read_between(self.settings, tp, first, present):
            events, _ = await self.reading.events(source, tp.partition, records)
            yield events, watermark(source, records, events[TIME].max())
        async for records in read_between(self.settings, tp, present, stop):
            yield (await self.reading.events(source, tp.partition, records))[0], None

    async def _combine(self, work: "Work", kpis: Sequence[CompiledKpi], events: pl.DataFrame) -> None:
        """As combine does, for this merge partition alone."""
        for group in by_shape(kpis) if events.height else ():
            try:
                seen = await self.reading.enriched(events, group[0])
                work.combine(group, seen)
            except pl.exceptions.PolarsError as error:
                work.engine.park([each.name for each in group], error)


class Work:
    """One merge partition in the making."""

    def __init__(
        self, engine: Engine, number: int, heard: Heard, told: Told, progress: Mapping[str, Progress]
    ) -> None:
        self.engine, self.number, self.heard, self.told, self.progress = engine, number, heard, told, progress
        self.known = {
            name: Known(
                rebuild.published(engine.kpis[name], list(told.rows[name].values())), told.closed(name)
            )
            for name in engine.states
        }
        rebuild.apart(engine)

    def begin(self, versions: Sequence[Ready]) -> None:
        """Who is live and how far the marks are. What is older than the partial rows that are kept comes first."""
        engine, live = self.engine, list[Announcement]()
        for name, compiled in engine.kpis.items():
            if compiled.source is None:
                if Ready(name, self.number) in versions:
                    live += [Announcement(name, each, None, True) for each in range(engine.inputs)]
                continue
            live += [
                Announcement(name, partition, None, True)
                for partition in range(compiled.source.partitions)
                if self._is_long_live(name, compiled.source, partition)
            ]
        engine.hear((), live, versions)
        engine.hear(self.heard.marks, self.heard.announced.values(), self.heard.ready)
        engine.hear([Mark(f"{INPUT}{id}", each, at, False) for (id, each), at in self.told.inputs.items()])
        for name, at in self.told.watermarks.items():
            if name in engine.tracks:
                known = engine.tracks[name].watermark
                known.at = at if known.at is None else max(at, known.at)

    def _is_long_live(self, name: str, source: Source, partition: int) -> bool:
        """Whether a KPI went live so long ago that nothing of it is kept."""
        progress = self.progress.get(f"{source.id}/{partition}", Progress())
        began = (name, source.id, partition) in self.heard.next
        return name in progress.live and (name, partition) not in self.heard.announced and not began

    def ends(self, source: Source, partition: int, combined: int) -> dict[str, int]:
        """KPI → the offset up to which the partition was combined for it before the cut."""
        found: dict[str, int] = {}
        for name in self.engine.states:
            compiled = self.engine.kpis[name]
            if compiled.source is not None and compiled.source.id == source.id:
                told = self.heard.announced.get((name, partition))
                live = self._is_long_live(name, source, partition) if told is None else told.live
                found[name] = self.heard.end(name, source.id, partition, live=live, combined=combined)
        return found

    def combine(self, group: Sequence[CompiledKpi], events: pl.DataFrame) -> None:
        """Take events in for KPIs of one shape."""
        if isinstance(group[0].windows, Session):
            for each in group:
                self._take([each], in_time(events, each, self.told.late[each.name]))
        else:
            self._take(group, events)

    def _take(self, group: Sequence[CompiledKpi], events: pl.DataFrame) -> None:
        if events.is_empty():
            return
        rows = split(partials(events, group), PARTIALS.partitions).get(self.number)
        if rows is None:
            return
        rows = rows.with_columns(pl.lit(events[PARTITION][0], dtype=pl.Int32).alias("partition"))
        for each in group:
            rebuild.take(self.engine, each.name, rows, self.known[each.name].closed)

    def give(self) -> None:
        """To KPIs over others: the values that were published of them."""
        schema = {name: kind for name, kind in CONTENT.items() if name not in ("input", "member")}
        for name in list(self.engine.states):
            compiled = self.engine.kpis[name]
            for input, id in compiled.kpi.over.items():
                rows = pl.DataFrame(list(self.told.given[id].values()), schema=schema, orient="row")
                members = rows["series_key"].alias("member")
                own = keys_of(compiled, members).alias("series_key")
                frame = rows.with_columns(members, own, pl.lit(input).alias("input"))
                mine = split(frame.select(list(CONTENT)), PARTIALS.partitions).get(self.number)
                if mine is not None:
                    rebuild.take(self.engine, name, mine, self.known[name].closed)


def in_time(events: pl.DataFrame, compiled: CompiledKpi, late: Sequence[LateEvents]) -> pl.DataFrame:
    """The events of one partition that did not come too late for a KPI of sessions."""
    assert isinstance(compiled.windows, Session)
    gap, number = compiled.windows.gap, events[PARTITION][0] if events.height else None
    told = [
        (each.series_key, clock.milliseconds(each.window_start) // gap, each.first, each.last)
        for each in late
        if each.partition == number
    ]
    if not told:
        return events
    names = {"series_key": pl.String, "cell": pl.Int64, "first": pl.Int64, "last": pl.Int64}
    seen = chosen(events, compiled)
    cell = pl.col(TIME).floordiv(gap).alias("cell")
    placed = seen.select(OFFSET, cell).with_columns(series_keys(seen, compiled.kpi.by))
    out = placed.join(pl.DataFrame(told, schema=names, orient="row"), on=["series_key", "cell"])
    out = out.filter(pl.col(OFFSET).is_between("first", "last"))[OFFSET].unique()
    return events.filter(~pl.col(OFFSET).is_in(out.implode()))
