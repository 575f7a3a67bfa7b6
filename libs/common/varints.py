"""Avro's int and long: zig-zag, seven bits a byte, the low ones first (Avro 1.12, Binary Encoding)."""

import numpy as np
from numpy.typing import NDArray

_BITS = 14
"""Of a number at a time: two digits."""
_LAST = [bytes([low]) if low < 0x80 else bytes([low & 0x7F | 0x80, low >> 7]) for low in range(1 << _BITS)]
"""The last one or two digits."""
_MORE = [bytes([low & 0x7F | 0x80, low >> 7 | 0x80]) for low in range(1 << _BITS)]
"""Two digits that more follow."""


def objects(*values: bytes) -> NDArray[np.object_]:
    """numpy's own bytes lose the zeros at their end."""
    return np.array(values, dtype=object)


_DIGITS = objects(*_LAST, *_MORE, b"")


def varint(number: int) -> bytes:
    """Of 64 bits."""
    rest = (number << 1) ^ (number >> 63)
    digits = []
    while rest >> _BITS:
        digits.append(_MORE[rest & (1 << _BITS) - 1])
        rest >>= _BITS
    return b"".join([*digits, _LAST[rest]])


def varints(numbers: NDArray[np.int64]) -> NDArray[np.object_]:
    """`varint` of each."""
    if numbers.size and (numbers == numbers[0]).all():
        return np.repeat(objects(varint(int(numbers[0]))), numbers.size)
    rest = (numbers << 1) ^ (numbers >> 63)
    found, left = None, np.full(numbers.size, True)
    while found is None or left.any():
        more = rest.view(np.uint64) >> np.uint64(_BITS)
        places = (rest & (1 << _BITS) - 1) + ((more > 0) << _BITS)
        digits = _DIGITS[np.where(left, places, len(_DIGITS) - 1)]
        found = digits if found is None else found + digits
        rest, left = more.view(np.int64), more > 0
    return found
