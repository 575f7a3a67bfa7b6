"""The dedup window: the ids of the last events of a source, and the receipt under which each was published."""

import re
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

_NUMBERS = 2**32
_TABLES = 64
"""So many small tables: one that grows, or makes room, holds nobody up for long."""
_RECEIPT = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Publication:
    """When ids were published, and under which receipt."""

    receipt: str
    """Empty if it is not known."""
    at: int
    """ms."""


class Window:
    """At most `size` ids, none longer than `keep` ms; the oldest forgotten first.

    An id is 60 bits of a hash that this process alone knows: with 5 million of them one event in 230 thousand million
    is taken for a duplicate. It takes about 80 bytes, one that was published alone 120. Publications are kept in the
    order in which they were remembered, each with the hashes of its ids.
    """

    def __init__(self, size: int, keep: int) -> None:
        self.size, self.keep, self.count = size, keep, 0
        self.tables: list[dict[int, int]] = [{} for _ in range(_TABLES)]
        """Hash → the number of its publication, modulo 2^32; by the hash's last bits."""
        self.hashes, self.first_hash = array("q"), 0
        self.counts, self.times, self.receipts = array("I"), array("Q"), bytearray()
        self.withdrawn: set[bytes] = set()
        """Receipts whose publications count no more: their ids are new again."""
        self.first, self.offset = 0, 0
        """The place of the oldest publication in the arrays, and the number that the place 0 has."""

    def find(self, id: Hashable, now: int) -> Publication | None:
        """Under what an id was published within the last `keep` ms; None if it is not known."""
        key = hash(id) >> 4
        number = self.tables[key % _TABLES].get(key)
        if number is None:
            return None
        place = (number - self.offset) % _NUMBERS
        at = self.times[place]
        receipt = bytes(self.receipts[16 * place : 16 * place + 16])
        if receipt in self.withdrawn:
            return None
        return Publication(receipt.hex() if any(receipt) else "", at) if at > now - self.keep else None

    def knows_none(self, ids: Iterable[Hashable]) -> bool:
        """Of none of them anything is found."""
        tables = self.tables
        return not any([(key := hash(id) >> 4) in tables[key % _TABLES] for id in ids])

    def remember(self, ids: Iterable[Hashable], receipt: str, at: int) -> None:
        """Ids that were published together. A receipt is 32 hexadecimal digits, or is forgotten."""
        hashes = [hash(id) >> 4 for id in ids]
        if hashes:
            number, tables = (self.offset + len(self.counts)) % _NUMBERS, self.tables
            for key in hashes:
                tables[key % _TABLES][key] = number
            self.hashes.extend(hashes)
            self.counts.append(len(hashes))
            self.times.append(at)
            self.receipts += bytes.fromhex(receipt) if _RECEIPT.fullmatch(receipt) else bytes(16)
            self.count += len(hashes)
        self.forget(at)

    def withdraw(self, receipts: Iterable[str]) -> None:
        """What was published under them, or will be read back, is not known."""
        self.withdrawn.update(bytes.fromhex(receipt) for receipt in receipts)

    def forget(self, now: int) -> None:
        """What is too old, or too much."""
        limit, tables = now - self.keep, self.tables
        while self.count and (self.count > self.size or self.times[self.first] <= limit):
            here = self.counts[self.first]
            gone = here if self.times[self.first] <= limit else min(here, self.count - self.size)
            number = (self.offset + self.first) % _NUMBERS
            for key in self.hashes[self.first_hash : self.first_hash + gone]:
                table = tables[key % _TABLES]
                if table.get(key) == number:  # else it was published anew
                    del table[key]
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
