"""Which windows of a KPI have to be computed again when events are taken back. Pure. Times in ms."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

import polars as pl

from services.detector.core.backfill import begins
from services.detector.core.definitions import CompiledKpi
from services.detector.core.windows import Each, Session


@dataclass(frozen=True)
class Touched:
    """The windows that begin in [start, stop); the last of them ends at `end`, as far as that is known beforehand."""

    start: int
    stop: int
    end: int


def touched(compiled: CompiledKpi, first: int, last: int) -> Touched:
    """The windows that events of times from `first` to `last` are in.

    Of sessions the published ones say how much earlier they began; one that more events prolong ends later.
    """
    windows = compiled.windows
    if isinstance(windows, Each):
        return Touched(first, last + 1, last + 1)
    if isinstance(windows, Session):
        return Touched(first, last + 1, last + windows.gap)
    end = windows.last_stop(windows.pane_of(pl.Series([last], dtype=pl.Int64)))[0]
    return Touched(begins(windows, first), last + 1, int(end))


def concerned(kpis: Iterable[CompiledKpi], source: str) -> list[CompiledKpi]:
    """The KPIs over a source, and those over these, each behind all that it is over."""
    versions = defaultdict[str, list[CompiledKpi]](list)
    for each in kpis:
        versions[each.kpi.id].append(each)
    inputs = {
        id: {input for each in found for input in each.kpi.over.values()} for id, found in versions.items()
    }
    found: list[CompiledKpi] = []
    ids = set[str]()
    for id in TopologicalSorter(inputs).static_order():
        mine = [each for each in versions.get(id, ()) if each.source is not None and each.source.id == source]
        if mine or not ids.isdisjoint(inputs.get(id, ())):
            found += mine or versions[id]
            ids.add(id)
    return found


def id_of(order: str, kpi: str) -> str:
    """Of the backfill of a KPI (`id@version`) that a withdrawal, or a backfill before it, makes necessary: the same
    whoever orders it, so that it is ordered once."""
    return hashlib.sha256(f"{order}\n{kpi}".encode()).hexdigest()[:32]
