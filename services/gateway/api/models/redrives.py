"""Re-drives: dead letters that are sent in again."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from services.gateway.api.models.common import Answer, example

RedriveCommand = Literal["go", "pause", "cancel", "undo"]
_SHOWN = {
    "id": "0b6e7f0c7d0b4c6c9f3b0b6e7f0c7d0b", "source": "departures", "cause": "4f0b8c21d9e3",
    "fix": [{"do": "drop", "field": "gate"}], "dry_run": True, "canary": 10, "rate": 1000.0, "reason": "gate is new",
    "by": "operator", "state": "tried", "note": "", "ordered_at": "2026-11-24T10:00:00Z",
    "changed_at": "2026-11-24T10:00:07Z", "letters": 276, "checked": 276, "waiting": 262, "driven": 10,
    "published": 10, "duplicate": 0, "failing": 4, "before": 0, "exhausted": 0, "gone": 0, "undone": 0,
    "undone_by": None,
}  # fmt: skip


class RedriveBody(Answer):
    """Which dead letters of a source to send in again, and how."""

    source: str
    cause: str | None = None
    """Only those of this group."""
    ids: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None = None
    fix: Annotated[list[dict[str, Any]], Field(max_length=50)] = Field(default_factory=list)
    """Steps that mend the record's JSON first: `{do: rename, field, to}`, `{do: default, field, value}`,
    `{do: drop, field}`, `{do: replace, field, value, by}`, `{do: number, field}`,
    `{do: time, field, format, zone}`."""
    dry_run: bool = False
    """Wait after the check of all letters; nothing is published before `go`."""
    canary: int | None = Field(default=None, ge=1, le=1_000_000)
    """Wait after so many letters were driven."""
    rate: float = Field(default=1_000, ge=0.1, le=10_000)
    """Letters a second at most."""
    reason: str = Field(default="", max_length=500)

    model_config = example(
        source="departures", cause="4f0b8c21d9e3", fix=[{"do": "drop", "field": "gate"}], dry_run=True, canary=10,
        rate=1000.0, reason="gate is new",
    )  # fmt: skip


class RedriveSummary(Answer):
    """A re-drive and how it goes."""

    id: str
    source: str
    cause: str | None
    fix: list[dict[str, Any]]
    dry_run: bool
    canary: int | None
    rate: float
    reason: str
    by: str
    state: Literal[
        "checking", "checked", "canary", "tried", "running", "paused", "done", "cancelled", "failed", "undoing",
        "undone",
    ]  # fmt: skip
    """`checked` and `tried` wait for `go`: after a dry run, after a canary. `undoing` ends as `undone`."""
    note: str
    """Why it failed, what was published before it was cancelled, what becomes of events that are taken back."""
    ordered_at: datetime
    changed_at: datetime
    undone_by: str | None
    letters: int
    checked: int
    waiting: int
    """They pass, and are to be driven."""
    driven: int
    published: int
    duplicate: int
    """The event was there already."""
    failing: int
    before: int
    """An earlier re-drive has published them."""
    exhausted: int
    """They were driven too often without success."""
    gone: int
    """They are kept no longer, or were erased."""
    undone: int
    """Their event was taken back, and is `published` no more: dead letters again, which another re-drive may drive."""

    model_config = example(**_SHOWN)


class RedriveFailure(Answer):
    """Letters that are not driven for one cause."""

    code: str
    field: str | None
    rule: str | None
    letters: int


class RedriveShown(RedriveSummary):
    failures: list[RedriveFailure]

    model_config = example(
        **_SHOWN,
        failures=[
            {
                "code": "out_of_range",
                "field": "distance",
                "rule": "Expected `int` <= 2147483647",
                "letters": 4,
            }
        ],
    )


class RedriveList(Answer):
    items: list[RedriveSummary]
    as_of: datetime

    model_config = example(items=[_SHOWN], as_of="2026-11-24T10:00:07Z")
