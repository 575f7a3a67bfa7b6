"""The kinds of definition in a workspace: what a file may say.

Each class forbids what it does not know, so that a misspelt key is an error and never a silent default.
`libs.common.catalog.check` judges definitions against each other.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from libs.common.catalog.duration import Duration
from libs.common.events import Severity

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", examples=["on_time_departures"])]
FieldType = Literal["string", "int", "long", "double", "boolean", "timestamp", "date"]
Classification = Literal["public", "internal", "confidential", "personal", "sensitive"]


class Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Named(Definition):
    """What every file says first."""

    id: Identifier
    title: str
    description: str = ""
    owner: Identifier
    """The team that answers for it."""


# --- sources ---------------------------------------------------------------------------------------------


class SourceField(Definition):
    """One field of a source's events."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    type: FieldType
    nullable: bool = False
    classification: Classification = "internal"
    purposes: tuple[str, ...] | None = None
    """What the field may be used for; None allows every purpose, () none."""
    description: str = ""


class Watermark(Definition):
    """How far events may be out of order, and when a silent partition no longer holds windows back."""

    delay: Duration = timedelta(0)
    idle: Duration = timedelta(seconds=60)


class Freshness(Definition):
    expect_every: Duration
    """Wall-clock time without an arrival after which the source is not fresh."""


class HttpPull(Definition):
    """Poll a JSON endpoint with a cursor."""

    url: str
    every: Duration = timedelta(seconds=30)
    records: str = ""
    """Dotted path to the list of records in the answer; empty: the answer is the list."""
    cursor_parameter: str
    """Query parameter that carries the cursor."""
    cursor_field: str
    """Dotted path in the answer (`meta.next`) or, with `cursor_of: record`, the field of the last record."""
    cursor_of: Literal["answer", "record"] = "answer"
    page_size: int = Field(default=500, ge=1, le=10_000)
    page_size_parameter: str | None = None


class Source(Named):
    """A stream of events, or (`reference`) a table of reference rows that is the last row per key."""

    kind: Literal["source"] = "source"
    fields: tuple[SourceField, ...] = Field(min_length=1)
    event_id: str | None = None
    """The field that names an event: the same id again is a duplicate. References need none."""
    event_time: str | None = None
    """The timestamp field that says when it happened. References need none."""
    key: tuple[str, ...] = ()
    """The fields that choose the partition; of a reference, its primary key."""
    partitions: int = Field(default=4, ge=1, le=64)
    reference: bool = False
    watermark: Watermark = Watermark()
    freshness: Freshness | None = None
    compatibility: Literal["BACKWARD", "FORWARD", "FULL", "NONE"] = "BACKWARD"
    on_malformed: Literal["refuse", "dead_letter"] = "refuse"
    """Refuse a malformed record to its sender, or accept it as a dead letter."""
    pull: HttpPull | None = None

    @property
    def field_types(self) -> dict[str, str]:
        """Name → type, as the expression language needs them."""
        return {field.name: field.type for field in self.fields}

    def field(self, name: str) -> SourceField | None:
        return next((field for field in self.fields if field.name == name), None)

    def avro_schema(self) -> dict[str, Any]:
        """The Avro record that the source's events are written as; nullable fields default to null."""
        return {
            "type": "record",
            "name": self.id.replace("-", "_"),
            "namespace": "sextant.events",
            "fields": [_avro_field(field) for field in self.fields],
        }


_AVRO: dict[str, Any] = {
    "timestamp": {"type": "long", "logicalType": "timestamp-millis"},
    "date": {"type": "int", "logicalType": "date"},
}


def _avro_field(field: SourceField) -> dict[str, Any]:
    kind = _AVRO.get(field.type, field.type)
    if field.nullable:
        return {"name": field.name, "type": ["null", kind], "default": None}
    return {"name": field.name, "type": kind}


# --- KPIs ------------------------------------------------------------------------------------------------


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
        if self.every is not None and self.sliding is not None:
            if self.every > self.sliding:
                raise ValueError("`every` is longer than the window: events between windows would be lost")
        if any(length is not None and length <= timedelta(0) for length in (self.tumbling, self.every, self.session)):
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


# --- quality rules ---------------------------------------------------------------------------------------


class RangeCheck(Definition):
    field: str
    min: float | None = None
    max: float | None = None


class NotNullCheck(Definition):
    field: str


class PatternCheck(Definition):
    field: str
    matches: str
    """Regular expression that the whole value must match."""


class ReferenceCheck(Definition):
    field: str
    in_: Identifier = Field(alias="in")
    """The reference source whose key must hold the value."""
    null: Literal["violates", "ignored"] = "ignored"

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Check(Definition):
    """Exactly one of range, not_null, pattern and reference."""

    range: RangeCheck | None = None
    not_null: NotNullCheck | None = None
    pattern: PatternCheck | None = None
    reference: ReferenceCheck | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Check":
        if sum(value is not None for value in (self.range, self.not_null, self.pattern, self.reference)) != 1:
            raise ValueError("give exactly one of range, not_null, pattern and reference")
        return self


