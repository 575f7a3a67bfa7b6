"""Completeness of a pull by an ordered cursor: how far before it to ask again. Pure.

A plain cursor loses what is committed behind it: rows of transactions that take long, of clocks that differ, of
several writers. So each round asks again from (cursor − width); the dedup window answers for what is there already,
and what is new behind the cursor was late by so much. The width follows a high quantile of what was found: it grows at
once and shrinks slowly, between a floor and a cap. From time to time a round sweeps: it asks again from (cursor at the
start of the last sweep − cap). Cursors only grow, so that whatever is committed no more than the cap behind the cursor
of that moment is found by the width, or else by the next sweep, however late others were.

Values are whole numbers: of times, microseconds since 1970.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, log

import msgspec

QUANTILE = 0.99
MARGIN = 1.5
"""The width is so many times the quantile."""
SHRINK = 0.95
FORGET = 0.999
"""What a late row counts after a round, in which anything came, of what it counted before."""
FORGOTTEN = 0.1
STEP = 1.25
"""Ratio of a bucket's end to its beginning."""
SWEEP_ROUNDS = 100
"""A source in which nothing moves is swept after so many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the definition says, in the cursor's unit."""

    floor: int
    cap: int
    safety: int
    """Of times: the cursor stays so far behind the clock."""


class Overlap(msgspec.Struct, frozen=True):
    """What is kept with the cursor."""

    width: int
    high: int | None = None
    """The cursor: all that had been committed up to it when it was asked for is in."""
    swept: int | None = None
    """Where it stood when the last sweep began."""
    whole: bool = False
    """Whether a first round has come to its end."""
    rounds: int = 0
    """Since the last sweep."""
    found: dict[int, float] = {}
    """Bucket of lateness → weight of the rows found in it."""
    late: int = 0
    """Rows that a plain cursor would have lost."""
    longest: int = 0
    """The latest of them."""


@dataclass
class Round:
    """One reading of the source from `since` to its end."""

    limits: Limits
    before: Overlap
    now: int | None
    """None: the cursor is no time."""
    top: int | None = None
    found: list[int] = field(default_factory=list)
    first: int | None = None

    @property
    def sweeps(self) -> bool:
        before = self.before
        if before.high is None or before.swept is None or not before.whole:
            return False
        return before.high - before.swept >= self.limits.cap // 2 or before.rounds >= SWEEP_ROUNDS

    @property
    def since(self) -> int | None:
        """Ask from here, inclusive; None is the beginning."""
        high, swept = self.before.high, self.before.swept
        if high is None:
            return None
        if self.sweeps and swept is not None:
            return min(high, swept) - self.limits.cap
        return high - min(self.before.width, self.limits.cap)

    @property
    def until(self) -> int | None:
        """The cursor goes no further: what is committed at this moment may have a time a little before it."""
        return None if self.now is None else self.now - self.limits.safety

    def take(self, values: Iterable[int | None], fresh: Iterable[bool]) -> None:
        """The values of a page's records, and which of the records had not come before."""
        high = self.before.high
        for value, new in zip(values, fresh, strict=True):
            if value is None:
                continue
            self.top = value if self.top is None else max(self.top, value)
            if new and high is not None and value <= high:
                self.found.append(high - value)
        if self.first is None:
            self.first = self.now if self.now is not None else self.top

    def so_far(self) -> Overlap:
        """In the middle of a source that gives its records in the order of the cursor: what it has given is in."""
        before = self.before
        if self.top is None:
            return before
        high = self.top if self.until is None else min(self.top, self.until)
        high = high if before.high is None else max(high, before.high)
        return msgspec.structs.replace(
            before, high=high, swept=before.swept if before.swept is not None else self.first
        )

    def done(self) -> Overlap:
        """At the round's end."""
        before, after = self.before, self.so_far()
        swept, rounds = (before.high, 0) if self.sweeps else (after.swept, before.rounds + 1)
        found, width = before.found, before.width
        if self.found or after.high != before.high:
            found = {bucket: weight * FORGET for bucket, weight in found.items()}
            for lateness in self.found:
                bucket = ceil(log(lateness + 1) / log(STEP))
                found[bucket] = found.get(bucket, 0.0) + 1.0
            found = {bucket: weight for bucket, weight in found.items() if weight >= FORGOTTEN}
            width = max(int(width * SHRINK), ceil(MARGIN * _quantile(found)), self.limits.floor)
        return msgspec.structs.replace(
            after,
            width=min(width, self.limits.cap),
            swept=swept,
            whole=True,
            rounds=rounds,
            found=found,
            late=before.late + len(self.found),
            longest=max([before.longest, *self.found]),
        )


def _quantile(found: dict[int, float]) -> float:
    """The lateness that only 1 in 100 of the late rows exceeds; 0 if there are none."""
    rest = sum(found.values()) * QUANTILE
    for bucket in sorted(found):
        rest -= found[bucket]
        if rest <= 1e-9:
            return STEP**bucket
    return 0.0


def following(top: int | None, since: int | None, step: int) -> int | None:
    """Where the next page of an ordered source begins: a little before the last record, since others may have the
    same value; None if that is no further than this page began."""
    if top is None or (since is not None and top - step <= since):
        return None
    return top - step
