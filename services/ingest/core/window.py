"""The dedup window: the ids of the last events of a source."""

from collections import deque
from hashlib import blake2b


class Window:
    """At most `size` ids, the oldest forgotten first; 8 bytes of hash each.

    Two different ids meet in a hash once in 2^64 pairs: with 5 million ids, one event in 3.7 million million is
    taken for a duplicate.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.ids: set[int] = set()
        self.order: deque[int] = deque()

    @staticmethod
    def hashed(event_id: str) -> int:
        return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "big")

    def __contains__(self, event_id: str) -> bool:
        return self.hashed(event_id) in self.ids

    def add(self, event_id: str) -> None:
        number = self.hashed(event_id)
        if number not in self.ids:
            self.ids.add(number)
            self.order.append(number)
            if len(self.order) > self.size:
                self.ids.discard(self.order.popleft())

    def __len__(self) -> int:
        return len(self.ids)
