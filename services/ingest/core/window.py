"""The dedup window: the ids of the last events of a source, and the receipt under which each was published."""

import re
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

_TABLES = 64
"""So many small tables: one that grows holds nobody up for long."""
_MASK = 2**64 - 1
_NUMBERS = 2**32
_RECEIPT = re.compile("[0-9a-f]{32}")


class Table:
    """Numbers by hash, open addressing in two arrays: 12 bytes a place instead of some hundred for objects in a dict.

    0 is no hash. A hash that is removed leaves no mark: those behind it move up (Knuth, 6.4, algorithm R).
    """

    def __init__(self) -> None:
        self.keys, self.numbers = array("Q", bytes(8 * 64)), array("I", bytes(4 * 64))
        self.mask, self.used = 63, 0

    def get(self, key: int) -> int | None:
        keys, mask = self.keys, self.mask
        place = (key >> 6) & mask
        while (found := keys[place]) != key:
            if not found:
                return None
            place = (place + 1) & mask
        return self.numbers[place]

    def put(self, key: int, number: int) -> None:
        keys, mask = self.keys, self.mask
        place = (key >> 6) & mask
        while (found := keys[place]) and found != key:
            place = (place + 1) & mask
        self.numbers[place] = number
        if not found:
            keys[place] = key
            self.used += 1
            if 5 * self.used > 3 * mask:
                self._grow()

    def remove(self, key: int, number: int) -> None:
        """Unless it has another number by now."""
        keys, numbers, mask = self.keys, self.numbers, self.mask
        gap = (key >> 6) & mask
        while (found := keys[gap]) != key:
            if not found:
                return
            gap = (gap + 1) & mask
        if numbers[gap] != number:
            return
        place = gap
        while keys[place := (place + 1) & mask]:
            home = (keys[place] >> 6) & mask
            if (place - home) & mask >= (place - gap) & mask:
                keys[gap], numbers[gap] = keys[place], numbers[place]
                gap = place
        keys[gap] = 0
        self.used -= 1

    def _grow(self) -> None:
        before = zip(self.keys, self.numbers, strict=True)
        size = 2 * (self.mask + 1)
        self.keys, self.numbers = array("Q", bytes(8 * size)), array("I", bytes(4 * size))
        self.mask, self.used = size - 1, 0
        for key, number in before:
            if key:
                self.put(key, number)


@dataclass(frozen=True, slots=True)
class Publication:
    """When ids were published, and under which receipt."""

    receipt: str
    """Empty if it is not known."""
    at: int
    """ms."""


class Window:
    """At most `size` ids, none longer than `keep` ms; the oldest forgotten first.

    An id is 64 bits of a hash that this process alone knows: with 5 million of them one event in 3.7 million million
    is taken for a duplicate. Publications are kept in the order in which they were remembered, each with the hashes
    of its ids.
    """

    def __init__(self, size: int, keep: int) -> None:
        self.size, self.keep, self.count = size, keep, 0
        self.tables = [Table() for _ in range(_TABLES)]
        self.hashes, self.first_hash = array("Q"), 0
        self.counts, self.times, self.receipts = array("I"), array("Q"), bytearray()
        self.first, self.offset = 0, 0
        """The place of the oldest publication in the arrays, and the number that the place 0 has."""

    def find(self, id: Hashable, now: int) -> Publication | None:
        """Under what an id was published within the last `keep` ms; None if it is not known."""
        key = (hash(id) & _MASK) or 1
        number = self.tables[key % _TABLES].get(key)
        if number is None:
            return None
        place = (number - self.offset) % _NUMBERS
        at = self.times[place]
        receipt = self.receipts[16 * place : 16 * place + 16]
        return Publication(receipt.hex() if any(receipt) else "", at) if at > now - self.keep else None

    def remember(self, ids: Iterable[Hashable], receipt: str, at: int) -> None:
        """Ids that were published together. A receipt is 32 hexadecimal digits, or is forgotten."""
        place = len(self.counts)
        number, before = (self.offset + place) % _NUMBERS, len(self.hashes)
        for id in ids:
            key = (hash(id) & _MASK) or 1
            self.tables[key % _TABLES].put(key, number)
            self.hashes.append(key)
        added = len(self.hashes) - before
        if added:
            self.counts.append(added)
            self.times.append(at)
            self.receipts += bytes.fromhex(receipt) if _RECEIPT.fullmatch(receipt) else bytes(16)
            self.count += added
        self.forget(at)

    def forget(self, now: int) -> None:
        """What is too old, or too much."""
        limit, tables = now - self.keep, self.tables
        while self.count and (self.count > self.size or self.times[self.first] <= limit):
            here = self.counts[self.first]
            gone = here if self.times[self.first] <= limit else min(here, self.count - self.size)
            number = (self.offset + self.first) % _NUMBERS
            for key in self.hashes[self.first_hash : self.first_hash + gone]:
                tables[key % _TABLES].remove(key, number)
            self.first_hash += gone
            self.count -= gone
            self.counts[self.first] -= gone
            if gone == here:
                self.first += 1
        if self.first_hash > 4_096 and 2 * self.first_hash > len(self.hashes):
            del self.hashes[: self.first_hash]
            self.first_hash = 0
        if self.first > 4_096 and 2 * self.first > len(self.counts):
            del self.counts[: self.first], self.times[: self.first], self.receipts[: 16 * self.first]
            self.offset, self.first = (self.offset + self.first) % _NUMBERS, 0

    @property
    def since(self) -> int | None:
        """When the oldest id that is known was published, in ms."""
        return self.times[self.first] if self.count else None

    def __len__(self) -> int:
        return self.count
