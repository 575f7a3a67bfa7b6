"""One subscription, told in order: numbers are given to what is delivered, so that a hole is always a fault.

Nothing is queued for a client that cannot follow: it falls back to reading the channel's window at its own
pace, merged to the latest entry by key. Each merged frame says for how many earlier ones it stands, and its
cursor is the position of its own entry: a client that is cut between merged frames reads on from there and
misses nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Position = str
"""An id in a Redis stream: `milliseconds-sequence`."""

START: Position = "0-0"


def order(position: Position) -> tuple[int, int]:
    """Positions compare as numbers, not as text."""
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence or 0)


@dataclass(frozen=True)
class Entry:
    """One entry of a channel's window."""

    position: Position
    key: str
    """Entries of one key replace each other; "" never does."""
    fact: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """An entry to be sent, and how many earlier ones of its key it stands for."""

    entry: Entry
    conflated: int = 0


def conflate(entries: Iterable[Entry]) -> list[Delivery]:
    """The latest entry of each key, in order of position; entries without a key all stay."""
    latest: dict[str, Delivery] = {}
    for index, entry in enumerate(entries):
        name = entry.key or f"\0{index}"
        before = latest.pop(name, None)
        latest[name] = Delivery(entry, before.conflated + 1 if before else 0)
    return list(latest.values())


@dataclass(frozen=True)
class Window:
    """What a channel's window holds at one moment."""

    epoch: str
    first: Position | None
    """The oldest entry kept; None if there is none."""
    last: Position
    """The newest position ever given."""
    trimmed: bool
    """Whether anything was ever dropped from it."""

    def refuses(self, epoch: str, position: Position) -> str | None:
        """Why a cursor cannot be resumed in full: `epoch`, `window`; None if it can."""
        if epoch != self.epoch or order(position) > order(self.last):
            return "epoch"
        if self.trimmed and (self.first is None or order(position) < order(self.first)):
            return "window"
        return None
