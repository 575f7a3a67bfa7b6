"""JSON with one text per content, so that hashes can be compared years later, wherever they were made.

After RFC 8785: sorted keys, no spaces, and one text per number: a whole number may come back from a database or
another program as 3 or 3.0, and a large one as either kind.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_EXACT = 2**53
"""Up to here a double is a whole number exactly."""


def canonical(document: Any) -> str:
    """The text of JSON-ready values."""
    return json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if float(value).is_integer() and abs(value) < _EXACT else float(value)
    return value


def fingerprint(document: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
