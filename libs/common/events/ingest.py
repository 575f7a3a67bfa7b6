"""Ingest: what could not be taken in, and the books of what could."""

from pydantic import Field

from libs.common.events.event import Event, Moment


class DeadLetter(Event):
    """A record that could not be used, on `events.dead`, with its origin and the reason."""

    id: str
    """`topic/partition/offset` of a record that can be delivered again; else the request and the index."""
    source: str
    stage: str
    """`validate`, `decode`, `combine`, …: where it failed."""
    error: str
    """The error's class."""
    code: str | None = None
    """What is wrong, as a stable word: `unknown_field`, `wrong_type`, …"""
    reason: str
    field: str | None = None
    value: str | None = None
    rule: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    key_b64: str | None = None
    payload_b64: str
    """The original bytes."""
    headers: dict[str, str] = Field(default_factory=dict)
    attempts: int = 1
    first_seen: Moment
    last_seen: Moment
    service: str
    schema_ids: list[int] = Field(default_factory=list)
    """The schemas that it was tried with."""
    code_version: str = ""
    trace_id: str | None = None
    receipt: str | None = None
    minute: Moment | None = None
    """The ledger minute that accepted it; None if it failed after landing on the source's topic."""


class LedgerEntry(Event):
    """What one transaction of ingest did for one source, on `ledger`, in that transaction.

    accepted = published + dead_lettered + duplicate; published is what must land in the archive.
    """

    source: str
    minute: Moment
    """The minute of arrival that the books count it under."""
    accepted: int
    published: int
    dead_lettered: int
    duplicate: int
    receipt: str = ""
    """Of the request, if the transaction had only one."""
    recorded_at: Moment
