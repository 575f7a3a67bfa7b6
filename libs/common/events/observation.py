"""Observations: the value of a KPI over one window of one series, as it was known at one moment."""

from typing import Any, Literal

from pydantic import Field

from libs.common.events.event import Event, Moment, Series

Status = Literal["provisional", "final", "retracted"]
Severity = Literal["info", "warning", "critical"]


class OffsetRange(Event):
    """Where the events of a window lie in one partition of the source's topic: first to last, both included.

    The window's events are those in its ranges whose event time lies in the window, that satisfy the KPI's
    `where`, that belong to the series and that were not set aside as too late (`detector.late`).
    """

    partition: int
    first: int
    last: int


class Observation(Event):
    """One revision of one value on `kpi.observations` (Avro, `OBSERVATION_SCHEMA`)."""

    kpi: str
    kpi_version: int
    series: Series = Field(default_factory=dict)
    series_key: str = ""
    window_start: Moment
    window_end: Moment
    """Windows are closed-open: [window_start, window_end)."""
    value: float | None
    """None where SQL would say NULL, or when retracted."""
    count: int
    """Events in the window after `where`."""
    revision: int
    """1, 2, 3 … per (kpi, kpi_version, series_key, window_start): every publication has its own."""
    status: Status
    watermark: Moment | None = None
    completeness: float | None = None
    """Share of the source's partitions whose watermark has passed the window's end, 0 to 1."""
    assessed: int = 0
    """Events of the window on which every rule that applies could be judged."""
    suspect: int = 0
    """Events of the window that break at least one rule."""
    worst: Severity | None = None
    """The worst severity among the rules broken in the window."""
    offsets: list[OffsetRange] = Field(default_factory=list)
    schema_ids: list[int] = Field(default_factory=list)
    """Registry ids of the schemas that the window's events were written with."""
    recorded_at: Moment
    traceparent: str | None = None
    measures: dict[str, float | None] = Field(default_factory=dict)
    """Further values of the same window, by the names that the KPI gives them."""


_MOMENT = {"type": "long", "logicalType": "timestamp-millis"}

OBSERVATION_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Observation",
    "namespace": "sextant",
    "fields": [
        {"name": "version", "type": "int", "default": 1},
        {"name": "kpi", "type": "string"},
        {"name": "kpi_version", "type": "int"},
        {"name": "series", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "series_key", "type": "string"},
        {"name": "window_start", "type": _MOMENT},
        {"name": "window_end", "type": _MOMENT},
        {"name": "value", "type": ["null", "double"], "default": None},
        {"name": "count", "type": "long"},
        {"name": "revision", "type": "int"},
        {"name": "status", "type": "string"},
        {"name": "watermark", "type": ["null", _MOMENT], "default": None},
        {"name": "completeness", "type": ["null", "double"], "default": None},
        {"name": "assessed", "type": "long", "default": 0},
        {"name": "suspect", "type": "long", "default": 0},
        {"name": "worst", "type": ["null", "string"], "default": None},
        {
            "name": "offsets",
            "default": [],
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "OffsetRange",
                    "fields": [
                        {"name": "partition", "type": "int"},
                        {"name": "first", "type": "long"},
                        {"name": "last", "type": "long"},
                    ],
                },
            },
        },
        {"name": "schema_ids", "type": {"type": "array", "items": "int"}, "default": []},
        {"name": "recorded_at", "type": _MOMENT},
        {"name": "traceparent", "type": ["null", "string"], "default": None},
        {"name": "measures", "type": {"type": "map", "values": ["null", "double"]}, "default": {}},
    ],
}


class Expectation(Event):
    """What a seasonal rule expected of one window, published on `kpi.expectations` beside the observation."""

    kpi: str
    kpi_version: int
    series_key: str
    rule: str
    window_start: Moment
    window_end: Moment
    low: float | None
    middle: float | None
    high: float | None
    """None while the baseline is still warming up."""
    recorded_at: Moment


class VersionReady(Event):
    """One merge partition has all that it had of the version before: a version that is ready in all is served."""

    kpi: str
    kpi_version: int
    partition: int
    partitions: int
    """Merge partitions there are."""
    recorded_at: Moment


class LateEvents(Event):
    """Events that came after a window of theirs had closed for good: counted, and in none of its values."""

    kpi: str
    kpi_version: int
    source: str
    series_key: str
    window_start: Moment
    """Start of the window (or pane, or session) that they belong to."""
    closed_to: Moment | None = None
    """Windows that end up to then were closed when they came. Sliding windows that end later have them; of all other
    kinds, and where it is not given, no window does."""
    partition: int
    first: int
    last: int
    """Offsets of the first and last of them in the partition."""
    count: int
    recorded_at: Moment
