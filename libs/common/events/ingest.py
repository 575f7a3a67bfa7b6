"""Ingest: what could not be taken in, and the books of what could."""

from pydantic import Field

from libs.common.events.event import Event, Moment

CUT = "sx-payload-bytes"
"""Header of a dead letter of which only the beginning is kept: how many bytes it had."""


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


class ParkedEvent(Event):
    """An accepted event that waits, on `parked.<source>`, by its id: gone when it is published, a dead letter, or erased
    with its subject.

    The record has the headers that the event will be published with. When it is due follows from when it was accepted
    and the source's tiers, so that nothing has to be written when a try fails.
    """

    id: str
    """Of the dead letter that it may become."""
    source: str
    event_id: str
    key_b64: str
    """Behind whose events it waits."""
    payload_b64: str
    """The original bytes; of Avro, of Protobuf and of what is minimised the values as JSON."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Those that its dead letter would have."""
    accepted_at: Moment
    minute: Moment
    """The ledger minute that accepted it."""
    receipt: str
    code: str | None = None
    """Why it waits, with field, value and rule; None if it waits for those of its key that came before."""
    field: str | None = None
    value: str | None = None
    rule: str | None = None
    schema_ids: list[int] = Field(default_factory=list)
    trace_id: str | None = None


class EventsWithdrawn(Event):
    """What a re-drive had published counts no more, on `withdrawals`.

    Whoever reads the source's past leaves out its events at offsets from `since`, before `upto`, whose `sx-receipt` is
    one of these. They did arrive, so that the books keep them as landed.
    """

    id: str
    """`re-drive/part`: of many receipts each part has some."""
    source: str
    redrive: str
    receipts: list[str]
    """Of its steps: nobody else has published under them."""
    since: dict[str, int]
    upto: dict[str, int]
    """Partition of the source's topic → offset."""
    by: str
    withdrawn_at: Moment


class LedgerEntry(Event):
    """What one transaction of ingest did for one source, on `ledger`, in that transaction.

    accepted = published + dead_lettered + duplicate + parked + erased; published is what must land in the archive. When
    a parked event is published, becomes a dead letter or is erased, the entry of that has a parked of -1, under the
    minute that accepted it.
    """

    source: str
    minute: Moment
    """The minute of arrival that the books count it under."""
    accepted: int
    published: int
    dead_lettered: int
    duplicate: int
    parked: int = 0
    erased: int = 0
    """Parked events that were erased with their subject."""
    receipt: str = ""
    """Of the request, if the transaction had only one."""
    recorded_at: Moment
