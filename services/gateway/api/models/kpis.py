"""KPIs, their observations and expectations."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from libs.common.events import Series, Severity, Status
from services.gateway.api.models.common import Answer, Paged, StreamPosition, example
from services.gateway.api.models.governance import LeftOut

OBSERVATION_EXAMPLE = {
    "kpi": "cancellation_rate",
    "kpi_version": 1,
    "series": {"origin": "EWR"},
    "series_key": "origin=EWR",
    "window_start": "2013-02-08T17:00:00Z",
    "window_end": "2013-02-08T18:00:00Z",
    "value": 0.41,
    "count": 29,
    "revision": 2,
    "status": "final",
    "watermark": "2013-02-08T18:10:00Z",
    "completeness": 1.0,
    "assessed": 29,
    "suspect": 3,
    "worst": "warning",
    "measures": {"flights": 29.0},
    "recorded_at": "2026-11-24T10:00:01Z",
}
_POSITION = {"channel": "observations/cancellation_rate", "cursor": "eyJ2IjoxfQ"}
_KPI = {
    "id": "cancellation_rate",
    "title": "Cancellation rate",
    "description": "",
    "owner": "network-operations",
    "unit": "ratio",
    "good": "down",
    "objective": "punctuality",
    "source": "departures",
    "latency_class": "live",
    "engine": "embedded",
    "window": {"kind": "tumbling", "length_seconds": 3600, "every_seconds": None},
    "by": ["origin"],
    "departments": [],
    "version": 1,
    "freshness": {
        "last_window_end": "2013-02-08T18:00:00Z",
        "watermark": "2013-02-08T18:10:00Z",
        "recorded_at": "2026-11-24T10:00:01Z",
        "source_fresh": True,
    },
    "quality": {"completeness": 1.0, "assessed": 29, "suspect": 3, "worst": "warning", "source_score": 0.97},
    "latest": [{**OBSERVATION_EXAMPLE, "trend": [{"at": "2013-02-08T17:00:00Z", "value": 0.41}]}],
    "series_total": 3,
    "open_signals": 1,
    "stream": _POSITION,
}


class ObservationItem(Answer):
    """One revision of one value. Dimension values that the asker may not see are masked, in both forms alike."""

    kpi: str
    kpi_version: int
    series: Series
    series_key: str
    """Names the series in `explain` and in filters, masked values included."""
    window_start: datetime
    window_end: datetime
    value: float | None
    count: int
    revision: int
    status: Status
    watermark: datetime | None
    completeness: float | None
    assessed: int
    suspect: int
    worst: Severity | None
    measures: dict[str, float | None]
    """Further values of the same window, by the names that the KPI gives them."""
    recorded_at: datetime

    model_config = example(**OBSERVATION_EXAMPLE)


class TrendPoint(Answer):
    at: datetime
    """Start of the window."""
    value: float | None


class LatestItem(ObservationItem):
    """The newest window of one series, and the windows before it, oldest first."""

    trend: list[TrendPoint]

    model_config = example(**OBSERVATION_EXAMPLE, trend=[{"at": "2013-02-08T17:00:00Z", "value": 0.41}])


class WindowShape(Answer):
    kind: Literal["tumbling", "sliding", "session", "calendar", "each"]
    length_seconds: int | None
    """Of a session: the gap that ends it. None where the calendar says it, and for single events."""
    every_seconds: int | None
    """Of a sliding window: the distance of one start to the next."""
    calendar: str | None = None
    """Of a calendar window: day, business_day, week, month, quarter or year, local to `zone`."""
    zone: str | None = None


class KpiFreshness(Answer):
    """How old the newest value is, in event time and in ours."""

    last_window_end: datetime | None
    watermark: datetime | None
    recorded_at: datetime | None
    source_fresh: bool | None


class KpiQuality(Answer):
    """What the newest values rest on, over the series shown."""

    completeness: float | None
    assessed: int
    suspect: int
    worst: Severity | None
    source_score: float | None


class KpiSummary(Answer):
    """A KPI with its present values."""

    id: str
    title: str
    description: str
    owner: str
    unit: str
    good: Literal["up", "down", "none"]
    objective: str | None
    source: str | None
    over: dict[str, str] = Field(default_factory=dict)
    """Instead of a source: the KPIs that this one is computed from, by the names it gives them."""
    latency_class: str
    engine: Literal["embedded", "flink"]
    window: WindowShape
    by: list[str]
    departments: list[str]
    version: int
    """Of the values shown."""
    next_version: int | None = None
    """The definition was changed, and this version has not caught up yet."""
    freshness: KpiFreshness
    quality: KpiQuality
    latest: list[LatestItem]
    """The series with the most events in their newest window first, up to `series_limit`."""
    series_total: int
    open_signals: int
    stream: StreamPosition | None

    model_config = example(**_KPI)


class KpiList(Answer):
    items: list[KpiSummary]
    as_of: datetime

    model_config = example(items=[_KPI], as_of="2026-11-24T10:00:02Z")


class SignalRuleShown(Answer):
    id: str
    kind: Literal["threshold", "seasonal"]
    severity: Severity
    sustained_after: int
    min_count: int
    limits: dict[str, Any]


class KpiParity(Answer):
    """How many settled windows of this version were compared with plain SQL over their events."""

    windows: int
    differing: int
    left_out: dict[LeftOut, int]
    """Windows that were not compared, by reason."""
    checked_to: datetime | None
    note: str
    """Why the KPI is not compared; empty if it is."""


class KpiDetail(KpiSummary):
    """A KPI, with its definition."""

    parity: KpiParity | None
    """Null until the first comparison."""

    where: str | None
    value: str
    lateness_seconds: int
    purpose: str
    signals: list[SignalRuleShown]
    definition: dict[str, Any]
    """The definition in force, as applied; expressions that hold values the asker may not see are masked."""

    model_config = example(
        **_KPI,
        parity={
            "windows": 8755,
            "differing": 0,
            "left_out": {},
            "checked_to": "2013-02-08T17:00:00Z",
            "note": "",
        },
        where=None,
        value="avg(case when cancelled then 1.0 else 0.0 end)",
        lateness_seconds=7200,
        purpose="operations",
        signals=[
            {
                "id": "unusual",
                "kind": "seasonal",
                "severity": "warning",
                "sustained_after": 3,
                "min_count": 10,
                "limits": {"season": "week", "deviations": 4.0, "warmup": 3, "side": "above"},
            }
        ],
        definition={"kind": "kpi", "id": "cancellation_rate"},
    )


class ExpectationItem(Answer):
    """The band in which a rule expected the value; all null while it still learns."""

    series_key: str
    rule: str
    window_start: datetime
    window_end: datetime
    low: float | None
    middle: float | None
    high: float | None


class ObservationPage(Paged):
    """Observations by window, newest first, and the expected band over the same windows."""

    items: list[ObservationItem]
    expectations: list[ExpectationItem]
    series: list[str]
    """The series keys on this page."""
    stream: StreamPosition | None

    model_config = example(
        items=[OBSERVATION_EXAMPLE],
        expectations=[
            {
                "series_key": "origin=EWR", "rule": "unusual", "window_start": "2013-02-08T17:00:00Z",
                "window_end": "2013-02-08T18:00:00Z", "low": 0.0, "middle": 0.02, "high": 0.11,
            }
        ],
        series=["origin=EWR"],
        stream=_POSITION,
        next_page_token=None,
        as_of="2026-11-24T10:00:02Z",
    )  # fmt: skip
