"""Governance: who read or wrote what, and what was disposed of."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    erasure: str | None = None
    """Of one subject's erasure: its id."""


class ErasureOrdered(Event):
    """One subject is to be erased, on `erasures`; without the value.

    Whoever reads a source's past leaves out the subject's events before `upto`: those whose field, as text, has the
    SHA-256 `digest` behind the `salt`. What comes from there on is a new fact, unless ingest accepted it before the order
    and had it parked until then.
    """

    id: str
    source: str
    field: str
    pseudonym: str
    salt: str
    digest: str
    upto: dict[str, int]
    """Partition of the source's topic → its end when the erasure was ordered."""
    by: str
    ordered_at: Moment


class ErasedSeries(BaseModel):
    """The series of a KPI whose dimension has this value are the subject's."""

    model_config = ConfigDict(frozen=True)

    kpi: str
    dimension: str
    value: str


class ErasureSubject(Event):
    """Who is to be erased, in clear, on `erasures.subjects`; deleted when all stores have answered."""

    id: str
    source: str
    field: str
    value: str
    series: list[ErasedSeries]
    rounds: int
    """Times that merge goes through its state: one more than KPIs over KPIs are deep."""
    upto: dict[str, int]
    stores: list[str]
    """Those that are to answer on `disposals`, under `<id>/<store>`."""
    ordered_at: Moment
