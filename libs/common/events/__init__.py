"""The events that services meet in; `libs.common.topics` says which topic carries which."""

from libs.common.events.action import ActionTaken
from libs.common.events.backfill import BackfillChanged, BackfillState
from libs.common.events.catalog import CatalogEntry
from libs.common.events.event import Event, Moment, Series
from libs.common.events.governance import (
    AuditEntry,
    DisposalChanged,
    ErasedSeries,
    ErasureOrdered,
    ErasureSubject,
)
from libs.common.events.ingest import CUT, DeadLetter, EventsWithdrawn, LedgerEntry, ParkedEvent
from libs.common.events.observation import (
    OBSERVATION_SCHEMA,
    Expectation,
    LateEvents,
    Observation,
    OffsetRange,
    Severity,
    Status,
    VersionReady,
)
from libs.common.events.quality import Cause, HealthChanged, IncidentChanged, IncidentKind, Missing
from libs.common.events.series import parse_series_key, series_key
from libs.common.events.signal import SignalChanged, Verdict

__all__ = [
    "CUT",
    "OBSERVATION_SCHEMA",
    "ActionTaken",
    "AuditEntry",
    "BackfillChanged",
    "BackfillState",
    "CatalogEntry",
    "Cause",
    "DeadLetter",
    "DisposalChanged",
    "ErasedSeries",
    "ErasureOrdered",
    "ErasureSubject",
    "Event",
    "EventsWithdrawn",
    "Expectation",
    "HealthChanged",
    "IncidentChanged",
    "IncidentKind",
    "LateEvents",
    "LedgerEntry",
    "Missing",
    "Moment",
    "Observation",
    "OffsetRange",
    "ParkedEvent",
    "Series",
    "Severity",
    "SignalChanged",
    "Status",
    "Verdict",
    "VersionReady",
    "parse_series_key",
    "series_key",
]
