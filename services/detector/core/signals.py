"""Signals: opened by the first window beyond its limits, sustained or transient by how long that lasts.

Baselines learn only from windows inside their limits and outside a signal, so that an incident does not become
the new normal.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from libs.common.catalog import Kpi, SignalRule
from libs.common.events import Expectation, Observation, SignalChanged, Verdict
from services.detector.core.limits import Band, Baseline, Detector, detector
from services.detector.core.windows import distance, windows_of

ARTEFACT_SHARE = 0.5
"""A signal more than half of whose assessed events break a rule speaks of the data, not of the world."""


@dataclass
class SeriesState:
    """One rule on one series; JSON through `asdict`."""

    last: int | None = None
    """Start (ms) of the newest window seen: older ones are revisions, already judged."""
    baseline: Baseline = field(default_factory=dict)
    signal: dict[str, object] | None = None
    """The open signal, as its last event."""
    suspect: int = 0
    assessed: int = 0
    unheard: bool = False
    """Nobody was told of the open signal yet."""


@dataclass(frozen=True)
class RuleOnKpi:
    """One signal rule of one version of a KPI."""

    kpi: Kpi
    version: int
    rule: SignalRule
    detector: Detector

    @classmethod
    def of(cls, kpi: Kpi, version: int, rule: SignalRule) -> "RuleOnKpi":
        return cls(kpi, version, rule, detector(rule, distance(windows_of(kpi))))

    @property
    def name(self) -> str:
        return f"{self.kpi.id}@{self.version}/{self.rule.id}"


def observe(
    rule: RuleOnKpi, state: SeriesState, seen: Observation, now: datetime
) -> tuple[Expectation | None, SignalChanged | None]:
    """Hold one final observation against the rule; changes `state` in place.

    A revision of an older window is not judged again: the model saw it as it was known then.
    """
    start = int(seen.window_start.timestamp() * 1000)
    if state.last is not None and start <= state.last:
        return None, None
    state.last = start
    band = rule.detector.band(start, state.baseline)
    expectation = _expectation(rule, seen, band, now) if rule.detector.publishes_band else None
    if seen.value is None or seen.count < rule.rule.min_count:
        return expectation, None
    beyond = band.beyond(seen.value)
    if state.signal is None:
        if beyond == 0.0:
            rule.detector.learn(start, seen.value, state.baseline)
            return expectation, None
        state.suspect, state.assessed = seen.suspect, seen.assessed
        change = _opened(rule, seen, band, now)
    else:
        state.suspect, state.assessed = state.suspect + seen.suspect, state.assessed + seen.assessed
        change = _continued(rule, state, seen, band, beyond, now)
    state.signal = None if change.change == "closed" else change.model_dump(mode="json")
    return expectation, change


def told(state: SeriesState, change: SignalChanged, *, served: bool) -> SignalChanged | None:
    """What is told of a change, of a version that is `served` or still catches up.

    A version that catches up tells nothing; what of its signals is open when it is served is told as opened then.
    """
    unheard, state.unheard = state.unheard or change.change == "opened", False
    if not served:
        state.unheard = unheard and state.signal is not None
        return None
    if unheard and change.change == "updated":
        return change.model_copy(update={"change": "opened"})
    return None if unheard and change.change == "closed" else change


def withdrawn(state: SeriesState, now: datetime) -> SignalChanged | None:
    """The end of a signal whose version of a KPI is over."""
    if state.signal is None or state.unheard:
        return None
    before = SignalChanged.model_validate(state.signal)
    verdict: Verdict = "transient" if before.verdict == "undecided" else before.verdict
    return before.model_copy(update={"change": "closed", "verdict": verdict, "recorded_at": now})


def _expectation(rule: RuleOnKpi, seen: Observation, band: Band, now: datetime) -> Expectation:
    return Expectation.build(
        kpi=seen.kpi,
        kpi_version=seen.kpi_version,
        series_key=seen.series_key,
        rule=rule.rule.id,
        window_start=seen.window_start,
        window_end=seen.window_end,
        low=band.low,
        middle=band.middle,
        high=band.high,
        recorded_at=now,
    )


def _opened(rule: RuleOnKpi, seen: Observation, band: Band, now: datetime) -> SignalChanged:
    name = f"sextant:{rule.name}:{seen.series_key}:{seen.window_start.isoformat()}"
    share = seen.suspect / seen.assessed if seen.assessed else None
    return SignalChanged.build(
        id=str(uuid5(NAMESPACE_URL, name)),
        change="opened",
        kpi=seen.kpi,
        kpi_version=seen.kpi_version,
        series=seen.series,
        series_key=seen.series_key,
        rule=rule.rule.id,
        kind=rule.detector.kind,
        severity=rule.rule.severity,
        verdict=_verdict(1, rule.rule.sustained_after, share),
        first_window=seen.window_start,
        last_window=seen.window_start,
        event_at=seen.window_end,
        windows=1,
        value=seen.value,
        peak=seen.value,
        low=band.low,
        high=band.high,
        revision=seen.revision,
        suspect_share=share,
        reason=_reason(rule, seen, band),
        detected_at=now,
        recorded_at=now,
    )


def _continued(
    rule: RuleOnKpi, state: SeriesState, seen: Observation, band: Band, beyond: float, now: datetime
) -> SignalChanged:
    before = SignalChanged.model_validate(state.signal)
    if beyond == 0.0:
        verdict: Verdict = "transient" if before.verdict == "undecided" else before.verdict
        return before.model_copy(update={"change": "closed", "verdict": verdict, "recorded_at": now})
    windows = before.windows + 1
    share = state.suspect / state.assessed if state.assessed else None
    decided = _verdict(windows, rule.rule.sustained_after, share)
    return before.model_copy(
        update={
            "change": "updated",
            "verdict": before.verdict if decided == "undecided" else decided,
            "last_window": seen.window_start,
            "windows": windows,
            "value": seen.value,
            "peak": _further(before, seen, band),
            "low": band.low,
            "high": band.high,
            "revision": seen.revision,
            "suspect_share": share,
            "reason": _reason(rule, seen, band),
            "recorded_at": now,
        }
    )


def _verdict(windows: int, sustained_after: int, suspect_share: float | None) -> Verdict:
    if windows < sustained_after:
        return "undecided"
    if suspect_share is not None and suspect_share > ARTEFACT_SHARE:
        return "quality_artefact"
    return "sustained"


def _further(before: SignalChanged, seen: Observation, band: Band) -> float | None:
    """The value furthest beyond its limits so far."""
    if before.peak is None or seen.value is None:
        return seen.value
    former = Band(before.low, None, before.high)
    return seen.value if abs(band.beyond(seen.value)) >= abs(former.beyond(before.peak)) else before.peak


def _reason(rule: RuleOnKpi, seen: Observation, band: Band) -> str:
    assert seen.value is not None
    above = band.high is not None and seen.value > band.high
    limit = band.high if above else band.low
    assert limit is not None
    side = "above" if above else "below"
    usual = "the limit" if rule.detector.kind == "threshold" else "what is usual for this hour, at most"
    if not above and rule.detector.kind == "seasonal":
        usual = "what is usual for this hour, at least"
    value, bound = (_figure(each, rule.kpi.unit) for each in (seen.value, limit))
    return f"{rule.kpi.title}: {value} is {side} {usual} {bound}"


def _figure(value: float, unit: str) -> str:
    """As people read it: a ratio is a percentage."""
    if unit in ("ratio", "share"):
        return f"{value * 100:.3g} %"
    return f"{value:.4g} {unit}".rstrip() if unit != "1" else f"{value:.4g}"