class IncidentRule(Definition):
    """Open an incident when the share of violations over a period of event time goes above a limit."""

    open_above: float = Field(default=0.05, ge=0, le=1)
    over: Duration = timedelta(hours=1)
    min_events: int = Field(default=20, ge=1)


class Rule(Named):
    """What must be true of each event of a source."""

    kind: Literal["rule"] = "rule"
    source: Identifier
    where: str | None = None
    check: Check
    severity: Severity = "warning"
    incident: IncidentRule = IncidentRule()


# --- strategy --------------------------------------------------------------------------------------------


class KeyResult(Definition):
    id: Identifier
    title: str
    kpi: Identifier
    series: dict[str, str] = Field(default_factory=dict)
    """Only the KPI's series with these dimension values; {} takes them all, weighted by count."""
    baseline: float
    """The value at which progress is 0."""
    target: float
    """The value at which progress is 1."""
    over: Duration = timedelta(days=7)
    """The stretch of event time, back from the newest final window, that is averaged."""


class Objective(Named):
    kind: Literal["objective"] = "objective"
    framework: Literal["okr", "bsc"] = "okr"
    perspective: Literal["financial", "customer", "internal_process", "learning_and_growth"] | None = None
    """Balanced Scorecard only, and required there."""
    key_results: tuple[KeyResult, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _perspective(self) -> "Objective":
        if (self.framework == "bsc") != (self.perspective is not None):
            raise ValueError("`perspective` goes with framework bsc, and is required there")
        return self


class PlaybookTrigger(Definition):
    kpi: Identifier
    rule: Identifier | None = None
    """Only this entry of the KPI's `signals`."""
    verdict: Literal["undecided", "transient", "sustained"] = "sustained"


class PlaybookStep(Definition):
    id: Identifier
    title: str
    instruction: str = ""


class Playbook(Named):
    kind: Literal["playbook"] = "playbook"
    opens_on: tuple[PlaybookTrigger, ...] = Field(min_length=1)
    steps: tuple[PlaybookStep, ...] = Field(min_length=1)


class EscalationStep(Definition):
    """Tell somebody, unless the signal was acknowledged before."""

    after: Duration
    """Wall-clock time since the escalation began."""
    to: str
    via: Literal["log", "webhook"] = "log"
    webhook: str | None = None
    """The address, or the name of the environment variable that holds it (`$DUTY_WEBHOOK`)."""

    @model_validator(mode="after")
    def _address(self) -> "EscalationStep":
        if (self.via == "webhook") != (self.webhook is not None):
            raise ValueError("`webhook` goes with via: webhook, and is required there")
        return self


class Team(Definition):
    kind: Literal["team"] = "team"
    id: Identifier
    title: str
    description: str = ""
    department: str
    members: tuple[str, ...] = ()
    escalate_on: Literal["undecided", "sustained"] = "sustained"
    escalation: tuple[EscalationStep, ...] = ()


# --- policies --------------------------------------------------------------------------------------------

Transform = Literal["clear", "pseudonym", "redact"]
Permission = Literal["read", "annotate", "acknowledge", "decide", "ingest", "configure", "steward", "audit"]


class MaskRule(Definition):
    """What each role sees of a class of data; a role that is not named sees `otherwise`."""

    classification: Classification
    roles: dict[str, Transform] = Field(default_factory=dict)
    otherwise: Transform = "redact"


class RetentionRule(Definition):
    source: Identifier
    keep: Duration
    """Counted from when the archive recorded the event."""


class RoleRule(Definition):
    role: Identifier
    may: tuple[Permission, ...]


class Policy(Named):
    """Exactly one of masks, retention and roles."""

    kind: Literal["policy"] = "policy"
    masks: tuple[MaskRule, ...] = ()
    retention: tuple[RetentionRule, ...] = ()
    roles: tuple[RoleRule, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Policy":
        if sum(bool(value) for value in (self.masks, self.retention, self.roles)) != 1:
            raise ValueError("give exactly one of masks, retention and roles")
        return self


AnyDefinition = Annotated[
    Source | Kpi | Rule | Objective | Playbook | Team | Policy, Field(discriminator="kind")
]
DEFINITION: TypeAdapter[AnyDefinition] = TypeAdapter(AnyDefinition)
"""Parses any definition by its `kind`."""

FOLDERS = {
    "source": "sources",
    "kpi": "kpis",
    "rule": "rules",
    "objective": "objectives",
    "playbook": "playbooks",
    "team": "teams",
    "policy": "policies",
}
"""kind → folder of the workspace."""
