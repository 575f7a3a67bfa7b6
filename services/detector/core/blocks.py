"""Blocks of panes, for windows of very many panes."""

import numpy as np
import polars as pl

from services.detector.core.rows import Rows, States
from services.detector.core.windows import Aligned, Calendar


def blocks_of(first: int, after: int, built: list[int]) -> list[tuple[int, int]]:
    """Cuts the panes [first, after) into few aligned blocks: (level, number of the first pane).

    A block of level k is 2^k panes, aligned to 2^k; it may be used up to pane `built[k]` (built[0] is no limit).
    At most 2·log2(after - first) blocks when all are built: the canonical decomposition of a segment tree.
    """
    found: list[tuple[int, int]] = []
    at = first
    while at < after:
        level = 0
        while level + 1 < len(built):
            size = 2 << level
            if at % size or at + size > after or at + size > built[level + 1]:
                break
            level += 1
        found.append((level, at))
        at += 1 << level
    return found


class Blocks:
    """Merged rows of 2, 4, 8 … panes, so that a window of n panes is made of at most 2·log2 n rows per series.

    A block is made when the watermark has passed it and a window first needs it; late rows are added to the blocks
    that they belong to. (Segment tree; compare Tangwongsan et al., General Incremental Sliding-Window Aggregation,
    VLDB 2015.) It is derived from the panes, and is no part of a snapshot.
    """

    def __init__(self, states: States, windows: Aligned | Calendar) -> None:
        assert isinstance(windows, Aligned)
        self.windows = windows
        levels = windows.panes.bit_length()
        self.levels = [Rows(states) for _ in range(levels)]
        """Level 0 is unused: the panes themselves."""
        self.built = [0] * levels
        """Number of the pane up to which the blocks of a level are made; 0: none yet."""

    def only(self, states: States) -> "Blocks":
        """The same with these states alone."""
        found = Blocks(states, self.windows)
        found.levels = [level.only(states) for level in self.levels]
        found.built = list(self.built)
        return found

    def _number(self, start: int) -> int:
        return (start - self.windows.offset) // self.windows.pane

    def _block(self, level: int) -> pl.Expr:
        """Start (ms) of the block that a pane lies in."""
        size, offset = self.windows.pane << level, self.windows.offset
        return ((pl.col("start") - offset).floordiv(size) * size + offset).alias("start")

    def add(self, partials: pl.DataFrame) -> None:
        """Rows of panes whose blocks are made already belong to them too."""
        for level in range(1, len(self.levels)):
            edge = self.built[level] * self.windows.pane + self.windows.offset
            known = partials.filter(pl.col("start") < edge) if self.built[level] else partials.clear()
            if known.is_empty():
                return
            self.levels[level].add(known.with_columns(self._block(level)))

    def members(self, starts: np.ndarray, content: Rows, oldest: int, passed: int | None) -> pl.DataFrame:
        """The rows that the windows which start then are made of, with `window`. `oldest`: pane that has rows."""
        if passed is not None:
            after = self._number(int(starts.max())) + self.windows.panes
            self._build(content, self._number(oldest), min(self._number(passed), after))
        tables: dict[int, tuple[list[int], list[int]]] = {}
        for start in starts.tolist():
            number = self._number(start)
            for level, at in blocks_of(number, number + self.windows.panes, self.built):
                places, windows = tables.setdefault(level, ([], []))
                places.append(at * self.windows.pane + self.windows.offset)
                windows.append(start)
        found = []
        for level, (places, windows) in tables.items():
            table = pl.DataFrame({"start": places, "window": windows})
            rows = content if level == 0 else self.levels[level]
            needed = pl.col("start").is_in(table["start"].unique().implode())
            found.append(rows.where(needed).join(table, on="start"))
        return pl.concat(found)

    def _build(self, content: Rows, first: int, upto: int) -> None:
        """Make the blocks from pane `first` to `upto` that are not there yet, each from two of the level below."""
        for level in range(1, len(self.levels)):
            size = 1 << level
            begin = max(self.built[level], first // size * size)
            end = upto // size * size
            if end <= begin:
                return
            low, high = (each * self.windows.pane + self.windows.offset for each in (begin, end))
            below = content if level == 1 else self.levels[level - 1]
            rows = below.where((pl.col("start") >= low) & (pl.col("start") < high))
            self.levels[level].add(rows.with_columns(self._block(level)))
            self.levels[level].merge()
            self.built[level] = end

    def forget(self, closed: int) -> None:
        """Drop the blocks that no window which ends after `closed` begins with."""
        for level in self.levels[1:]:
            level.keep(pl.col("start") > closed - self.windows.size)

    @property
    def size(self) -> int:
        return sum(level.size for level in self.levels)
