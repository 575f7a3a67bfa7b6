"""Quality: incidents with an owner and a cause, and the health of each source."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from libs.common.events.event import Event, Moment
from libs.common.events.observation import Severity

Cause = Literal[
    "source_outage",
    "source_schema",
    "source_logic",
    "transport",
    "late",
    "clock",
    "unit",
    "reference_data",
    "our_code",
    "our_rule",
    "real_world_change",
]

IncidentKind = Literal["rule", "freshness", "parity", "ledger", "rate", "silence", "frozen", "personal"]


class Missing(BaseModel):
    """A record of a source's topic, or of `events.dead`, that the books and the archive do not agree on."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    why: Literal["not_archived", "not_in_books"]
    minute: Moment
    """Of arrival."""
    topic: str
    partition: int
    offset: int
    event_id: str | None = None
    """None where it has none, and where the field is personal or sensitive: the place leads to it."""
    receipt: str | None = None


class IncidentChanged(Event):
    """The whole incident after one change, on `quality.incidents`."""

    id: str
    change: Literal["opened", "updated", "acknowledged", "assigned", "resolved", "reopened"]
    source: str
    rule: str | None
    """The rule that was broken; the KPI whose values differ (parity); the field that stands still (frozen); field and
    kind of what was found (personal); else None."""
    kind: IncidentKind
    severity: Severity
    state: Literal["open", "acknowledged", "resolved"]
    owner: str
    """The team that answers for it."""
    assignee: str | None = None
    cause: Cause | None = None
    """Required to resolve."""
    violations: int = 0
    assessed: int = 0
    opened_at: Moment
    last_seen_at: Moment
    resolved_at: Moment | None = None
    summary: str = ""
    by: str = "quality"
    note: str = ""
    """What the person who made this change said of it."""
    missing: list[Missing] = Field(default_factory=list)
    """Of a ledger incident: the first of the records that it is about."""
    recorded_at: Moment


class HealthChanged(Event):
    """A source's health, on `quality.health`: three figures that are always shown together.

    What was not assessed never raises the score: a source of which nothing was assessed has score None.
    """

    source: str
    score: float | None
    """0 to 1; None is unknown, which is not healthy."""
    assessed_share: float
    """0 to 1: events on which every rule could be judged, of all events."""
    worst: Severity | None
    """Worst severity among open incidents."""
    fresh: bool | None
    """None until the first event."""
    last_event_at: Moment | None
    """Event time of the newest event."""
    last_arrival_at: Moment | None
    events: int
    """Events in the assessed period."""
    recorded_at: Moment
