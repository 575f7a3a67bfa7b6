"""The states of a merge partition's KPIs. Those that are made of the same rows share one.

KPIs of one source with the same series, condition, derived fields, windows and lateness differ only in what they make
of a window: their rows are kept, merged and emitted once. It is nothing that anyone could see but by its cost, so
sharing is no part of what a step means: KPIs begin together and part as soon as one of them is given something else.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence

from services.detector.core.definitions import CompiledKpi
from services.detector.core.derived import Derived
from services.detector.core.merge import MergeState, Panes
from services.detector.core.sessions import Sessions
from services.detector.core.windows import Each, Session


class States(dict[str, MergeState]):
    """State by KPI (`id@version`), of KPIs with windows."""

    def begin(self, kpis: Iterable[CompiledKpi]) -> None:
        """Empty states for KPIs that begin at one moment."""
        groups: dict[Hashable, list[CompiledKpi]] = {}
        for kpi in kpis:
            if not isinstance(kpi.windows, Each):
                groups.setdefault(_sharing(kpi), []).append(kpi)
        for group in groups.values():
            self.together(group)

    def together(self, kpis: Sequence[CompiledKpi]) -> MergeState:
        """An empty state for these KPIs, which may share one, and which those that they shared one with keep."""
        for _ in self.apart([kpi.name for kpi in kpis if kpi.name in self]):
            pass
        return self._give(_new(kpis))

    def _give(self, state: MergeState) -> MergeState:
        self.update({kpi.name: state for kpi in state.kpis})
        return state

    def leave(self, name: str) -> None:
        """A KPI has no state any more."""
        if name in self:
            for _ in self.apart([name]):
                del self[name]

    def empty(self, name: str) -> None:
        """A KPI has an empty state of its own."""
        ((state, _),) = self.apart([name])
        self.together(state.kpis)

    def apart(self, names: Sequence[str]) -> Iterator[tuple[MergeState, list[str]]]:
        """The states of these KPIs, which from now on no others share, and whose they are."""
        mine: dict[int, list[str]] = {}
        for name in names:
            mine.setdefault(id(self[name]), []).append(name)
        for each in mine.values():
            state = self[each[0]]
            if len(each) < len(state.kpis):
                self._give(state.only([kpi for kpi in state.kpis if kpi.name not in each]))
                state = state.only([kpi for kpi in state.kpis if kpi.name in each])
                self._give(state)
            yield state, each

    def leaders(self) -> dict[str, list[str]]:
        """The KPIs that share a state, by the first of them."""
        return {state.kpis[0].name: [kpi.name for kpi in state.kpis] for state in self.values()}


def _sharing(kpi: CompiledKpi) -> Hashable:
    """What is the same of KPIs that may share a state."""
    if kpi.source is None or isinstance(kpi.windows, Session):
        return kpi.name
    return kpi.source.id, kpi.shape, kpi.lateness, kpi.kpi.early_seconds


def _new(kpis: Sequence[CompiledKpi]) -> MergeState:
    first = kpis[0]
    if first.source is None:
        return Derived(first)
    return Sessions(first) if isinstance(first.windows, Session) else Panes(*kpis)
