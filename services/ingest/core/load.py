"""How the records of a source fall on its partitions, and which keys carry most of them. Bounded memory. Pure.

All figures fade: what is so long ago counts half. Keys are counted by the algorithm of Misra and Gries (Finding repeated
elements, 1982) in the form that takes whole batches in (Agarwal et al., Mergeable Summaries, PODS 2012): a count is too
low by at most the total / (COUNTERS + 1). Of a large batch a sample is counted for all of it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import nlargest
from math import sqrt
from random import Random

from libs.common.skew import Share

HALF_LIFE_MS = 600_000
COUNTERS = 256
"""Keys that are kept of up to twice as many."""
SAMPLE = 1_000
"""Keys of one transaction that are counted, about."""
LONGEST_KEY = 200
"""Bytes of a key that are kept; of a longer one its beginning and a digest."""
TOP = 5
Written = tuple[bytes | None, object, Sequence[tuple[str, bytes]]]
"""Key, value and headers of a record."""


@dataclass(frozen=True)
class Hot:
    """A key, and its share of the records."""

    key: bytes
    share: float


class Keyed:
    """The heaviest keys. Weights are of records."""

    def __init__(self) -> None:
        self.counts: dict[bytes, float] = {}
        self.total = self.lost = self.variance = 0.0
        self.all = True
        """Whether every key that came has a counter: then their number is known."""

    def add(self, sample: Sequence[bytes], count: int) -> None:
        """The keys of a batch of so many records, or of some of them."""
        if not sample:
            return
        weight = count / len(sample)
        self.total += count
        if (
            len(sample) < count
        ):  # with replacement; a share of one half varies most (Cochran, Sampling Techniques, 3.2)
            self.variance += count * weight / 4
            self.all = False
        for key, times in Counter(map(_short, sample)).items():
            self.counts[key] = self.counts.get(key, 0.0) + times * weight
        if len(self.counts) > 2 * COUNTERS:  # so that the search for what to drop is paid by as many new keys
            cut = nlargest(COUNTERS + 1, self.counts.values())[-1]
            self.counts = {key: kept - cut for key, kept in self.counts.items() if kept > cut}
            self.lost, self.all = self.lost + cut, False

    def fade(self, factor: float) -> None:
        self.counts = {key: count * factor for key, count in self.counts.items() if count * factor >= 0.01}
        self.total, self.lost, self.variance = (
            self.total * factor,
            self.lost * factor,
            self.variance * factor**2,
        )

    @property
    def error(self) -> float:
        """How far a share may be off: what the counters lack, and 1.96 standard deviations of the samples."""
        return (self.lost + 1.96 * sqrt(self.variance)) / self.total if self.total else 0.0

    def top(self, count: int) -> list[Hot]:
        heaviest = nlargest(count, self.counts.items(), key=lambda each: each[1])
        return [Hot(key, kept / self.total) for key, kept in heaviest]


class Load:
    """What was written to the partitions of one source, lately."""

    def __init__(self, partitions: int, random: Random) -> None:
        self.records = [0.0] * partitions
        self.bytes = [0.0] * partitions
        self.keys = Keyed()
        self.random = random
        self.faded_at: int | None = None

    def take(self, now: int, written: Sequence[Sequence[Written]], sizes: Sequence[int]) -> None:
        """Of a transaction at `now` (ms): what went to each partition, and how many bytes that were."""
        self._fade(now)
        count = sum(map(len, written))
        if count <= SAMPLE:  # among more, control records make no difference
            written = [[record for record in each if record[2][0][0] != "sx-control"] for each in written]
            count = sum(map(len, written))
        for number, (each, size) in enumerate(zip(written, sizes, strict=True)):
            self.records[number] += len(each)
            self.bytes[number] += size
            self.keys.add([key for key in self._sampled(each, count) if key is not None], len(each))

    def _sampled(self, records: Sequence[Written], of: int) -> list[bytes | None]:
        """The keys of records that went to one partition; of many (`of` in all) some by chance, as many as they count."""
        size = len(records)
        if of <= SAMPLE:
            return [record[0] for record in records]
        draw = self.random.random
        return [records[int(draw() * size)][0] for _ in range(-(-SAMPLE * size // of))]

    def _fade(self, now: int) -> None:
        """At most once a minute."""
        past = 0 if self.faded_at is None else now - self.faded_at
        if self.faded_at is not None and past < HALF_LIFE_MS // 10:
            return
        self.faded_at, factor = now, 0.5 ** (past / HALF_LIFE_MS)
        self.records = [count * factor for count in self.records]
        self.bytes = [count * factor for count in self.bytes]
        self.keys.fade(factor)

    @property
    def total(self) -> float:
        return sum(self.records)

    def shares(self) -> list[Share]:
        """Per partition; nothing while there are no records."""
        records, size = self.total, sum(self.bytes)
        return [
            Share(number, mine / records, theirs / size if size else 0.0)
            for number, (mine, theirs) in enumerate(zip(self.records, self.bytes, strict=True))
            if records
        ]

    @property
    def distinct(self) -> int | None:
        """How many keys came; None: more than there are counters."""
        return len(self.keys.counts) if self.keys.all else None


def _short(key: bytes) -> bytes:
    if len(key) <= LONGEST_KEY:
        return key
    return key[: LONGEST_KEY - 17] + b"~" + sha256(key).hexdigest()[:16].encode()
