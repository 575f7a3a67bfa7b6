"""The engine of one merge partition: every KPI's state, and the watermarks that move them. Pure.

A step takes partial rows, then marks, then emits what is due. The state is a function of the steps alone, so a snapshot
and the steps since are all that recovery needs.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from services.detector.core.definitions import CompiledKpi, newest, of
from services.detector.core.derived import Derived
from services.detector.core.sessions import Sessions
from services.detector.core.states import States
from services.detector.core.steps import CLOSED, Announcement, Emission, Mark, Ready, Rows
from services.detector.core.watermarks import PartitionMark, Watermark, later

INPUT = "kpi:"
"""Before the id of a KPI: the name of its emitted values as a source of KPIs over it."""


@dataclass
class Track:
    """The watermark of one KPI over the partitions of its source, and which of them are live."""

    watermark: Watermark
    live: set[int] = field(default_factory=set)


class Engine:
    """`inputs`: merge partitions, which are what a KPI over KPIs has as input partitions."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.kpis: dict[str, CompiledKpi] = {}
        self.states = States()
        self.tracks: dict[str, Track] = {}
        self.marks: dict[str, Watermark] = {}
        self.parked: dict[str, str] = {}
        """KPI → what went wrong; it is left alone until it is defined anew."""
        self.ready: dict[str, set[int]] = {}
        """KPI → merge partitions that have caught up with it."""

    def define(self, kpis: Mapping[str, CompiledKpi]) -> None:
        """These are in force: states for new ones, none for those that are gone.

        A version that was replaced goes on until it is gone. It is not begun any more, but by an engine that begins.
        """
        begins = not self.tracks
        for name in self.tracks.keys() - kpis.keys():
            self._drop(name)
        new = sorted((kpis.keys() if begins else newest(kpis)) - self.tracks.keys())
        for name in new:
            compiled = self.kpis[name] = kpis[name]
            self.tracks[name] = Track(Watermark(compiled.source.partitions if compiled.source else 0))
        self.states.begin(kpis[name] for name in new)

    def _drop(self, name: str) -> None:
        self.states.leave(name)
        for kept in (self.kpis, self.tracks, self.parked, self.ready):
            kept.pop(name, None)

    def step(
        self,
        rows: Iterable[Rows],
        marks: Iterable[Mark],
        announced: Iterable[Announcement],
        now: int,
        ready: Iterable[Ready] = (),
    ) -> list[Emission]:
        """Take a batch in; `now` in ms decides which values in progress are due."""
        before = {name: self.watermark(name) for name in self.states}
        late = self._add(rows, before)
        self.hear(marks, announced, ready)
        return self._emit(late, before, now)

    def hear(
        self, marks: Iterable[Mark], announced: Iterable[Announcement] = (), ready: Iterable[Ready] = ()
    ) -> None:
        """What a step takes beside rows."""
        for mark in marks:
            self._mark(mark)
        for each in announced:
            self._announce(each)
        for each in ready:
            if each.kpi in self.tracks:
                self.ready.setdefault(each.kpi, set()).add(each.partition)
        self._serve()

    def _add(self, rows: Iterable[Rows], watermarks: Mapping[str, int | None]) -> dict[str, pl.DataFrame]:
        late: dict[str, list[pl.DataFrame]] = {}
        batches: dict[tuple[str, ...], list[Rows]] = {}
        for each in rows:
            batches.setdefault(each.kpis, []).append(each)
        for kpis, batch in batches.items():
            partitions = np.repeat([each.partition for each in batch], [each.frame.height for each in batch])
            frame = pl.concat([each.frame for each in batch])
            frame = frame.hstack([pl.Series("partition", partitions.astype(np.int32))])
            for watermark, names in self._by_watermark(kpis, watermarks).items():
                for state, sharing in list(self.states.apart(names)):
                    try:
                        aside = state.add(frame, watermark)
                    except pl.exceptions.PolarsError as error:
                        self.park(sharing, error)
                        continue
                    if aside.is_empty():
                        continue
                    closed = None
                    if watermark is not None and not isinstance(state, Sessions):
                        closed = watermark - state.kpis[0].lateness
                    aside = aside.with_columns(pl.lit(closed, dtype=pl.Int64).alias(CLOSED))
                    for name in sharing:
                        late.setdefault(name, []).append(aside)
        return {name: pl.concat(frames, how="diagonal") for name, frames in late.items()}

    def _by_watermark(
        self, names: Iterable[str], watermarks: Mapping[str, int | None]
    ) -> dict[int | None, list[str]]:
        """Those of these KPIs that have a state and are not parked."""
        found: dict[int | None, list[str]] = {}
        for name in names:
            if name in self.states and name not in self.parked:
                found.setdefault(watermarks[name], []).append(name)
        return found

    def _mark(self, mark: Mark) -> None:
        watermark = self.marks.get(mark.source)
        if watermark is None:
            watermark = self.marks[mark.source] = Watermark(self._partitions(mark))
        watermark.advance(mark.partition, mark.at, mark.idle)
        for name, track in self.tracks.items():
            source = self.kpis[name].source
            if source is not None and source.id == mark.source and mark.partition in track.live:
                track.watermark.advance(mark.partition, mark.at, mark.idle)

    def closes(self, marks: Sequence[Mark]) -> bool:
        """Whether these marks bring the end of an open window: then they are better taken in at once."""
        said: dict[str, int | None] = {}
        for mark in marks:
            said[mark.source] = later(mark.at, said.get(mark.source))
        for name, state in self.states.items():
            stop = None if name in self.parked else state.next_stop
            if stop is None or not self._may_reach(name, stop, said):
                continue
            at = self._watermark_after(name, marks)
            if at is not None and at >= stop:
                return True
        return False

    def _may_reach(self, name: str, stop: int, said: Mapping[str, int | None]) -> bool:
        """Whether marks that said so much, by source, could bring a watermark so far: most could not."""
        source = self.kpis[name].source
        if source is None:
            return True
        known = (mark.at for mark in self.tracks[name].watermark.marks.values())
        at = later(said.get(source.id), *known)
        return source.id in said and at is not None and at >= stop

    def _watermark_after(self, name: str, marks: Sequence[Mark]) -> int | None:
        """What `watermark` would be with these marks."""
        compiled = self.kpis[name]
        if compiled.source is not None:
            track = self.tracks[name]
            mine = [
                mark for mark in marks if mark.source == compiled.source.id and mark.partition in track.live
            ]
            return track.watermark.after((mark.partition, mark.at, mark.idle) for mark in mine)
        if len(self.tracks[name].live) < self.inputs:
            return None
        times: list[int] = []
        for source in (f"{INPUT}{id}" for id in compiled.kpi.over.values()):
            known = self.marks.get(source, Watermark(self.inputs))
            at = known.after((mark.partition, mark.at, mark.idle) for mark in marks if mark.source == source)
            if at is None:
                return None
            times.append(at)
        return min(times, default=None)

    def _partitions(self, mark: Mark) -> int:
        if mark.source.startswith(INPUT):
            return self.inputs
        sources = [each.source for each in self.kpis.values()]
        known = next((each.partitions for each in sources if each is not None and each.id == mark.source), 0)
        return max(known, mark.partition + 1)

    def _announce(self, each: Announcement) -> None:
        track = self.tracks.get(each.kpi)
        if track is None:
            return
        state, source = self.states.get(each.kpi), self.kpis[each.kpi].source
        if isinstance(state, Derived) and each.partition not in track.live:
            state.begin_after(each.at)
        track.live.add(each.partition) if each.live else track.live.discard(each.partition)
        known = PartitionMark()
        if each.live and source is not None and source.id in self.marks:
            known = self.marks[source.id].marks.get(each.partition, known)
        track.watermark.advance(each.partition, later(each.at, known.at), known.idle)

    # --- a new version beside the old one ----------------------------------------------------------------

    def caught_up(self, told: Set[str] = frozenset()) -> list[str]:
        """The newest versions that have all that those before them have, and can be served; without those `told`."""
        return [name for name in sorted(newest(self.tracks) - told) if self._is_caught_up(name)]

    def _is_caught_up(self, name: str) -> bool:
        compiled, track = self.kpis[name], self.tracks[name]
        if name in self.parked:
            return False
        if len(track.live) < (compiled.source.partitions if compiled.source is not None else self.inputs):
            return False
        others = [each for each in self.states if each != name and of(each) == of(name)]
        return name not in self.states or all(
            self._reaches(name, other) for other in others if other not in self.parked
        )

    def _reaches(self, name: str, other: str) -> bool:
        """Whether a version is as far as another. One over KPIs has no past: it must have the newest window."""
        mine, theirs = self.watermark(name), self.watermark(other)
        if theirs is not None and (mine is None or mine < theirs):
            return False
        state, former = self.states[name], self.states[other]
        if isinstance(state, Derived) and isinstance(former, Derived):
            stop, mine = former.published.newest, state.published.newest
            return stop is None or (mine is not None and mine >= stop)
        return True

    def _serve(self) -> None:
        """KPIs over others take the newest version of each that all merge partitions are ready with."""
        for state in self.states.values():
            if isinstance(state, Derived):
                for name, ready in self.ready.items():
                    if of(name) in state.compiled.kpi.over.values() and len(ready) >= self.inputs:
                        state.serve(of(name), self.kpis[name].version)

    def watermark(self, name: str) -> int | None:
        """Up to when a KPI has all it will have in time."""
        inputs = self._inputs(name)
        if inputs is None:
            return self.tracks[name].watermark.at
        if len(self.tracks[name].live) < self.inputs:
            return None
        times = [each.at if each is not None else None for each in inputs]
        return None if None in times or not times else min(at for at in times if at is not None)

    def _inputs(self, name: str) -> list[Watermark | None] | None:
        compiled = self.kpis[name]
        if compiled.source is not None:
            return None
        return [self.marks.get(f"{INPUT}{id}") for id in compiled.kpi.over.values()]

    def wanting(self, number: int) -> list[CompiledKpi]:
        """KPIs over others to which this merge partition has not brought yet what stands of them."""
        return [
            self.kpis[name]
            for name, track in self.tracks.items()
            if self.kpis[name].source is None and number not in track.live
        ]

    def standing(self, compiled: CompiledKpi) -> list[tuple[CompiledKpi, pl.DataFrame]]:
        """Of the inputs of a KPI over others, all versions, the old ones first: the final values that may change yet.

        A KPI over others that is new is made of them, and of what comes after.
        """
        names = [name for name in self.states if of(name) in compiled.kpi.over.values()]
        inputs = sorted((self.kpis[name] for name in names), key=lambda each: each.version)
        return [(each, self.states[each.name].of(each, self.states[each.name].standing())) for each in inputs]

    def closed_to(self, compiled: CompiledKpi) -> int | None:
        """Up to where (ms) windows of the inputs of a KPI over others take no more events."""
        times = [
            at - self.kpis[name].lateness
            for name in self.states
            if of(name) in compiled.kpi.over.values() and (at := self.watermark(name)) is not None
        ]
        return max(times, default=None)

    def held_by(self, name: str) -> str | None:
        """The input that holds back a KPI over others."""
        waiting = {id: self.marks.get(f"{INPUT}{id}") for id in self.kpis[name].kpi.over.values()}
        times = {id: -(2**62) if each is None or each.at is None else each.at for id, each in waiting.items()}
        return min(times, key=lambda id: times[id], default=None)

    def marks_of(self, name: str) -> tuple[int | None, ...]:
        """The watermark of each input partition."""
        watermarks = self._inputs(name)
        if watermarks is None:
            watermarks = [self.tracks[name].watermark]
        return tuple(
            each.marks[number].at if each is not None and number in each.marks else None
            for each in watermarks
            for number in range(each.partitions if each is not None else 1)
        )

    def _emit(
        self, late: Mapping[str, pl.DataFrame], before: Mapping[str, int | None], now: int
    ) -> list[Emission]:
        found: dict[str, Emission] = {}
        at = {name: self.watermark(name) for name in self.states}
        for watermark, names in self._by_watermark(list(self.states), at).items():
            for state, sharing in list(self.states.apart(names)):
                try:
                    due = state.emit(watermark, now)
                except pl.exceptions.PolarsError as error:
                    self.park(sharing, error)
                    continue
                for name in sharing:
                    moved, aside = watermark != before[name], late.get(name, pl.DataFrame())
                    if due.is_empty() and not moved and aside.is_empty():
                        continue
                    try:
                        mine = state.of(self.kpis[name], due)
                    except pl.exceptions.PolarsError as error:
                        self.park([name], error)
                        continue
                    found[name] = Emission(
                        self.kpis[name], aside, mine, due, watermark, self.marks_of(name), moved
                    )
        return [found[name] for name in self.states if name in found]

    def park(self, names: Iterable[str], error: Exception) -> None:
        """Leave KPIs alone that cannot be computed; the others go on."""
        for name in names:
            self.parked[name] = str(error).splitlines()[0]
            self.states.empty(name)

    # --- recovery ----------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[dict[str, Any], dict[tuple[str, str], pl.DataFrame]]:
        """Everything: a JSON value, and frames by KPI and name."""
        frames: dict[tuple[str, str], pl.DataFrame] = {}
        kpis: dict[str, Any] = {
            name: {"state": {}, "track": track.watermark.snapshot(), "live": sorted(track.live)}
            for name, track in self.tracks.items()
        }
        for leader, names in self.states.leaders().items():
            scalars, content = self.states[leader].snapshot()
            for name in names:
                kpis[name] |= {"state": scalars, "frames": leader}
            frames |= {(leader, part): frame for part, frame in content.items()}
        marks = {source: each.snapshot() for source, each in self.marks.items()}
        ready = {name: sorted(numbers) for name, numbers in self.ready.items()}
        return {"kpis": kpis, "marks": marks, "parked": self.parked, "ready": ready}, frames

    def restore(self, value: Mapping[str, Any], frames: Mapping[tuple[str, str], pl.DataFrame]) -> None:
        """Take a snapshot back; of KPIs that are not defined any more, nothing.

        An old version that it has not, and a newer one it has, was over by then.
        """
        known = {of(name) for name in value["kpis"].keys() & newest(self.tracks)}
        for name in self.tracks.keys() - newest(self.tracks) - value["kpis"].keys():
            if of(name) in known:
                self._drop(name)
        self.marks = {source: Watermark.resume(each) for source, each in value["marks"].items()}
        self.parked = {name: text for name, text in value["parked"].items() if name in self.states}
        ready = value.get("ready", {})
        self.ready = {name: set(numbers) for name, numbers in ready.items() if name in self.tracks}
        sharing: dict[str, list[str]] = {}
        for name, kept in value["kpis"].items():
            if name in self.tracks:
                self.tracks[name] = Track(Watermark.resume(kept["track"]), set(kept["live"]))
            if name in self.states:
                sharing.setdefault(kept.get("frames", name), []).append(name)
        for leader, names in sharing.items():
            mine = {part: frame for (kpi, part), frame in frames.items() if kpi == leader}
            state = self.states.together([self.kpis[name] for name in names])
            state.restore(value["kpis"][names[0]]["state"], mine)


def completeness(stops: pl.Series, marks: Sequence[int | None]) -> pl.Series:
    """For each window end: the share of input partitions whose watermark has passed it."""
    if not marks:
        return pl.repeat(None, len(stops), dtype=pl.Float64, eager=True)
    ends, passed = stops.to_numpy(), np.zeros(len(stops))
    for mark in marks:
        if mark is not None:
            passed += ends <= mark
    return pl.Series(passed / len(marks))
