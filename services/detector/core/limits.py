"""Detectors: what a window's value is held against. Pure: observe, snapshot and resume are all in the state.

A newcomer adds one class here and one entry in `DETECTORS`.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

from libs.common.catalog import SignalRule

Baseline = dict[str, list[float]]
"""What a detector has learned of one series; JSON. Bounded by the detector."""

SEASONS = {"day": 86_400_000, "week": 604_800_000}


@dataclass(frozen=True)
class Band:
    """The limits for one window; None where a side is open or not known yet."""

    low: float | None = None
    middle: float | None = None
    high: float | None = None

    def beyond(self, value: float) -> float:
        """How far a value is outside, negative below, 0 inside."""
        if self.high is not None and value > self.high:
            return value - self.high
        if self.low is not None and value < self.low:
            return value - self.low
        return 0.0


class Detector(Protocol):
    """Limits for the windows of one rule."""

    kind: str
    publishes_band: bool
    """Whether people want to see the band of every window."""

    @classmethod
    def of(cls, rule: SignalRule, every: int) -> "Detector | None":
        """The detector of a rule whose windows start `every` ms, if the rule is of its kind."""
        ...

    def band(self, start: int, baseline: Baseline) -> Band:
        """The limits for the window that starts at `start` (ms)."""
        ...

    def learn(self, start: int, value: float, baseline: Baseline) -> None:
        """Take an ordinary window's value into the baseline, in place."""
        ...


@dataclass(frozen=True)
class Threshold:
    """Fixed limits."""

    low: float | None
    high: float | None
    kind: str = "threshold"
    publishes_band: bool = False

    @classmethod
    def of(cls, rule: SignalRule, every: int) -> "Threshold | None":
        if rule.threshold is None:
            return None
        return cls(rule.threshold.below, rule.threshold.above)

    def band(self, start: int, baseline: Baseline) -> Band:
        return Band(self.low, None, self.high)

    def learn(self, start: int, value: float, baseline: Baseline) -> None:
        """There is nothing to learn."""


@dataclass(frozen=True)
class Seasonal:
    """A band around what the same slot of the day or week brought before.

    Per slot the mean and variance of all ordinary windows (Welford, Technometrics 1962). The half width is
    `deviations` standard deviations, the slot's own pooled with that of all slots while the slot has seen few
    seasons, so that two equal values do not make a band of no width.
    """

    season: int
    every: int
    deviations: float
    warmup: int
    side: str
    kind: str = "seasonal"
    publishes_band: bool = True

    @classmethod
    def of(cls, rule: SignalRule, every: int) -> "Seasonal | None":
        limit = rule.seasonal
        if limit is None:
            return None
        return cls(SEASONS[limit.season], every, limit.deviations, limit.warmup, limit.side)

    def _slot(self, start: int) -> str:
        return str(start % self.season // self.every)

    def band(self, start: int, baseline: Baseline) -> Band:
        slot = baseline.get(self._slot(start))
        if slot is None or slot[0] < self.warmup:
            return Band()
        count, mean, squares = slot
        pooled_count, _, pooled_squares = baseline["all"]
        own, pooled = squares / max(1.0, count - 1), pooled_squares / max(1.0, pooled_count)
        trust = count / (count + 10.0)
        width = self.deviations * sqrt(trust * own + (1 - trust) * pooled)
        low = mean - width if self.side != "above" else None
        high = mean + width if self.side != "below" else None
        return Band(low, mean, high)

    def learn(self, start: int, value: float, baseline: Baseline) -> None:
        slot = baseline.setdefault(self._slot(start), [0.0, 0.0, 0.0])
        before = value - slot[1]
        slot[0] += 1
        slot[1] += before / slot[0]
        residual = before * (value - slot[1])
        slot[2] += residual
        pooled = baseline.setdefault("all", [0.0, 0.0, 0.0])
        pooled[0] += 1 if slot[0] > 1 else 0
        pooled[2] += residual


DETECTORS: tuple[type[Any], ...] = (Threshold, Seasonal)


def detector(rule: SignalRule, every: int) -> Detector:
    """The detector of a rule: the first in DETECTORS that knows its kind."""
    for kind in DETECTORS:
        found = kind.of(rule, every)
        if found is not None:
            return found
    raise AssertionError(f"no detector for rule {rule.id}")
