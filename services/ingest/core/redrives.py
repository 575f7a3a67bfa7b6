"""Orders of re-drive: what follows on what, what is tried again, and how fast. A letter is published once at most."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.common.errors import BadMessage, Conflict
from libs.common.events import CUT
from services.ingest.core.fix import Step, mend
from services.ingest.core.minimise import DROPPED, driven
from services.ingest.core.records import Bad, Good, Validator

State = Literal[
    "checking",
    "checked",
    "canary",
    "tried",
    "running",
    "paused",
    "done",
    "cancelled",
    "failed",
    "undoing",
    "undone",
]
"""`checked` and `tried` wait for a word: after a dry run, after a canary."""
Command = Literal["go", "pause", "cancel", "undo"]
ACTIVE: tuple[State, ...] = ("checking", "canary", "running", "undoing")
"""Those in which something is done."""
_MAY: Mapping[Command, tuple[State, ...]] = {
    "go": ("checked", "tried", "paused"),
    "pause": ("canary", "running"),
    "cancel": ("checking", "checked", "canary", "tried", "running", "paused"),
    "undo": ("tried", "paused", "done", "cancelled", "failed"),
}
MOST_DRIVEN = 3
"""Times that a letter is driven without success."""
MOST_LETTERS = 500_000
"""Of one order."""
SLICE = 200
"""Letters of one step, …"""
SLICE_BYTES = 16 * 1024 * 1024
"""… and what those before the last may have: more would never be let in."""


class Order(msgspec.Struct, frozen=True):
    """What was ordered, and where it stands."""

    id: str
    source: str
    cause: str | None
    fix: list[dict[str, Any]]
    dry_run: bool
    """Waits after the check."""
    canary: int | None
    """Waits after so many letters."""
    rate: float
    """Letters a second."""
    reason: str
    by: str
    state: State
    note: str
    ordered_at: datetime
    changed_at: datetime
    undone_by: str | None = None


class Letter(msgspec.Struct, frozen=True):
    """A dead letter as the archive keeps it."""

    id: str
    payload: bytes
    headers: dict[str, str]
    topic: str | None


class Verdict(msgspec.Struct, frozen=True):
    """What of a letter, and why."""

    outcome: str | None = None
    """None: it may be driven; `fails`, `gone`, `before`, `exhausted`; of one that was driven `published`, `duplicate`;
    `undone`: it was published, and taken back."""
    code: str | None = None
    field: str | None = None
    rule: str | None = None


GONE = Verdict("gone", "gone", rule="it is kept no longer")
BEFORE = Verdict("before")
EXHAUSTED = Verdict("exhausted", "driven_too_often", rule=f"at most {MOST_DRIVEN} times")


def commanded(order: Order, command: Command, driven: int) -> State:
    """The state after a command, when so many letters were driven; Conflict if it may not be given now."""
    if order.state not in _MAY[command]:
        raise Conflict(
            f"a re-drive that is {order.state} takes no {command}: it is for {', '.join(_MAY[command])}",
            code="wrong_state",
            state=order.state,
        )
    if command == "pause":
        return "paused"
    if command == "cancel":
        return "cancelled"
    if command == "undo":
        return "undoing"
    if order.state == "tried" or order.canary is None or driven >= order.canary:
        return "running"
    return "canary"


def checked(order: Order) -> State:
    """The state after every letter was held against the definition."""
    if order.dry_run:
        return "checked"
    return "running" if order.canary is None else "canary"


def room(order: Order, driven: int) -> int:
    """Letters of the next step: no more than a second's, or than the canary has left."""
    step = min(SLICE, max(1, int(order.rate)))
    if order.state == "canary":
        return min(step, max(0, (order.canary or 0) - driven))
    return step


def again(validator: Validator, fix: Sequence[Step], letter: Letter, index: int) -> Good | Verdict:
    """A letter's record as the fix and the present definition make it, or why it is none."""
    if letter.topic is not None:
        return Verdict("fails", "on_a_topic", rule="what lies on a topic is not published again")
    if CUT in letter.headers:
        return Verdict("fails", "cut", rule=f"only the beginning of its {letter.headers[CUT]} bytes was kept")
    if DROPPED in letter.headers:
        rule = f"its {letter.headers[DROPPED]} bytes were not kept: no JSON object, which could be minimised"
        return Verdict("fails", "not_kept", rule=rule)
    try:
        result = validator.single(index, mend(fix, letter.payload))
    except BadMessage as error:
        return failed(error)
    return failed(result.error) if isinstance(result, Bad) else driven(result, letter.headers)


def settled(goods: Sequence[Good], results: Sequence[Mapping[str, Any]], receipt: str) -> list[Verdict]:
    """What became of the records of a step. One that is called a duplicate of the step's own receipt was published by
    it before an interruption; of those with the same id, the first."""
    seen: set[str | None] = set()
    verdicts = []
    for good, result in zip(goods, results, strict=True):
        ours = result["status"] == "duplicate" and result["receipt"] == receipt and good.event_id not in seen
        verdicts.append(Verdict("published" if ours else result["status"]))
        seen.add(good.event_id)
    return verdicts


def failed(error: BadMessage) -> Verdict:
    return Verdict("fails", error.code, _said(error.field), _said(error.rule))


def _said(text: str | None) -> str | None:
    """In bounds, and as PostgreSQL can hold it: the sign for a NUL in its place."""
    return text if text is None else text[:500].replace("\0", "\N{SYMBOL FOR NULL}")
