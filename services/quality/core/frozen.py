"""Values that stand still: a field that did vary keeps one value for longer than it ever did. Pure.

A run is a stretch of events of a partition with one value. As with silence, a run is called frozen when it is three
times as long as the longest of at least twenty runs before it, and fifty events at least. So a field that seldom
varies (a flag, a code, an hour) has long runs and is left in peace. What was frozen is no part of what later runs are
compared with.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

RUNS, LONGER, SHORTEST = 20, 3, 50


@dataclass(frozen=True)
class Run:
    """The run that a field of a partition is in."""

    value: str | None = None
    """Its value as text; None before the first."""
    length: int = 0
    since: datetime | None = None
    """Arrival of its first event."""
    longest: int = 0
    """Of the runs before it that were not frozen."""
    runs: int = 0
    """How many those are."""

    @property
    def is_frozen(self) -> bool:
        return self.runs >= RUNS and self.length >= SHORTEST and self.length > LONGER * self.longest


def follow(run: Run, values: pl.Series, at: datetime) -> Run:
    """The run after further values, which came at that time; null is no value."""
    values = values.drop_nulls()
    if values.is_empty():
        return run
    stretches = values.rle()
    lengths, firsts = stretches.struct.field("len"), stretches.struct.field("value")
    first = str(firsts[0])
    if first == run.value:
        run = replace(run, length=run.length + lengths[0])
    else:
        run = Run(first, lengths[0], at, *_learned(run))
    if len(lengths) == 1:
        return run
    longest, runs = _learned(run)
    between = lengths[1:-1].to_list()
    longest, runs = max([longest, *between]), runs + len(between)
    return Run(str(firsts[-1]), lengths[-1], at, longest, runs)


def _learned(run: Run) -> tuple[int, int]:
    """(longest, runs) when a run has ended."""
    if run.value is None or run.is_frozen:
        return run.longest, run.runs
    return max(run.longest, run.length), run.runs + 1
