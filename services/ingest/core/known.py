"""Which keys a reference has, hashed: enough to say whether a row has come, at some 25 bytes a key."""

from services.ingest.core.window import Table

_MASK = 2**64 - 1


class Keys:
    """The keys of one reference, `most` of them. Beyond that every key counts as known: what cannot be judged is not
    parked. With 64 bits of a hash that this process alone knows, one value in some million million is wrongly known.

    Of a reference with versions a key is known from its first version on, until this process ends.
    """

    def __init__(self, most: int, *, versioned: bool) -> None:
        self.most, self.versioned, self.over = most, versioned, False
        self.table = Table()

    def __contains__(self, key: str) -> bool:
        return self.over or self.table.get(_hashed(key)) is not None

    def __len__(self) -> int:
        return self.table.used

    def take(self, key: bytes, *, gone: bool) -> str:
        """A record of the reference's topic: a row, or (`gone`) that there is none any more. The key that it is about."""
        text = key.decode("utf-8", "replace")
        if self.versioned:
            text = text.rpartition("|")[0]
        if not gone and not self.over:
            self.table.put(_hashed(text), 1)
            if self.table.used > self.most:
                self.over, self.table = True, Table()
        elif gone and not self.versioned:
            self.table.remove(_hashed(text), 1)
        return text


def _hashed(key: str) -> int:
    return (hash(key) & _MASK) or 1
