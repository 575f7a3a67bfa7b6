"""A hash chain over audit entries, and its verification against anchored heads.

hash(n) = SHA-256(hash(n-1) ‖ canonical JSON of entry n). The chain alone shows an edit and a gap; that its tail was
cut, or the whole rewritten, shows only against heads kept elsewhere. (Schneier & Kelsey, Secure Audit Logs, 1999.)
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64


def canonical(entry: Any) -> str:
    """JSON with sorted keys and no spaces (after RFC 8785)."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def link(previous_hash: str, text: str) -> str:
    """The hash of an entry with this canonical text."""
    return hashlib.sha256(f"{previous_hash}\n{text}".encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """A stored entry: `entry` is what readers see, `text` what was hashed."""

    seq: int
    entry: Any
    text: str
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class Head:
    """The end of the chain as it once was."""

    seq: int
    hash: str


def verify(rows: Iterable[Row], heads: Sequence[Head]) -> list[str]:
    """Every fault, as a sentence; [] if the chain holds and reaches all its anchored heads."""
    faults: list[str] = []
    anchored = {head.seq: head.hash for head in heads}
    expected, previous, last = 1, GENESIS, 0
    for row in rows:
        if row.seq != expected:
            faults.append(f"entries {expected} to {row.seq - 1} are missing")
        if row.previous_hash != previous and row.seq == expected:
            faults.append(f"entry {row.seq} does not follow on the one before it")
        if link(row.previous_hash, row.text) != row.hash or canonical(row.entry) != row.text:
            faults.append(f"entry {row.seq} is not what was hashed")
        if anchored.get(row.seq, row.hash) != row.hash:
            faults.append(f"entry {row.seq} is not the head that was anchored")
        expected, previous, last = row.seq + 1, row.hash, row.seq
    furthest = max(anchored, default=0)
    if last < furthest:
        faults.append(f"the chain ends at {last}, but was anchored at {furthest}: its tail is cut")
    return faults
