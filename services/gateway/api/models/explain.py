"""Why a number is what it is."""

from datetime import datetime
from typing import Any

from services.gateway.api.models.common import Answer, example
from services.gateway.api.models.decisions import DECISION_EXAMPLE, DecisionDetail, DecisionItem
from services.gateway.api.models.kpis import OBSERVATION_EXAMPLE, ObservationItem
from services.gateway.api.models.signals import (
    LOOP_EXAMPLE,
    SIGNAL_EXAMPLE,
    LoopStamps,
    SignalItem,
    SignalListed,
)

_EXPLAINED = {
    "observation": OBSERVATION_EXAMPLE,
    "revisions": [OBSERVATION_EXAMPLE],
    "offsets": [{"partition": 0, "first": 120, "last": 180}],
    "events": {
        "source": "departures",
        "matched": 29,
        "count": 29,
        "agrees": True,
        "note": None,
        "late": 0,
        "outside": 0,
        "scanned": 61,
        "items": [
            {
                "partition": 0,
                "offset": 121,
                "event_time": "2013-02-08T17:04:00Z",
                "event_id": "2013-02-08-UA-1545",
                "key": "UA",
                "schema_id": 3,
                "receipt": "0b7f",
                "ingested_at": "2026-11-24T10:00:00Z",
                "trace_id": None,
                "data": {"carrier": "UA", "tailnum": None},
                "masked": ["tailnum"],
            }
        ],
        "next_page_token": None,
    },
    "parts": [],
    "schemas": [{"schema_id": 3, "subject": "events.departures-value", "version": 1, "contract_version": 1}],
    "definition": {
        "kind": "kpi",
        "id": "cancellation_rate",
        "version": 1,
        "text": "kind: kpi\nid: cancellation_rate\n",
        "applied_at": "2026-11-24T09:00:00Z",
        "applied_by": "operator",
    },
    "quality": {
        "assessed": 29,
        "suspect": 3,
        "suspect_share": 0.103,
        "completeness": 1.0,
        "worst": "warning",
        "rules": [
            {
                "rule": "known_aircraft",
                "title": "Aircraft known",
                "severity": "warning",
                "assessed": 84,
                "violations": 9,
            }
        ],
        "incidents": ["i7"],
    },
    "masks": {"tailnum": "redact"},
    "signals": [SIGNAL_EXAMPLE],
    "decisions": [DECISION_EXAMPLE],
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "as_of": "2026-11-24T10:00:02Z",
}


class OffsetSpan(Answer):
    """Offsets of one partition, both ends included."""

    partition: int
    first: int
    last: int


class RawEvent(Answer):
    """One event as it came, masked for the asker; `masked` names what was hidden or replaced."""

    partition: int
    offset: int
    event_time: datetime
    event_id: str | None
    key: str | None
    schema_id: int | None
    receipt: str | None
    ingested_at: datetime | None
    trace_id: str | None
    data: dict[str, Any]
    masked: list[str]


class ExplainedEvents(Answer):
    """The events that the number was made of, found again from the archive."""

    source: str
    matched: int | None
    """Events in the ranges and the window that satisfy the definition, late ones left out; null if uncounted."""
    count: int
    """What the observation says."""
    agrees: bool | None
    """matched = count; null if they cannot be compared, and `note` says why."""
    note: str | None
    late: int
    """Events that were set aside because every window they belong to had closed for good."""
    outside: int | None
    """Further events of the window: too late for it, or counted in a newer revision; null if uncounted."""
    scanned: int
    """Events read from the archive for the comparison."""
    items: list[RawEvent]
    next_page_token: str | None


class SchemaShown(Answer):
    """A schema that the window's events were written with."""

    schema_id: int
    subject: str
    version: int | None
    """In the registry; null if the registry did not answer."""
    contract_version: int | None
    """Of the source's definition."""


class DefinitionShown(Answer):
    kind: str
    id: str
    version: int
    text: str
    """YAML."""
    applied_at: datetime | None
    applied_by: str | None


class RuleVerdict(Answer):
    """What a rule found in the hours of event time that the window touches."""

    rule: str
    title: str
    severity: str
    assessed: int
    violations: int


class QualityShown(Answer):
    assessed: int
    suspect: int
    suspect_share: float | None
    completeness: float | None
    worst: str | None
    rules: list[RuleVerdict]
    incidents: list[str]
    """Ids of incidents of the source that were open when the value was recorded."""


class ObservationExplained(Answer):
    """Everything one number rests on, and everything that rests on it."""

    observation: ObservationItem
    revisions: list[ObservationItem]
    """All of this window, oldest first (up to `as_of`)."""
    offsets: list[OffsetSpan]
    events: ExplainedEvents | None
    """Null for a KPI over other KPIs: it is made of `parts`."""
    parts: list[ObservationItem]
    """Values of other KPIs that it was computed from, each with its own explanation one call away."""
    schemas: list[SchemaShown]
    definition: DefinitionShown | None
    quality: QualityShown
    masks: dict[str, str]
    """Field → how the asker sees it, where that is not clear."""
    signals: list[SignalItem]
    decisions: list[DecisionItem]
    trace_id: str | None
    as_of: datetime

    model_config = example(**_EXPLAINED)


class SignalExplained(Answer):
    """Why a signal was raised: the windows it speaks of, each with its own explanation one call away."""

    signal: SignalListed
    history: list[SignalItem]
    observations: list[ObservationItem]
    definition: DefinitionShown | None
    loop: LoopStamps | None
    decisions: list[DecisionItem]
    masks: dict[str, str]
    as_of: datetime

    model_config = example(
        signal={**SIGNAL_EXAMPLE, "owner": "network-operations", "loop": LOOP_EXAMPLE},
        history=[SIGNAL_EXAMPLE],
        observations=[OBSERVATION_EXAMPLE],
        definition=None,
        loop=LOOP_EXAMPLE,
        decisions=[DECISION_EXAMPLE],
        masks={},
        as_of="2026-11-24T10:00:02Z",
    )


class DecisionExplained(Answer):
    """A decision, and whether what its maker saw is still in the record, to the same hash."""

    decision: DecisionDetail
    rebuilt: dict[str, Any]
    """The change of the signal and the revisions that its maker saw, read again from the record, masked."""
    rebuilt_hash: str
    agrees: bool
    """The rebuilt evidence has the hash that was kept."""
    stored_intact: bool
    """The stored evidence has the hash that was kept."""
    signal: SignalListed | None
    as_of: datetime

    model_config = example(
        decision={**DECISION_EXAMPLE, "evidence": {}, "masked": []},
        rebuilt={},
        rebuilt_hash=DECISION_EXAMPLE["evidence_hash"],
        agrees=True,
        stored_intact=True,
        signal=None,
        as_of="2026-11-24T10:00:02Z",
    )
