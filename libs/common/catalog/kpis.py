"""KPIs: values over windows, and when a series of one is out of its limits."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from libs.common.catalog.definition import Definition, Identifier, Named
from libs.common.catalog.duration import Duration
from libs.common.events import Severity


class Window(Definition):
    """Exactly one of tumbling, sliding (with `every`) and session (the gap). Windows are [start, end)."""

    tumbling: Duration | None = None
    sliding: Duration | None = None
    every: Duration | None = None
    session: Duration | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Window":
        chosen = [name for name in ("tumbling", "sliding", "session") if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise ValueError(f"give exactly one of tumbling, sliding and session, not {chosen or 'none'}")
        if (self.sliding is None) != (self.every is None):
            raise ValueError("`every` goes with `sliding`, and only with it")
        if self.every is not None and self.sliding is not None and self.every > self.sliding:
            raise ValueError("`every` is longer than the window: events between windows would be lost")
        if any(
            length is not None and length <= timedelta(0)
            for length in (self.tumbling, self.every, self.session)
        ):
            raise ValueError("a window has a positive length")
        return self


class ThresholdLimit(Definition):
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> "ThresholdLimit":
        if self.above is None and self.below is None:
            raise ValueError("give `above`, `below` or both")
        return self


class SeasonalLimit(Definition):
    """A band around what the same hour of the day (or week) usually brings."""

    season: Literal["day", "week"] = "week"
    deviations: float = Field(default=4.0, gt=0)
    """Half width of the band in standard deviations."""
    warmup: int = Field(default=3, ge=2)
    """Seasons to learn before the first signal."""
    side: Literal["both", "above", "below"] = "both"


class SignalRule(Definition):
    """When a series of the KPI is out of its limits. Exactly one of threshold and seasonal."""

    id: Identifier
    threshold: ThresholdLimit | None = None
    seasonal: SeasonalLimit | None = None
    min_count: int = Field(default=1, ge=1)
    """Windows with fewer events neither open nor close a signal."""
    sustained_after: int = Field(default=3, ge=1)
    """Consecutive windows beyond the limits that make a signal sustained."""
    severity: Severity = "warning"

    @model_validator(mode="after")
    def _one_kind(self) -> "SignalRule":
        if (self.threshold is None) == (self.seasonal is None):
            raise ValueError("give exactly one of threshold and seasonal")
        return self


class Kpi(Named):
    """A value over windows of a source's events."""

    kind: Literal["kpi"] = "kpi"
    objective: Identifier | None = None
    latency_class: Literal["live", "near", "hourly", "daily"] = "live"
    source: Identifier
    where: str | None = None
    """SQL predicate; events on which it is not true are left out."""
    value: str
    """SQL: arithmetic over aggregates."""
    by: tuple[str, ...] = ()
    window: Window
    lateness: Duration = timedelta(0)
    """How long after its end a window still takes late events, in event time."""
    unit: str = ""
    good: Literal["up", "down", "none"] = "none"
    purpose: str = "operations"
    """What it is used for; each field it reads must allow it."""
    departments: tuple[str, ...] = ()
    """Who may see it; () is everybody who may read."""
    signals: tuple[SignalRule, ...] = ()
