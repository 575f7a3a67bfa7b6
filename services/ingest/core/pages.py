"""What a connector gives and what is kept of a pull between its rounds. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

from libs.common.catalog.pulls import Overlapping
from libs.common.clock import EPOCH
from services.ingest.core.answers import Unreadable
from services.ingest.core.overlap import Limits, Overlap, Round

KNOWN = 200_000
"""Records of the overlap that are remembered by a pull itself: those that the dedup window does not know."""
STORED = 1_000
"""The latest of them are known after a restart too."""
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


@dataclass
class Page:
    """Some records. What a connector does after it gave them, it does after they were accepted."""

    records: Sequence[bytes]
    cursor: str | None = None
    """Where the next page begins; None: where this one began."""
    values: Sequence[int | None] | None = None
    """Of an overlapping pull: each record's cursor."""
    ordered: bool = True
    """Whether what follows lies at or behind the last of `values`: then the cursor moves with each page, else with the
    round's last."""
    last: bool = True


@dataclass
class Standing:
    """Where a pull stands."""

    cursor: str | None = None
    etag: tuple[str, str] | None = None
    """What was asked, and the entity tag of the answer."""
    overlap: Overlap | None = None
    known: dict[str, None] = field(default_factory=dict)
    """Digests of records that are read again and that the dedup window does not know."""
    round: Round | None = None

    @classmethod
    def of(cls, cursor: str | None, state: dict[str, Any] | None) -> "Standing":
        state = state or {}
        overlap, etag = state.get("overlap"), state.get("etag")
        return cls(
            cursor,
            (etag[0], etag[1]) if etag else None,
            msgspec.convert(overlap, Overlap, strict=False) if overlap else None,
            dict.fromkeys(state.get("known", ())),
        )

    def state(self) -> dict[str, Any] | None:
        """What is stored beside the cursor."""
        kept = {
            "etag": self.etag,
            "overlap": msgspec.to_builtins(self.overlap, str_keys=True) if self.overlap else None,
            "known": list(islice(reversed(self.known), STORED))[::-1],
        }
        return {name: value for name, value in kept.items() if value} or None

    def begin(self, overlap: Overlapping, *, times: bool, now: datetime) -> Round:
        """A round of an overlapping pull."""
        limits = limits_of(overlap, times=times)
        before = self.overlap or Overlap(width=limits.cap)
        self.round = Round(limits, before, micros(now) if times else None)
        return self.round

    def unknown(self, page: Page) -> list[bytes]:
        """The records of a page that need be handed in; of an overlapping pull each one once."""
        return list(page.records) if page.values is None else list(self._unknown(page).values())

    def _unknown(self, page: Page) -> dict[str, bytes]:
        """By digest: the same bytes with another cursor are another version, which may be an old one come back."""
        assert page.values is not None
        found = {digest(*each): each[0] for each in zip(page.records, page.values, strict=True)}
        return {key: record for key, record in found.items() if key not in self.known}

    def settle(self, page: Page, statuses: Sequence[str], *, ids: bool) -> int:
        """After `unknown(page)` was handed in with these outcomes: moves the cursor; how many rows were late.

        Without `ids` there is no dedup window: records are known by their bytes, and none is called late.
        """
        if page.values is None or self.round is None:
            self.cursor = page.cursor or self.cursor
            return 0
        outcomes = dict(zip(self._unknown(page), statuses, strict=True))
        fresh = {key for key, status in outcomes.items() if ids and status in ("published", "parked")}
        before = len(self.round.found)
        for record, value in zip(page.records, page.values, strict=True):
            key = digest(record, value)
            self.round.take([value], [key in fresh])
            fresh.discard(key)
        for key, status in outcomes.items():
            if status == "dead_lettered" or not ids:
                self.known[key] = None
        while len(self.known) > KNOWN:
            del self.known[next(iter(self.known))]
        if page.last:
            self.overlap = self.round.done()
        elif page.ordered:
            self.overlap = self.round.so_far()
        if self.overlap is not None and self.overlap.high is not None:
            self.cursor = text_of(self.overlap.high, times=self.round.now is not None)
        return len(self.round.found) - before


def portions(records: Sequence[bytes], count: int, size: int) -> Iterator[Sequence[bytes]]:
    """The records in their order, so many and so many bytes at a time at most, but one at least."""
    first, held = 0, 0
    for place, record in enumerate(records):
        if place > first and (place - first >= count or held + len(record) > size):
            yield records[first:place]
            first, held = place, 0
        held += len(record)
    if records:
        yield records[first:]


def digest(record: bytes, value: int | None) -> str:
    return blake2b(record + str(value).encode(), digest_size=8).hexdigest()


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND


def text_of(value: int, *, times: bool) -> str:
    """A cursor as it is asked with and shown: RFC 3339 to the millisecond, rounded down, or the number."""
    if not times:
        return str(value)
    moment = EPOCH + timedelta(milliseconds=max(_FIRST, value // 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def limits_of(overlap: Overlapping, *, times: bool) -> Limits:
    """Unreadable if the overlap is given in another unit than the cursor has."""
    sizes = []
    for name in ("floor", "cap"):
        size = getattr(overlap, name)
        if isinstance(size, timedelta) != times and size != 0:
            unit = "a time: give a duration, such as 1h" if times else "a number: give a number"
            raise Unreadable(f"overlap.{name} is {size}, and the cursor is {unit}")
        sizes.append(size // _MICROSECOND if isinstance(size, timedelta) else size)
    return Limits(sizes[0], sizes[1], overlap.safety // _MICROSECOND)
