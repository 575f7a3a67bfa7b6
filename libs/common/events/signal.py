"""Signals: a series left its limits, for how long, and whether that is noise or a change."""

from typing import Literal

from libs.common.events.event import Event, Moment, Series
from libs.common.events.observation import Severity

Verdict = Literal["undecided", "transient", "sustained", "quality_artefact"]


class SignalChanged(Event):
    """The whole signal after one change, on `signals`; the last one per `id` is its present state."""

    id: str
    """uuid5 of kpi, version, series, rule and first window, so that a replay names it alike."""
    change: Literal["opened", "updated", "closed"]
    kpi: str
    kpi_version: int
    series: Series
    series_key: str
    rule: str
    """The id of the entry in the KPI's `signals`."""
    kind: Literal["threshold", "seasonal"]
    severity: Severity
    verdict: Verdict
    first_window: Moment
    """Start of the first window beyond the limits."""
    last_window: Moment
    """Start of the last window that the signal speaks of."""
    event_at: Moment
    """End of the first window beyond: when the fact was complete in event time."""
    windows: int
    """Consecutive windows beyond the limits so far."""
    value: float | None
    """The value in `last_window`."""
    peak: float | None
    """The value furthest beyond the limits."""
    low: float | None = None
    high: float | None = None
    """The limits that applied in `last_window`; None where a side is open."""
    revision: int = 1
    """The observation's revision in `last_window`."""
    suspect_share: float | None = None
    """Share of suspect events over the signal's windows, None if nothing was assessed."""
    reason: str = ""
    """One sentence for people: what was seen against what was expected."""
    detected_at: Moment
    """When the signal was opened."""
    recorded_at: Moment
