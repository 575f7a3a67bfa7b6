"""A hash chain over audit entries, and its verification against anchored heads.

hash(n) = SHA-256(hash(n-1) ‖ canonical JSON of entry n). The chain alone shows an edit and a gap; that its tail was
cut, or the whole rewritten, shows only against heads kept elsewhere. (Schneier & Kelsey, Secure Audit Logs, 1999.)
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from libs.common.canonical import canonical

GENESIS = "0" * 64


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


@dataclass(frozen=True)
class Fault:
    """What is wrong, and at which entry."""

    seq: int
    kind: Literal["edited", "missing", "unlinked", "cut", "anchor"]
    message: str


def verify(rows: Iterable[Row], heads: Sequence[Head]) -> list[Fault]:
    """Every fault; [] if the chain holds and reaches all its anchored heads."""
    faults: list[Fault] = []
    anchored = {head.seq: head.hash for head in heads}
    expected, previous, last = 1, GENESIS, 0
    for row in rows:
        if row.seq != expected:
            faults.append(Fault(expected, "missing", f"entries {expected} to {row.seq - 1} are missing"))
        elif row.previous_hash != previous:
            faults.append(Fault(row.seq, "unlinked", "it does not follow on the entry before it"))
        if link(row.previous_hash, row.text) != row.hash or canonical(row.entry) != row.text:
            faults.append(Fault(row.seq, "edited", "it is not what was hashed"))
        if anchored.get(row.seq, row.hash) != row.hash:
            faults.append(Fault(row.seq, "anchor", "it is not the head that was anchored"))
        expected, previous, last = row.seq + 1, row.hash, row.seq
    furthest = max(anchored, default=0)
    if last < furthest:
        faults.append(Fault(last, "cut", f"the chain ends here, but was anchored at {furthest}"))
    return faults
