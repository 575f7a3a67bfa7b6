"""Receipts of batches: an id that the same body always has, and a signature that shows that it is ours and unaltered."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

SIGNED = (
    "id",
    "source",
    "sha256",
    "count",
    "published",
    "duplicate",
    "dead_lettered",
    "parked",
    "refused",
    "offsets",
    "at",
)
"""What a receipt says, and its signature holds; one from before there was `parked` does not say it."""


def id_of(source: str, sha256: str, secret: bytes | None = None) -> str:
    """Of a body by its hash: 128 bits, in hex. With a secret nobody else can find out by trying what the body was: the
    id is written with events whose values are minimised."""
    said = f"sextant receipt\n{source}\n{sha256}".encode()
    found = hashlib.sha256(said) if secret is None else hmac.new(secret, said, hashlib.sha256)
    return found.hexdigest()[:32]


def sign(secret: bytes, receipt: Mapping[str, Any]) -> str:
    """HMAC-SHA256 over what it says, in hex. OverflowError if a number has more than 64 bits."""
    said = msgspec.json.encode({name: receipt[name] for name in SIGNED if name in receipt}, order="sorted")
    return hmac.digest(secret, b"sextant receipt\n" + said, hashlib.sha256).hex()


def fault(secret: bytes, receipt: Mapping[str, Any]) -> str | None:
    """Why a receipt is not one of ours as it was given; None if it is."""
    ids = {id_of(receipt["source"], receipt["sha256"], key) for key in (None, secret)}
    if receipt["id"] not in ids:
        return "its id is not that of its source and hash"
    try:
        holds = hmac.compare_digest(sign(secret, receipt).encode(), receipt["signature"].encode())
    except OverflowError:
        holds = False
    return None if holds else "its signature does not hold: it is not ours, or was altered"
