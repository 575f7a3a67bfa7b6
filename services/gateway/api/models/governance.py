"""Incidents, audit, receipts, retention."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from libs.common.events import Cause, IncidentKind, Severity
from services.gateway.api.models.common import Answer, Paged, StreamPosition, example

_INCIDENT = {
    "id": "i7",
    "source": "departures",
    "rule": "known_aircraft",
    "kind": "rule",
    "severity": "warning",
    "state": "open",
    "owner": "data-quality",
    "assignee": None,
    "cause": None,
    "violations": 120,
    "assessed": 800,
    "opened_at": "2026-11-24T10:00:02Z",
    "last_seen_at": "2026-11-24T10:00:09Z",
    "resolved_at": None,
    "summary": "15.0 % of departures break known_aircraft",
    "by": "quality",
    "note": "",
    "missing": [],
    "recorded_at": "2026-11-24T10:00:09Z",
}


class MissingRecord(Answer):
    """A record that was accepted and is not archived, or is archived and in no books."""

    why: Literal["not_archived", "not_in_books"]
    minute: datetime
    """Of arrival."""
    topic: str
    partition: int
    offset: int
    event_id: str | None
    receipt: str | None


class IncidentItem(Answer):
    """A quality incident as it stands."""

    id: str
    source: str
    rule: str | None
    kind: IncidentKind
    severity: Severity
    state: Literal["open", "acknowledged", "resolved"]
    owner: str
    assignee: str | None
    cause: Cause | None
    violations: int
    assessed: int
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    summary: str
    by: str
    note: str
    """What the person who made the last move said of it."""
    missing: list[MissingRecord]
    """Of a ledger incident: the first of the records that it is about."""
    recorded_at: datetime

    model_config = example(**_INCIDENT)


class IncidentPage(Paged):
    """Newest first."""

    items: list[IncidentItem]
    stream: StreamPosition | None

    model_config = example(
        items=[_INCIDENT],
        stream={"channel": "incidents", "cursor": "eyJ2IjoxfQ"},
        next_page_token=None,
        as_of="2026-11-24T10:00:10Z",
    )


class IncidentBody(Answer):
    """One step with an incident; `resolve` needs a cause."""

    action: Literal["acknowledge", "assign", "resolve", "reopen"]
    assignee: str | None = None
    cause: Cause | None = None
    note: str | None = Field(default=None, max_length=2000)

    model_config = example(
        action="resolve", assignee=None, cause="reference_data", note="Register was of 2012"
    )


class PublishedFigures(Answer):
    """What was published of a window, and the offset ranges that it was made of."""

    value: float | None
    count: int
    measures: list[float | None]
    offsets: list[dict[str, int]] | None


class InputFigures(Answer):
    """A value that a KPI over other KPIs is made of."""

    kpi: str
    kpi_version: int
    series_key: str
    revision: int
    value: float | None
    count: int


class BatchFigures(Answer):
    """What plain SQL makes of a window's archived events, and where the first of them are; of a KPI over other KPIs, of
    their values."""

    value: float | None
    count: int
    measures: list[float | None]
    events: list[dict[str, int]]
    inputs: list[InputFigures] = Field(default_factory=list)
    """The first of those that the asker may see."""


LeftOut = Literal[
    "disposed", "erased", "withdrawn", "unread", "late", "long", "reference", "version", "backfilled", "large"
]
"""Events were disposed of, erased with their subject, or withdrawn with their re-drive, and the window was not corrected
yet; came before what the version could read, or too late with no record of it; a session begins too far back; a reference
row may have changed since; an input changed its version, or was backfilled; more events than are compared at once."""


class Difference(Answer):
    """A window that differs; a side that has no such window is null."""

    series_key: str
    window_start: datetime
    window_end: datetime
    published: PublishedFigures | None
    batch: BatchFigures | None


_PARITY = {
    "kpi": "cancellation_rate", "kpi_version": 1, "checked_to": "2013-02-10T00:00:00Z", "windows": 2160,
    "differing": 0, "left_out": {"disposed": 12}, "first_difference": None, "note": "",
    "checked_at": "2026-11-24T10:00:02Z",
}  # fmt: skip


class ParityItem(Answer):
    """How far the values of a KPI were compared with plain SQL over their events."""

    kpi: str
    kpi_version: int
    checked_to: datetime | None
    """Every window that ends up to then was compared once; null: none yet."""
    windows: int
    differing: int
    left_out: dict[LeftOut, int]
    """Windows that were not compared, by why what they were made of cannot be had again; of single events that came too
    late, the events."""
    first_difference: Difference | None
    note: str
    """Why the KPI is not compared; empty if it is."""
    checked_at: datetime

    model_config = example(**_PARITY)


class ParityList(Answer):
    """By KPI."""

    items: list[ParityItem]
    as_of: datetime

    model_config = example(items=[_PARITY], as_of="2026-11-24T10:00:10Z")


class AuditItem(Answer):
    """One link of the chain: hash = SHA-256(previous_hash ‖ canonical JSON of the entry)."""

    seq: int
    id: str
    at: datetime
    actor: str
    roles: list[str]
    action: str
    resource: str
    outcome: Literal["done", "refused", "failed"]
    classifications: list[str]
    masked: list[str]
    details: dict[str, Any]
    trace_id: str | None
    previous_hash: str
    hash: str


class AuditPage(Paged):
    """Newest first."""

    items: list[AuditItem]

    model_config = example(
        items=[
            {
                "seq": 1, "id": "a-1", "at": "2026-11-24T10:00:02Z", "actor": "stew", "roles": ["steward"],
                "action": "read events", "resource": "sources/departures", "outcome": "done",
                "classifications": ["confidential"], "masked": [], "details": {}, "trace_id": None,
                "previous_hash": "0" * 64, "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            }
        ],
        next_page_token=None,
        as_of="2026-11-24T10:00:10Z",
    )  # fmt: skip


class ChainFault(Answer):
    """One place where the chain does not hold."""

    seq: int | None
    kind: Literal["edited", "missing", "unlinked", "cut", "anchor"]
    message: str


class ChainVerdict(Answer):
    """Every entry hashed again, the links walked, the heads compared with those kept outside the database."""

    intact: bool
    entries: int
    head_seq: int
    head_hash: str
    anchors: int
    """Heads kept outside that were compared."""
    faults: list[ChainFault]

    model_config = example(intact=True, entries=120, head_seq=120, head_hash="9f86", anchors=3, faults=[])


class ReceiptItem(Answer):
    """A disposal: ordered, and done or refused."""

    id: str
    policy: str
    store: str
    source: str
    before: datetime
    rows_before: int | None
    rows_deleted: int | None
    rows_after: int | None
    state: Literal["ordered", "done", "refused", "expires"]
    """`expires`: nothing is taken out; all of it goes when its time is over."""
    by: str
    ordered_at: datetime | None
    done_at: datetime | None
    erasure: str | None
    """Of one subject's erasure: its id."""
    gone_by: datetime | None
    """Of what expires."""
    note: str


