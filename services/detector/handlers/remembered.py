"""What topics say of a merge partition beside its own log: what was combined for it, and what it has published."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl
from aiokafka import TopicPartition

from libs.common.catalog import Source
from libs.common.clock import milliseconds
from libs.common.events import LateEvents, VersionReady
from libs.common.kafka import Record, read_all, read_between
from libs.common.registry import Codecs
from libs.common.rules import RANKS
from libs.common.settings import ServiceSettings
from libs.common.topics import LATE, OBSERVATIONS, PARTIALS, VERSIONS
from libs.common.wire import record as decoded
from services.detector.core.combine import place
from services.detector.core.definitions import CompiledKpi
from services.detector.core.steps import Announcement, Mark, Ready
from services.detector.core.watermarks import PartitionMark, Watermark
from services.detector.handlers import bus

Key = TypeVar("Key")
Tell = Callable[[str], None]


Place = tuple[str | None, str, int]
"""KPI, or None for all that are live; source; input partition."""


@dataclass
class Heard:
    """What the partial rows say, as far as they are kept: before the cut, and how they go on behind it."""

    marks: list[Mark] = field(default_factory=list)
    announced: dict[tuple[str, int], Announcement] = field(default_factory=dict)
    """(KPI, input partition) → the last one."""
    ready: list[Ready] = field(default_factory=list)
    reached: dict[Place, int] = field(default_factory=dict)
    """Offset up to which it was combined."""
    torn: set[Place] = field(default_factory=set)
    """The cut goes through what was combined in one transaction: these KPIs have their rows of it before the cut."""
    next: dict[Place, tuple[int, int]] = field(default_factory=dict)
    """Behind the cut: the first offsets (since, upto) that were combined."""

    def is_idle(self, source: Source, partition: int) -> bool:
        """Whether merge counts it as idle. A source of which nothing is kept has been silent for long."""
        partitions = range(max(source.partitions, partition + 1))
        heard = Watermark(len(partitions), {number: PartitionMark(idle=True) for number in partitions})
        for each in self.marks:
            if each.source == source.id:
                heard.advance(each.partition, None, each.idle)
        return heard.marks[partition].idle

    def take(self, records: Sequence[Record]) -> None:
        """Records before the cut."""
        bare = [record for record in records if not record.value]
        _, marks, announced, ready = bus.read(bare)
        self.marks += marks
        self.ready += ready
        self.announced |= {(each.kpi, each.partition): each for each in announced}
        for record in records:
            if record.value:
                kpis, source, partition = bus.origin(record)
                self.torn |= {(kpi, source, partition) for kpi in kpis}
            for kpi, source, partition, _, upto in bus.reached([record]):
                self.reached[kpi, source, partition] = upto
                self.torn = {
                    each
                    for each in self.torn
                    if each[1:] != (source, partition) or kpi not in (None, each[0])
                }

    def end(self, kpi: str, source: str, partition: int, *, live: bool, combined: int) -> int:
        """The offset up to which a KPI has its rows before the cut. `combined`: up to where combine is by now."""
        place = None if live else kpi, source, partition
        since, upto = self.next.get(place, (combined if live else 0,) * 2)
        if (kpi, source, partition) in self.torn:
            return upto
        return max(self.reached.get(place, since), self.reached.get((kpi, source, partition), 0))


async def heard(settings: ServiceSettings, tp: TopicPartition, cut: int, end: int, tell: Tell) -> Heard:
    """Of the partial rows before `end`."""
    found = Heard()
    async for records in read_between(settings, tp, 0, cut):
        tell(f"what was combined, {records[-1].offset:,} of {end:,}")
        found.take(records)
    async for records in read_between(settings, tp, cut, end):
        tell(f"what was combined, {records[-1].offset:,} of {end:,}")
        for kpi, source, partition, *offsets in bus.reached([each for each in records if not each.value]):
            found.next.setdefault((kpi, source, partition), (offsets[0], offsets[1]))
    return found


async def versions(settings: ServiceSettings) -> list[Ready]:
    """Which merge partitions have caught up with which versions."""
    found: list[Ready] = []
    async for records in read_all(settings, VERSIONS.name, undecided=True):
        told = [VersionReady.decode(record.value or b"") for record in records]
        found += [Ready(f"{each.kpi}@{each.kpi_version}", each.partition) for each in told]
    return found


@dataclass
class Told:
    """What one merge partition has published, and what was published of the inputs of KPIs over others. Times in ms."""

    number: int
    kpis: Mapping[str, CompiledKpi]
    rows: dict[str, dict[tuple[str, int], dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    """KPI → (series, start) → the newest revision."""
    watermarks: dict[str, int] = field(default_factory=dict)
    """KPI → the latest that a value of this partition was published with."""
    inputs: dict[tuple[str, int], int] = field(default_factory=dict)
    """(KPI id, merge partition) → the latest watermark of its values."""
    given: dict[str, dict[tuple[str, int, int], dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """KPI id that another is over → (series, start, version) → the newest revision that is not provisional."""
    late: dict[str, list[LateEvents]] = field(default_factory=lambda: defaultdict(list))

    def take(self, row: Mapping[str, Any], where: int, above: Iterable[str]) -> None:
        """A row of `kpi.observations` of merge partition `where`. `above`: KPIs that another is over."""
        name, start = f"{row['kpi']}@{row['kpi_version']}", milliseconds(row["window_start"])
        mine, input = where == self.number and name in self.kpis, row["kpi"] in above
        if not mine and not input:
            return
        at = None if row["watermark"] is None else milliseconds(row["watermark"])
        shown = {
            "series_key": row["series_key"], "start": start, "stop": milliseconds(row["window_end"]),
            "revision": row["revision"], "status": row["status"], "value": row["value"], "count": row["count"],
            **{f"measure:{measure}": value for measure, value in row["measures"].items()},
        }  # fmt: skip
        if mine:
            _newer(self.rows[name], (row["series_key"], start), shown)
            _later(self.watermarks, name, at)
        if input:
            _later(self.inputs, (row["kpi"], where), at)
        if input and row["status"] != "provisional":
            more = {name: row[name] for name in ("assessed", "suspect", "schema_ids")}
            more |= {"worst": RANKS.get(row["worst"], 0), "version": row["kpi_version"]}
            _newer(self.given[row["kpi"]], (row["series_key"], start, row["kpi_version"]), shown | more)

    def closed(self, name: str) -> int | None:
        """Up to where the windows of a KPI took no more events, at least."""
        lateness = self.kpis[name].lateness
        ends = [self.watermarks[name] - lateness] if name in self.watermarks else []
        ends += [milliseconds(each.closed_to) for each in self.late[name] if each.closed_to is not None]
        return max(ends, default=None)


async def told(
    settings: ServiceSettings, number: int, kpis: Mapping[str, CompiledKpi], codecs: Codecs, tell: Tell
) -> Told:
    """Of merge partition `number`. `codecs`: of `kpi.observations`."""
    found = Told(number, kpis)
    above = {id for compiled in kpis.values() for id in compiled.kpi.over.values()}
    async for records in read_all(settings, OBSERVATIONS.name, undecided=True):
        tell(f"what was published, up to {records[-1].offset:,} of a partition")
        known = await codecs.of([record.value for record in records])
        rows = [decoded(record.value, known) for record in records]
        for row, where in zip(rows, _places([row["series_key"] for row in rows]), strict=True):
            found.take(row, where, above)
    async for records in read_all(settings, LATE.name, undecided=True):
        late = [LateEvents.decode(record.value or b"") for record in records]
        for each, where in zip(late, _places([each.series_key for each in late]), strict=True):
            if where == number:
                found.late[f"{each.kpi}@{each.kpi_version}"].append(each)
    return found


def _places(keys: Sequence[str]) -> list[int]:
    """The merge partition of each series."""
    return place(
        pl.DataFrame({"series_key": pl.Series(keys, dtype=pl.String)}), PARTIALS.partitions
    ).to_list()


def _newer(kept: MutableMapping[Key, dict[str, Any]], key: Key, row: dict[str, Any]) -> None:
    if key not in kept or kept[key]["revision"] <= row["revision"]:
        kept[key] = row


def _later(kept: MutableMapping[Key, int], key: Key, at: int | None) -> None:
    if at is not None:
        kept[key] = max(at, kept.get(key, at))
