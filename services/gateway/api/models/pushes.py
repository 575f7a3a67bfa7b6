"""Answers about what is pushed, and what of it waits."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from services.gateway.api.models.common import Answer, example


class IngestResult(Answer):
    """What became of one record."""

    index: int
    status: Literal["published", "duplicate", "dead_lettered", "parked", "refused"]
    event_id: str | None = None
    receipt: str | None = None
    """Of a duplicate: under which it was published."""
    waits_for: str | None = None
    """Of what is parked: why it is not published yet."""
    error: dict[str, Any] | str | None = None


class IngestReceipt(Answer):
    """What became of a request: every record is counted exactly once."""

    receipt: str
    source: str
    accepted: int
    published: int
    duplicate: int
    dead_lettered: int
    parked: int = 0
    """Accepted, and published when what it refers to has come."""
    refused: int
    results: list[IngestResult] = Field(default_factory=list)
    proof: dict[str, Any] | None = None
    """The signed receipt: hash of the body, counts, first and last offset per partition."""

    model_config = example(
        receipt="0b7f", source="departures", accepted=2, published=1, duplicate=1, dead_lettered=0, refused=0,
        results=[
            {"index": 0, "status": "published", "event_id": "2013-02-08-UA-1545", "error": None},
            {"index": 1, "status": "duplicate", "event_id": "2013-02-08-UA-1545", "error": None},
        ],
    )  # fmt: skip


class ParkedBody(Answer):
    """What is to become of the events of a source that wait for what they refer to."""

    do: Literal["retry", "give_up"]
    """`retry`: try them now, whatever their tier; `give_up`: they become dead letters now, 1,000 at a time."""
    key: str | None = None
    """Only those of this key."""
    reason: str = Field(default="", max_length=500)

    model_config = example(do="retry", key="N14228", reason="the aircraft was entered by hand")


class Parked(Answer):
    """What of a source waits for what it refers to."""

    source: str
    events: int
    keys: int
    bytes: int
    room: float
    """Share of the room that is taken; of what is more the oldest become dead letters."""
    oldest: datetime | None
    """When the one that waits longest was accepted."""
    next_try: datetime | None
    """When the next tier ends; null if nothing waits, or is being tried now."""
    references: dict[str, int]
    """What its events refer to → keys that are known of it."""
    touched: int = 0
    """Of an order: keys that were tried, or events that were given up."""
    as_of: datetime

    model_config = example(
        source="departures", events=12, keys=3, bytes=9120, room=0.0001, oldest="2026-11-24T10:00:00Z",
        next_try="2026-11-24T10:01:10Z", references={"aircraft": 3322}, touched=0, as_of="2026-11-24T10:00:12Z",
    )  # fmt: skip


class WatermarkBody(Answer):
    """The source declares that nothing earlier will follow."""

    through: AwareDatetime

    model_config = example(through="2013-02-09T00:00:00Z")
