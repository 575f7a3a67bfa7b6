"""What one request brings, and what became of it."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from libs.common import telemetry
from libs.common.errors import Problem
from libs.common.kafka import Headers
from services.ingest.core.admission import Hold
from services.ingest.core.contract import Contract
from services.ingest.core.records import Bad, Good

if TYPE_CHECKING:
    from services.ingest.handlers.batch import Batch

COUNTED: tuple[str, ...] = ("published", "duplicate", "dead_lettered", "parked", "refused")


@dataclass
class Submission:
    """What one request brings, and what became of it."""

    contract: Contract
    """The version of the source by which they were validated."""
    records: Sequence[Good | Bad]
    through: datetime | None = None
    """Declares a watermark, after the records."""
    hold: Hold | None = None
    """What it holds already; given back when it is committed."""
    unattended: bool = False
    """Nobody waits for an answer who could mend a record: what is malformed becomes a dead letter, never refused."""
    receipt: str = field(default_factory=lambda: uuid4().hex)
    """Two requests with the same body have the same."""
    letters: Sequence[str] = ()
    """Of a re-drive: the dead letter that each record was."""
    delivery: str | None = None
    """The id of a signed delivery: one that comes again is a duplicate as a whole."""
    problem: Problem | None = None
    """Why nothing of it was taken."""
    sha256: str | None = None
    """Of its body."""
    headers: Headers = field(default_factory=telemetry.inject)
    does: "Callable[[Batch], object] | None" = None
    """What is done instead, in its place among the others, about what was accepted before."""
    brief: bool = False
    """Nobody wants to hear of what was published: it has no results."""
    results: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    new: list[Hashable] = field(default_factory=list)
    """The ids that it brought first."""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition → the first and the last of what was published of it: places in the transaction, then offsets."""
    at: datetime | None = None
    """When it was decided on."""
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @cached_property
    def id(self) -> str:
        """Of this request alone, whatever it brings."""
        return uuid4().hex

    @cached_property
    def trace_id(self) -> str | None:
        """Of the trace that it is part of."""
        return telemetry.trace_of(self.headers)

    def note(self, result: dict[str, Any]) -> None:
        """What became of a record."""
        self.counts[result["status"]] += 1
        self.results.append(result)

    @property
    def accepted(self) -> int:
        counts = self.counts
        return counts["published"] + counts["duplicate"] + counts["dead_lettered"] + counts["parked"]

    @property
    def first_receipt(self) -> str:
        """Its own; of what was published before as a whole, the one under which it was."""
        if self.counts["duplicate"] < len(self.records):
            return self.receipt
        before = {result["receipt"] for result in self.results}
        first = next(iter(before)) if len(before) == 1 else None
        return first or self.receipt

    def answer(self, source: str) -> dict[str, Any]:
        """Counts, and a result per record."""
        said = {"receipt": self.first_receipt, "source": source, "accepted": self.accepted, **self.counts}
        return {**said, "results": self.results}

    def end(self) -> None:
        """It is committed, or refused: whoever waits is told."""
        if self.hold is not None:
            self.hold.give_back()
        if self.problem is not None:
            self.fail(self.problem)
        elif not self.answered.done():
            self.answered.set_result(None)

    def fail(self, problem: Problem) -> None:
        """Whoever waits is told why not, unless they were told already."""
        if not self.answered.done():
            self.answered.set_exception(problem)
