"""KPIs, compiled: what combine and merge need to know of one version of a KPI."""

from dataclasses import dataclass
from datetime import timedelta
from math import gcd
from typing import Literal

from libs.common.catalog import Kpi, Source
from libs.common.expressions import Predicate, Value, predicate, value


def milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


@dataclass(frozen=True)
class Windows:
    """The windows of a KPI in milliseconds of event time, aligned to the epoch, closed-open.

    Tumbling and sliding windows are made of panes: [pane, pane + pane_ms). A pane lies in `size / every` windows.
    """

    kind: Literal["panes", "session"]
    size: int
    """Length of a window; the gap of a session."""
    every: int
    """Distance between the starts of two windows."""

    @property
    def pane(self) -> int:
        return gcd(self.size, self.every)

    @classmethod
    def of(cls, kpi: Kpi) -> "Windows":
        window = kpi.window
        if window.session is not None:
            gap = milliseconds(window.session)
            return cls("session", gap, gap)
        if window.tumbling is not None:
            size = milliseconds(window.tumbling)
            return cls("panes", size, size)
        assert window.sliding is not None
        assert window.every is not None
        return cls("panes", milliseconds(window.sliding), milliseconds(window.every))


@dataclass(frozen=True)
class CompiledKpi:
    """One version of a KPI over its source."""

    kpi: Kpi
    version: int
    source: Source
    where: Predicate | None
    value: Value
    windows: Windows
    lateness: int
    """Milliseconds after its end that a window still takes events."""

    @property
    def name(self) -> str:
        return f"{self.kpi.id}@{self.version}"


def compile_kpi(kpi: Kpi, version: int, source: Source) -> CompiledKpi:
    """DefinitionError if the KPI does not fit the source."""
    types = source.field_types
    return CompiledKpi(
        kpi,
        version,
        source,
        predicate(kpi.where, types) if kpi.where is not None else None,
        value(kpi.value, types),
        Windows.of(kpi),
        milliseconds(kpi.lateness),
    )
