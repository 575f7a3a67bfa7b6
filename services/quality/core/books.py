"""The books of a minute beside what is on the topics: which records are missing, and which are in no books. Pure."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from libs.common.events import Missing

NAMED = 20
"""Records that an incident names at most."""


@dataclass(frozen=True)
class Line:
    """A minute of a source in `read.ledger`."""

    minute: datetime
    accepted: int
    published: int
    duplicate: int
    dead_lettered: int
    landed: int
    parked: int = 0
    erased: int = 0

    @property
    def events(self) -> int:
        """How many published events are not archived; below 0: how many are archived and were not published."""
        return self.published - self.landed

    @property
    def letters(self) -> int:
        """How many of the dead letters in the books are not archived."""
        said = self.published + self.duplicate + self.dead_lettered + self.parked + self.erased
        return self.accepted - said

    @property
    def end(self) -> datetime:
        return self.minute + timedelta(minutes=1)


@dataclass(frozen=True)
class Seen:
    """A record of the minute, as its topic has it."""

    topic: str
    partition: int
    offset: int
    id: str | None
    receipt: str | None

    @property
    def place(self) -> tuple[int, int]:
        return self.partition, self.offset


@dataclass
class Found:
    """What became of a minute that does not balance."""

    missing: int = 0
    """Records that were accepted and are not archived."""
    unbooked: int = 0
    """Events that are on the topic and in no books."""
    nowhere: int = 0
    """Of those missing: events that the topic does not hold either, so that nothing names them but their receipts."""
    receipts: list[str] = field(default_factory=list)
    """Of the requests that they came with."""
    named: list[Missing] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        self.missing += other.missing
        self.unbooked += other.unbooked
        self.nowhere += other.nowhere
        self.receipts += other.receipts
        self.named += other.named


def compare(
    line: Line,
    events: Iterable[Seen],
    accounted: Container[tuple[int, int]],
    published: Mapping[str, int],
    *,
    produced_by_others: bool,
) -> Found:
    """Event by event.

    `events`: what the source's topic holds of the minute. `accounted`: places (partition, offset) whose event is
    archived, or known to be gone: set aside as a dead letter, erased, withdrawn, disposed of. `published`: receipt →
    events of it by the books. Of a source whose events others write straight to the topic (`produced_by_others`) none is
    in the books, and none is missed there.
    """
    found = Found()
    on_topic: Counter[str] = Counter()
    for seen in events:
        on_topic[seen.receipt or ""] += 1
        if seen.place not in accounted:
            found.missing += 1
            _name(found, "not_archived", line, seen)
        if not produced_by_others and on_topic[seen.receipt or ""] > published.get(seen.receipt or "", 0):
            found.unbooked += 1
            _name(found, "not_in_books", line, seen)
    for receipt, count in sorted(published.items()):
        if count > on_topic[receipt]:
            found.nowhere += count - on_topic[receipt]
            found.receipts.append(receipt)
    found.missing += found.nowhere
    return found


def letters(line: Line, written: Iterable[Seen], kept: Container[str | None]) -> Found:
    """Of the dead letters that ingest wrote in a minute, those that are not archived; `kept`: ids of those that are."""
    found = Found()
    for seen in written:
        if seen.id not in kept:
            found.missing += 1
            _name(found, "not_archived", line, Seen(seen.topic, *seen.place, None, seen.receipt))
    return found


def _name(found: Found, why: str, line: Line, seen: Seen) -> None:
    if len(found.named) < NAMED:
        named = {"topic": seen.topic, "partition": seen.partition, "offset": seen.offset, "event_id": seen.id}
        found.named.append(
            Missing.model_validate({**named, "why": why, "minute": line.minute, "receipt": seen.receipt})
        )


def told(lines: Iterable[Line], found: Found) -> str:
    """In a sentence: how many, of which minutes."""
    minutes = sorted(line.minute for line in lines)
    accepted = sum(line.accepted for line in lines)
    when = f"{minutes[0]:%Y-%m-%d %H:%M} UTC"
    if len(minutes) > 1:
        when = f"{len(minutes)} minutes from {when} to {minutes[-1]:%H:%M}"
    said: list[str] = []
    if found.missing:
        said.append(f"{found.missing} of {accepted} records accepted at {when} are not archived")
    if found.nowhere:
        receipts = ", ".join(found.receipts[:3]) + (", …" if len(found.receipts) > 3 else "")
        said.append(f"{found.nowhere} of them are not on the topic either (receipts {receipts})")
    if found.unbooked:
        when_unbooked = "" if found.missing else f" at {when}"
        said.append(f"{found.unbooked} events arrived{when_unbooked} that are in no books")
    return "; ".join(said)
