"""The whole bus on one page.

Broker topics, `docs/topics.md` and the contract tests derive from `TOPICS`. Names are logical: every
process puts `settings.prefix` before them, so that several meshes can share one broker.
"""

from dataclasses import dataclass
from datetime import timedelta

from libs.common.events import (
    ActionTaken,
    AuditEntry,
    BackfillChanged,
    CatalogEntry,
    DeadLetter,
    DisposalChanged,
    ErasureOrdered,
    ErasureSubject,
    Event,
    EventsWithdrawn,
    Expectation,
    HealthChanged,
    IncidentChanged,
    LateEvents,
    LedgerEntry,
    Observation,
    ParkedEvent,
    SignalChanged,
    VersionReady,
)

KEEP = timedelta(days=7)
"""Kafka carries the recent past; history lies in the archive. Counted from arrival, not from event time."""


@dataclass(frozen=True)
class Topic:
    """One topic. `name` may hold `{source}`; `event` is None where the bytes are not a JSON or Avro event."""

    name: str
    purpose: str
    event: type[Event] | None
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int = 1
    retention: timedelta | None = KEEP
    compacted: bool = False
    trimmed: bool = False
    """Its producer deletes what a snapshot has made needless; nothing else goes."""
    wire: str = "json"
    """json · avro (Confluent wire format) · arrow (IPC stream)."""

    def of(self, source: str) -> str:
        """The name of this topic for one source."""
        return self.name.format(source=source)


EVENTS = Topic(
    "events.{source}", "a source's events, in its own schema", None, "the source's `key`, or none",
    ("ingest",), ("ingest", "detector", "quality", "archive"), partitions=4, wire="avro",
)  # fmt: skip
REFERENCE = Topic(
    "reference.{source}", "the rows of a reference source, last per key", None,
    "the source's `key` fields; with versions also from when on the row is valid",
    ("ingest",), ("ingest", "detector", "quality", "archive"), retention=None, compacted=True, wire="avro",
)  # fmt: skip
PARKED = Topic(
    "parked.{source}", "events that wait to be published, of a source with `retry`", ParkedEvent, "event id",
    ("ingest",), ("ingest",), retention=None, compacted=True,
)  # fmt: skip
DEAD = Topic(
    "events.dead", "records that were refused, with origin and reason", DeadLetter, "source",
    ("ingest", "detector", "quality", "archive", "governance", "strategy"), ("archive", "quality"),
    retention=timedelta(days=30),
)  # fmt: skip
WITHDRAWALS = Topic(
    "withdrawals", "what a re-drive had published and was undone", EventsWithdrawn, "re-drive/part",
    ("ingest",), ("ingest", "detector", "archive"), retention=None, compacted=True,
)  # fmt: skip
LEDGER = Topic(
    "ledger", "the books of ingest, per transaction", LedgerEntry, "source", ("ingest",), ("archive", "quality"),
)  # fmt: skip
INPUTS = Topic(
    "detector.inputs", "how far each input partition was combined for each KPI", None, "source/partition",
    ("detector",), ("detector",), retention=None, compacted=True,
)  # fmt: skip
PARTIALS = Topic(
    "detector.partials", "partial aggregates and watermarks, per series", None, "source/partition",
    ("detector",), ("detector",), partitions=4, retention=timedelta(days=1), wire="arrow",
)  # fmt: skip
STATE = Topic(
    "detector.state", "the log of merge: steps and snapshots of open windows", None, "step, snapshot, part",
    ("detector",), ("detector",), partitions=4, retention=None, trimmed=True, wire="arrow",
)  # fmt: skip
MODELS = Topic(
    "detector.models", "baselines and open signals: a changelog", None, "kpi@version/rule|series_key",
    ("detector",), ("detector",), partitions=4, retention=None, compacted=True,
)  # fmt: skip
LATE = Topic(
    "detector.late", "events that came after a window of theirs had closed for good", LateEvents, "kpi",
    ("detector",), ("archive", "detector"),
)  # fmt: skip
BACKFILLS = Topic(
    "detector.backfills", "backfills: ordered, their progress, how they ended", BackfillChanged,
    "id, id/cancel, id/merge partition", ("detector",), ("detector", "archive"), retention=None, compacted=True,
)  # fmt: skip
OBSERVATIONS = Topic(
    "kpi.observations", "KPI values, every revision", Observation, "kpi|series_key",
    ("detector",), ("detector", "archive", "strategy", "gateway"), partitions=4, wire="avro",
)  # fmt: skip
VERSIONS = Topic(
    "kpi.versions", "which version of a KPI each merge partition is ready to serve", VersionReady, "kpi/partition",
    ("detector",), ("detector", "archive"), retention=None, compacted=True,
)  # fmt: skip
EXPECTATIONS = Topic(
    "kpi.expectations", "the band that a seasonal rule expected", Expectation, "kpi|series_key",
    ("detector",), ("archive",), partitions=4,
)  # fmt: skip
SIGNALS = Topic(
    "signals", "signals opened, updated, closed", SignalChanged, "signal id",
    ("detector",), ("archive", "strategy", "gateway"),
)  # fmt: skip
INCIDENTS = Topic(
    "quality.incidents", "quality incidents", IncidentChanged, "incident id",
    ("quality",), ("gateway",),
)  # fmt: skip
HEALTH = Topic(
    "quality.health", "the health of each source", HealthChanged, "source",
    ("quality",), ("gateway",), retention=None, compacted=True,
)  # fmt: skip
ACTIONS = Topic(
    "actions", "what was done about signals", ActionTaken, "signal id", ("strategy",), ("gateway",),
)  # fmt: skip
AUDIT = Topic(
    "audit", "reads of classified data, and writes", AuditEntry, "actor",
    ("gateway",), ("governance",), retention=timedelta(days=30),
)  # fmt: skip
DISPOSALS = Topic(
    "disposals", "disposals ordered and carried out", DisposalChanged, "disposal id",
    ("governance", "archive", "detector", "ingest"), ("archive", "governance", "detector"),
    retention=timedelta(days=30),
)  # fmt: skip
ERASURES = Topic(
    "erasures", "subjects to be erased, without their names", ErasureOrdered, "erasure id",
    ("governance",), ("detector",), retention=timedelta(days=30),
)  # fmt: skip
SUBJECTS = Topic(
    "erasures.subjects", "who they are, until all stores have answered", ErasureSubject, "erasure id",
    ("governance",), ("ingest", "detector", "archive", "governance"), retention=None, trimmed=True,
)  # fmt: skip
CATALOG = Topic(
    "catalog", "definitions in force", CatalogEntry, "kind/id",
    ("strategy",), ("ingest", "detector", "quality", "archive", "governance", "strategy", "gateway"),
    retention=None, compacted=True,
)  # fmt: skip

TOPICS = (
    EVENTS, REFERENCE, PARKED, DEAD, WITHDRAWALS, LEDGER, INPUTS, PARTIALS, STATE, MODELS, LATE, BACKFILLS, OBSERVATIONS,
    VERSIONS, EXPECTATIONS, SIGNALS, INCIDENTS, HEALTH, ACTIONS, AUDIT, DISPOSALS, ERASURES, SUBJECTS, CATALOG,
)  # fmt: skip

STANDING = tuple(topic for topic in TOPICS if "{source}" not in topic.name)
"""The topics that exist before any source is defined."""


def used_by(service: str) -> list[tuple[str, Topic, int]]:
    """(name, topic, partitions) of the standing topics that a service writes or reads."""
    return [
        (topic.name, topic, topic.partitions)
        for topic in STANDING
        if service in topic.producers + topic.consumers
    ]
