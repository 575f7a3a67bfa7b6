"""Governance: who read or wrote what, and what was disposed of."""

from typing import Any, Literal

from pydantic import Field

from libs.common.events.event import Event, Moment


class AuditEntry(Event):
    """One read of classified data, or one write, on `audit`; governance chains them by hash."""

    id: str
    at: Moment
    actor: str
    roles: list[str]
    action: str
    """Verb and noun: `read events`, `decide signal`, `apply catalog`."""
    resource: str
    """What it touched: `signals/6f…`, `sources/departures`."""
    outcome: Literal["done", "refused", "failed"]
    classifications: list[str] = Field(default_factory=list)
    """The classes of data that were in the answer in clear."""
    masked: list[str] = Field(default_factory=list)
    """The fields that were masked in the answer."""
    details: dict[str, Any] = Field(default_factory=dict)
    trace_id: str | None = None


class DisposalChanged(Event):
    """A disposal ordered by governance or carried out by the owner of the store, on `disposals`."""

    id: str
    change: Literal["ordered", "done", "refused"]
    policy: str
    store: str
    """`archive.events`, …"""
    source: str
    before: Moment
    """Rows recorded before this are disposed of."""
    rows_before: int | None = None
    rows_deleted: int | None = None
    rows_after: int | None = None
    reason: str = ""
    by: str
    recorded_at: Moment
