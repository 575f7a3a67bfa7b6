"""Receipts of batches: an id that the same body always has, and a signature that shows that it is ours and unaltered."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from libs.common.canonical import canonical

SIGNED = (
    "id",
    "source",
    "sha256",
    "count",
    "published",
    "duplicate",
    "dead_lettered",
    "refused",
    "offsets",
    "at",
)
"""What a receipt says, and its signature holds."""


def id_of(source: str, sha256: str) -> str:
    """Of a body by its hash: 128 bits, in hex."""
    return hashlib.sha256(f"sextant receipt\n{source}\n{sha256}".encode()).hexdigest()[:32]


def sign(secret: bytes, receipt: Mapping[str, Any]) -> str:
    """HMAC-SHA256 over what it says, in hex."""
    said = canonical({name: receipt[name] for name in SIGNED})
    return hmac.digest(secret, f"sextant receipt\n{said}".encode(), hashlib.sha256).hex()


def fault(secret: bytes, receipt: Mapping[str, Any]) -> str | None:
    """Why a receipt is not one of ours as it was given; None if it is."""
    if receipt["id"] != id_of(receipt["source"], receipt["sha256"]):
        return "its id is not that of its source and hash"
    if not hmac.compare_digest(sign(secret, receipt).encode(), receipt["signature"].encode()):
        return "its signature does not hold: it is not ours, or was altered"
    return None
