"""Dead letters, alone and by their cause."""

from datetime import datetime
from typing import Any

from services.gateway.api.models.common import Answer, Paged, example


class DeadLetterItem(Answer):
    """A refused record, with its origin. What the asker may not see is masked or hidden."""

    id: str
    source: str
    stage: str
    error: str
    code: str | None
    """What is wrong, as a stable word; null of letters from before there was one."""
    cause: str
    """Letters that one thing mends have the same: see the groups."""
    reason: str
    field: str | None
    value: str | None
    rule: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    payload: Any
    """The record, masked by field where it could be read; text where the asker may see every class; else null."""
    payload_hidden: bool
    """True where the payload could not be read and the asker may not see every class of the source."""
    masked: list[str]
    headers: dict[str, Any]
    attempts: int
    first_seen: datetime
    last_seen: datetime
    service: str
    schema_ids: list[int]
    """The schemas that it was tried with."""
    code_version: str
    trace_id: str | None
    receipt: str | None
    recorded_at: datetime


class DeadLetterPage(Paged):
    items: list[DeadLetterItem]

    model_config = example(
        items=[
            {
                "id": "0b7f/1", "source": "departures", "stage": "validate", "error": "BadMessage",
                "code": "wrong_type", "cause": "4f0b8c21d9e3",
                "reason": "dep_delay is no number", "field": "dep_delay", "value": "x", "rule": None,
                "topic": None, "partition": None, "offset": None,
                "payload": {"carrier": "UA", "dep_delay": "x", "tailnum": None},
                "payload_hidden": False, "masked": ["tailnum"], "headers": {}, "attempts": 1,
                "first_seen": "2026-11-24T10:00:00Z", "last_seen": "2026-11-24T10:00:00Z",
                "service": "ingest", "schema_ids": [3], "code_version": "1.0.0", "trace_id": None, "receipt": "0b7f",
                "recorded_at": "2026-11-24T10:00:01Z",
            }
        ],
        next_page_token=None,
        as_of="2026-11-24T10:00:02Z",
    )  # fmt: skip


class DeadLetterGroup(Answer):
    """Dead letters of a source that fail for the same cause."""

    source: str
    cause: str
    """Names the group."""
    stage: str
    error: str
    code: str | None
    field: str | None
    rule: str | None
    letters: int
    driven: int
    """Those that a re-drive has published."""
    first_seen: datetime
    last_seen: datetime
    examples: list[str]
    """Ids of the latest."""


class DeadLetterGroups(Answer):
    items: list[DeadLetterGroup]
    """The 100 largest at most."""
    groups_left_out: int
    """How many more there are."""
    letters_left_out: int
    """Letters in those."""
    as_of: datetime

    model_config = example(
        items=[
            {
                "source": "departures", "cause": "4f0b8c21d9e3", "stage": "validate", "error": "BadMessage",
                "code": "unknown_field", "field": "gate", "rule": "Object contains unknown field `gate`",
                "letters": 276, "driven": 0, "first_seen": "2026-11-24T10:00:00Z", "last_seen": "2026-11-24T10:04:00Z",
                "examples": ["0b7f/1"],
            }
        ],
        groups_left_out=0,
        letters_left_out=0,
        as_of="2026-11-24T10:04:02Z",
    )  # fmt: skip
