"""KPIs: values over windows, and when a series of one is out of its limits."""

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from libs.common.catalog.definition import Definition, Identifier, Named
from libs.common.catalog.duration import Duration
from libs.common.catalog.zone import zone_of
from libs.common.events import Severity

KINDS: tuple[Literal["tumbling", "sliding", "session", "calendar", "each"], ...] = (
    "tumbling", "sliding", "session", "calendar", "each",
)  # fmt: skip


class Window(Definition):
    """Exactly one of tumbling, sliding (with `every`), session (the gap), calendar and each. Windows are [start, end).

    Times of tumbling and sliding windows are aligned to the epoch (UTC), moved on by `offset`. Calendar windows
    are local: they begin and end at midnight in `zone` and are as long as the calendar says, daylight saving
    included. `each: event` makes every event a value of its own: no aggregation, no state.
    """

    tumbling: Duration | None = None
    sliding: Duration | None = None
    every: Duration | None = None
    offset: Duration = timedelta(0)
    session: Duration | None = None
    calendar: Literal["day", "business_day", "week", "month", "quarter", "year"] | None = None
    """A business day takes in the days without business before it: Monday's begins when Friday ends."""
    zone: str = "UTC"
    """IANA name of the time zone of calendar windows."""
    week_starts: Literal["monday", "sunday"] = "monday"
    year_starts: int = Field(default=1, ge=1, le=12)
    """Month in which the (fiscal) year begins; quarters follow it."""
    holidays: tuple[date, ...] = ()
    """Days without business, beside Saturdays and Sundays."""
    each: Literal["event"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Window":
        chosen = [name for name in KINDS if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}, not {' and '.join(chosen) or 'none'}")
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

    @property
    def kind(self) -> Literal["tumbling", "sliding", "session", "calendar", "each"]:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _options(self) -> "Window":
        step = self.tumbling or self.every
        if self.offset and step is None:
            raise ValueError("`offset` goes with tumbling and sliding windows")
        if step is not None and self.offset >= step:
            raise ValueError("`offset` is shorter than the distance between two windows")
        # A definition written out in full names its defaults too: only what differs from them was asked for.
        options = ("zone", "week_starts", "year_starts", "holidays")
        alone = [name for name in options if getattr(self, name) != type(self).model_fields[name].default]
        if alone and self.calendar is None:
            raise ValueError(f"{', '.join(sorted(alone))} goes with calendar windows")
        if self.calendar is not None:
            zone_of(self.zone)
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


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Enrichment(Definition):
    """Columns of a reference: of the same key the last row that was known when the event was combined.

    If the reference has versions (`event_time`), the one that was valid at the time of the event. An event without a
    row gets nulls.
    """

    reference: Identifier
    on: tuple[Name, ...]
    """The event's fields that hold the reference's key, in its order."""
    prefix: Name
    """The reference's field `model` is `<prefix>_model` in the KPI's expressions."""


class Kpi(Named):
    """A value over windows of a source's events, or over the values of other KPIs."""

    kind: Literal["kpi"] = "kpi"
    objective: Identifier | None = None
    latency_class: Literal["live", "near", "hourly", "daily"] = "live"
    source: Identifier | None = None
    over: dict[Name, Identifier] = Field(default_factory=dict)
    """Instead of `source`: names for other KPIs, whose final values of the same window `value` aggregates per
    series of `by`, such as `sum(late) / sum(flights)`. They have this KPI's window and at least its `by`."""
    enrich: tuple[Enrichment, ...] = ()
    let: dict[Name, str] = Field(default_factory=dict)
    """Derived fields: SQL over the fields, the enriched ones and the derived ones before."""
    where: str | None = None
    """SQL predicate; events on which it is not true are left out."""
    value: str
    """SQL: arithmetic over aggregates; of a KPI for `each: event`, a number of one event."""
    measures: dict[Name, str] = Field(default_factory=dict)
    """Further values of the same window, published beside `value`: `{flights: count(*)}`."""
    by: tuple[str, ...] = ()
    window: Window
    lateness: Duration = timedelta(0)
    """How long after its end a window still takes late events, in event time."""
    forget_after: Duration = Field(default=timedelta(days=90), ge=timedelta(hours=1))
    """A series that is silent for so long, in event time, is forgotten: its signal models, and its place among the
    latest values. Its history stays; when it comes again it learns anew."""
    engine: Literal["embedded", "flink"] = "embedded"
    """Where it is computed: in the detector, or as a Flink job that the detector submits."""
    early: Duration | None = None
    """How often a value in progress is published; by the latency class if not given. `0s`: never."""
    unit: str = ""
    good: Literal["up", "down", "none"] = "none"
    purpose: str = "operations"
    """What it is used for; each field it reads must allow it."""
    departments: tuple[str, ...] = ()
    """Who may see it; () is everybody who may read."""
    signals: tuple[SignalRule, ...] = ()

    @model_validator(mode="after")
    def _one_origin(self) -> "Kpi":
        if (self.source is None) == (not self.over):
            raise ValueError("give exactly one of `source` and `over`")
        if self.over and (self.let or self.where or self.enrich or self.window.each):
            raise ValueError("`let`, `where`, `enrich` and `each` go with `source`: values of KPIs are final")
        if self.window.each and (self.measures or self.signals):
            raise ValueError("`measures` and `signals` go with windows, not with `each: event`")
        return self

    @property
    def early_seconds(self) -> float | None:
        """Least time between two values in progress of a window; None: never."""
        usual = {"live": 1.0, "near": 10.0, "hourly": 60.0, "daily": 60.0}
        seconds = usual[self.latency_class] if self.early is None else self.early.total_seconds()
        return seconds or None
