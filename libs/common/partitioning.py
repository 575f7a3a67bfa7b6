"""The partition that every Kafka client chooses for a key: murmur2 of its bytes (Java's `DefaultPartitioner`).

The library's own murmur2 is plain Python, 5 µs for a key; many keys at once are hashed by columns.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from aiokafka.partitioner import murmur2

_FEW = 32
"""So many are found sooner one by one, most of them remembered."""
_SEED, _M, _R = 0x9747B28C, np.uint32(0x5BD1E995), np.uint32(24)


def partition_for(key: bytes | None, count: int) -> int:
    """The partition of a key, of `count`; 0 without one."""
    return 0 if key is None else _hashed(key) % count


@lru_cache(maxsize=65_536)
def _hashed(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF


def partitions_for(keys: Sequence[bytes], count: int) -> list[int]:
    """`partition_for` of each."""
    if len(keys) < _FEW:
        return [partition_for(key, count) for key in keys]
    places: dict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[len(key)].append(place)
    hashes = np.empty(len(keys), dtype=np.uint32)
    for length, same in places.items():
        joined = b"".join([keys[place] for place in same]) if len(same) < len(keys) else b"".join(keys)
        hashes[same] = _murmur2(np.frombuffer(joined, dtype=np.uint8).reshape(len(same), length))
    return ((hashes & np.uint32(0x7FFFFFFF)) % np.uint32(count)).tolist()


def _murmur2(keys: np.ndarray) -> np.ndarray:
    """Of each row of bytes; sums and products are modulo 2^32."""
    rows, length = keys.shape
    words, rest = length // 4, length % 4
    hashes = np.full(rows, _SEED ^ length, dtype=np.uint32)
    blocks = np.ascontiguousarray(keys[:, : words * 4]).view("<u4")
    for word in range(words):
        block = blocks[:, word] * _M
        block ^= block >> _R
        hashes = hashes * _M ^ block * _M
    for place in reversed(range(rest)):
        hashes ^= keys[:, words * 4 + place].astype(np.uint32) << np.uint32(8 * place)
    if rest:
        hashes *= _M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M
    return hashes ^ hashes >> np.uint32(15)