class ReceiptPage(Paged):
    items: list[ReceiptItem]

    model_config = example(
        items=[
            {
                "id": "r1", "policy": "keep_a_year", "store": "archive.events", "source": "departures",
                "before": "2025-11-24T00:00:00Z", "rows_before": 1000, "rows_deleted": 40, "rows_after": 960,
                "state": "done", "by": "governance", "ordered_at": "2026-11-24T10:00:00Z",
                "done_at": "2026-11-24T10:00:02Z", "erasure": None, "gone_by": None, "note": "",
            }
        ],
        next_page_token=None,
        as_of="2026-11-24T10:00:10Z",
    )  # fmt: skip


class ErasureBody(Answer):
    """One subject: the value of a field that is classified personal or sensitive."""

    source: str
    field: str
    value: str = Field(min_length=1, max_length=1_000)
    """As text. It is kept nowhere in clear once all stores have answered; receipts and audit have its pseudonym."""
    reason: str = Field(min_length=1, max_length=2_000)
    dry_run: bool = False
    """True only counts what would go."""

    model_config = example(
        source="departures", field="tailnum", value="N14228", reason="request 2026-118", dry_run=False
    )


class ErasureLine(Answer):
    """What one store has answered."""

    store: str
    state: Literal["ordered", "done", "refused", "expires"]
    rows_before: int | None
    rows_deleted: int | None
    rows_after: int | None
    gone_by: datetime | None
    done_at: datetime | None
    note: str


_ERASURE = {
    "id": "e7c2", "source": "departures", "field": "tailnum", "pseudonym": "~3f9a01bc22de", "reason": "request 2026-118",
    "by": "stew", "ordered_at": "2026-11-24T10:00:00Z", "done_at": "2026-11-24T10:00:09Z", "state": "done",
    "unclear": [],
    "lines": [
        {
            "store": "archive.events", "state": "done", "rows_before": 12, "rows_deleted": 12, "rows_after": 0,
            "gone_by": None, "done_at": "2026-11-24T10:00:07Z", "note": "",
        }
    ],
}  # fmt: skip


class ErasureItem(Answer):
    """The erasure of one subject, with the line of each store."""

    id: str
    source: str
    field: str
    pseudonym: str
    reason: str
    unclear: list[str]
    """KPIs whose series may name the subject in a way that cannot be told from the field alone."""
    by: str
    ordered_at: datetime
    done_at: datetime | None
    state: Literal["in_progress", "done"]
    lines: list[ErasureLine]

    model_config = example(**_ERASURE)


class RetentionBody(Answer):
    dry_run: bool = True
    """True only counts what would go."""

    model_config = example(dry_run=True)


class RetentionDue(Answer):
    """What one rule disposes of."""

    id: str
    """Of the disposal."""
    policy: str
    store: str
    source: str
    before: datetime
    rows: int | None
    """Rows that are due; null if it could not be counted."""
    ordered: bool


class RetentionReport(Answer):
    dry_run: bool
    due: list[RetentionDue]

    model_config = example(
        dry_run=True,
        due=[
            {
                "id": "r1", "policy": "keep_a_year", "store": "archive.events", "source": "departures",
                "before": "2025-11-24T00:00:00Z", "rows": 40, "ordered": False,
            }
        ],
    )  # fmt: skip
