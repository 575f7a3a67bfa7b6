"""Which keys a reference has, hashed: enough to say whether a row has come, at some 70 bytes a key."""


class Keys:
    """The keys of one reference, `most` of them. Beyond that every key counts as known: what cannot be judged is not
    parked. With 64 bits of a hash that this process alone knows, one value in some million million is wrongly known.

    Of a reference with versions a key is known from its first version on, until this process ends.
    """

    def __init__(self, most: int, *, versioned: bool) -> None:
        self.most, self.versioned, self.over = most, versioned, False
        self.hashes: set[int] = set()

    def __contains__(self, key: str) -> bool:
        return self.over or hash(key) in self.hashes

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, key: bytes, *, gone: bool) -> str:
        """A record of the reference's topic: a row, or (`gone`) that there is none any more. The key that it is about."""
        text = key.decode("utf-8", "replace")
        if self.versioned:
            text = text.rpartition("|")[0]
        if not gone and not self.over:
            self.hashes.add(hash(text))
            if len(self.hashes) > self.most:
                self.over, self.hashes = True, set()
        elif gone and not self.versioned:
            self.hashes.discard(hash(text))
        return text
