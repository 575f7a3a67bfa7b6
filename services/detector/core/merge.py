"""Merge: partial aggregates meet per series, and windows are emitted as the watermark passes them.

A window is emitted `final` when the watermark reaches its end, and again whenever late events change it, until
the watermark is `lateness` past its end; what comes for it then is late. In between, windows in progress are emitted
`provisional`. (Akidau et al., The Dataflow Model, VLDB 2015: on-time, late and early firings, accumulating.)

A state is a pure function of the steps it was given: partial rows, watermarks and moments. That is what recovery
rests on: a snapshot and the steps since give the same state again.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from services.detector.core.definitions import CompiledKpi, states_of
from services.detector.core.published import KEYS, SCHEMA, Published
from services.detector.core.rows import OFFSETS, Rows, States, merged
from services.detector.core.windows import Aligned, Calendar, blocks_of

HIERARCHY_FROM = 8
"""Panes in a window from which it is worth keeping blocks of panes."""

Snapshot = dict[str, pl.DataFrame]
Scalars = dict[str, int | None]


class MergeState(Protocol):
    """The state of a KPI in one merge partition, or of several that are made of the same rows."""

    @property
    def kpis(self) -> tuple[CompiledKpi, ...]: ...

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        """Take partial rows (`ROWS` and the states) in; returns those that are late, for all windows or for some."""
        ...

    def emit(self, watermark: int | None, now: int) -> pl.DataFrame:
        """What is to be published at the moment `now` (ms), oldest windows first; see `of`."""
        ...

    def standing(self) -> pl.DataFrame:
        """What `emit` gave last of the windows that are final and still take events; see `of`."""
        ...

    def of(self, kpi: CompiledKpi, due: pl.DataFrame) -> pl.DataFrame:
        """What of `emit` is to be published for one of the KPIs (`observations`)."""
        ...

    def only(self, kpis: Sequence[CompiledKpi]) -> "MergeState":
        """The same for these KPIs alone."""
        ...

    def resume(self, published: pl.DataFrame) -> None:
        """Go on where another state left off that had published these windows (series_key, start, stop, revision).

        For a state that was given rows and has emitted once.
        """
        ...

    def snapshot(self) -> tuple[Scalars, Snapshot]:
        """All of it, for `restore`."""
        ...

    def restore(self, scalars: Mapping[str, int | None], frames: Mapping[str, pl.DataFrame]) -> None: ...

    @property
    def next_stop(self) -> int | None:
        """End (ms) of the first window that was not emitted as final yet."""
        ...

    @property
    def open_windows(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> int:
        """Bytes, for each of the KPIs."""
        ...


WINDOW: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "revision": pl.Int32, "status": pl.String,
    "count": pl.Int64, "assessed": pl.Int64, "suspect": pl.Int64, "worst": pl.UInt8,
    "schema_ids": pl.List(pl.Int64), "offsets": OFFSETS,
}  # fmt: skip
"""The columns of an emitted window, whatever the KPI: start and stop in ms, offsets as partition, first, last."""
NOTHING = pl.DataFrame(schema=WINDOW)


def observations(compiled: CompiledKpi) -> dict[str, pl.DataType | type[pl.DataType]]:
    """The columns of what is emitted for a KPI."""
    measures = {f"measure:{name}": pl.Float64 for name in compiled.measures}
    return {**WINDOW, "value": pl.Float64, **measures}


class Panes:
    """Tumbling, sliding and calendar windows: rows per pane, windows made of panes when they are due.

    Of one KPI, or of several of the same shape, lateness and `early` that were given the same steps.
    """

    def __init__(self, *kpis: CompiledKpi) -> None:
        assert isinstance(kpis[0].windows, Aligned | Calendar)
        self.kpis = kpis
        self.windows, self.lateness, self.early = kpis[0].windows, kpis[0].lateness, kpis[0].kpi.early_seconds
        self.states = states_of(kpis)
        self.content = Rows(self.states)
        self.blocks = Blocks(self.states, self.windows) if _is_long(self.windows) else None
        self.published = Published()
        self.panes: set[int] = set()
        """Starts of the panes that have rows."""
        self.emitted_to: int | None = None
        """Windows that end up to here were emitted as final."""
        self.revised: list[pl.DataFrame] = []
        """(series_key, start, stop) of emitted windows that changed since."""
        self.changed: list[pl.DataFrame] = []
        """(series_key, start of the pane) of what changed since the last provisional values."""
        self.early_at = 0

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        late = partials.clear()
        if watermark is not None:
            stops = self.windows.last_stop(partials["start"])
            closed = stops + self.lateness <= watermark
            if closed.any():
                late, partials = partials.filter(closed), partials.filter(~closed)
            first = self.windows.first_stop(partials["start"])
            late = late.vstack(partials.filter(first + self.lateness <= watermark))
        if partials.is_empty():
            return late
        self.content.add(partials)
        if self.blocks is not None:
            self.blocks.add(partials)
        self.panes.update(partials["start"].unique().to_list())
        if self.early is not None:
            self.changed.append(partials.select(KEYS))
        if self.emitted_to is not None and watermark is not None:
            self._note_revised(partials, watermark)
        return late

    def _note_revised(self, partials: pl.DataFrame, watermark: int) -> None:
        places, starts = self.windows.windows_of(
            partials["start"], watermark - self.lateness, self.emitted_to
        )
        if len(starts):
            keys = partials["series_key"].gather(places)
            stops = self.windows.stop_of(starts)
            self.revised.append(pl.DataFrame({"series_key": keys, "start": starts, "stop": stops}))

    def emit(self, watermark: int | None, now: int) -> pl.DataFrame:
        found: list[pl.DataFrame] = []
        if self.revised:
            pairs = pl.concat(self.revised).unique()
            found.append(self._due(self._members(pairs["start"].unique().to_numpy()), "final", pairs))
            self.revised = []
        if watermark is not None and (self.emitted_to is None or watermark > self.emitted_to):
            before, self.emitted_to = self.emitted_to, watermark
            if self.panes:
                starts = self.windows.due(np.array(sorted(self.panes)), before, watermark)
                if starts.size:
                    found.append(self._due(self._members(starts), "final"))
            self._forget(watermark)
        early = self.early
        if self.changed and early is not None and now - self.early_at >= early * 1000:
            found += self._early()
            self.early_at = now
        if not found:
            return NOTHING
        return pl.concat(found).sort("start", "series_key", maintain_order=True)

    def standing(self) -> pl.DataFrame:
        pairs = self.published.final(self.emitted_to)
        if pairs.is_empty() or not self.panes:
            return NOTHING
        made = self._made(self._members(pairs["start"].unique().to_numpy()), "final", pairs)
        return self.published.known(made).select(*WINDOW, *self.states)

    def of(self, kpi: CompiledKpi, due: pl.DataFrame) -> pl.DataFrame:
        if due.is_empty():
            return pl.DataFrame(schema=observations(kpi))
        return due.select(*WINDOW, *kpi.finals())

    def only(self, kpis: Sequence[CompiledKpi]) -> "Panes":
        found = Panes(*kpis)
        found.content = self.content.only(found.states)
        found.blocks = self.blocks.only(found.states) if self.blocks is not None else None
        found.published.windows = self.published.windows
        found.panes, found.emitted_to, found.early_at = set(self.panes), self.emitted_to, self.early_at
        found.revised, found.changed = list(self.revised), list(self.changed)
        return found

    def _early(self) -> list[pl.DataFrame]:
        """Of each series that changed, the window in progress that ends first."""
        panes, self.changed = pl.concat(self.changed).unique(), []
        places, starts = self.windows.next_of(panes["start"], self.emitted_to)
        keys = panes["series_key"].gather(places)
        pairs = pl.DataFrame({"series_key": keys, "start": starts}).unique()
        if pairs.is_empty():
            return []
        pairs = pairs.with_columns(self.windows.stop_of(pairs["start"]).alias("stop"))
        return [self._due(self._members(pairs["start"].unique().to_numpy()), "provisional", pairs)]

    def _members(self, starts: np.ndarray) -> pl.DataFrame:
        """The partial rows of the windows that start then, with the window's start as `window`."""
        if isinstance(self.windows, Calendar) or self.windows.panes == 1:
            wanted = pl.Series(starts).implode()
            return self.content.where(pl.col("start").is_in(wanted)).with_columns(
                pl.col("start").alias("window")
            )
        if self.blocks is not None:
            return self.blocks.members(starts, self.content, min(self.panes), self.emitted_to)
        pane, panes = self.windows.pane, self.windows.panes
        windows = pl.Series("window", np.repeat(starts, panes))
        places = pl.Series("start", np.repeat(starts, panes) + np.tile(np.arange(panes) * pane, len(starts)))
        table = pl.DataFrame([windows, places])
        low, high = int(starts.min()), int(starts.max()) + self.windows.size
        rows = self.content.where((pl.col("start") >= low) & (pl.col("start") < high))
        return rows.join(table, on="start")

    def _due(self, members: pl.DataFrame, status: str, pairs: pl.DataFrame | None = None) -> pl.DataFrame:
        return self.published.next(self._made(members, status, pairs)).select(*WINDOW, *self.states)

    def _made(self, members: pl.DataFrame, status: str, pairs: pl.DataFrame | None) -> pl.DataFrame:
        """Windows of their members: of all, or of those of `pairs` (series_key, start)."""
        if pairs is not None:
            wanted = pairs.select("series_key", pl.col("start").alias("window"))
            members = members.join(wanted, on=["series_key", "window"], how="semi")
        made = merged(self.states, members).rename({"window": "start"})
        return made.with_columns(
            self.windows.stop_of(made["start"]).alias("stop"), pl.lit(status).alias("status")
        )

    def _forget(self, watermark: int) -> None:
        """Drop the windows that take no more events, and the rows that no window needs."""
        closed = watermark - self.lateness
        panes = pl.Series(sorted(self.panes), dtype=pl.Int64)
        out = panes.filter(self.windows.last_stop(panes) <= closed)
        if len(out):
            self.panes.difference_update(out.to_list())
            self.content.keep(~pl.col("start").is_in(out.implode()))
            if self.blocks is not None:
                self.blocks.forget(closed)
        self.published.forget(closed)

    # --- recovery ----------------------------------------------------------------------------------------

    def resume(self, published: pl.DataFrame) -> None:
        self.published.resume(published, self.emitted_to, self.lateness)

    def snapshot(self) -> tuple[Scalars, Snapshot]:
        self.content.merge()
        pairs = pl.concat([pl.DataFrame(schema={name: SCHEMA[name] for name in KEYS}), *self.changed])
        frames = {"rows": self.content.merged, "published": self.published.windows, "changed": pairs.unique()}
        return {"emitted_to": self.emitted_to, "early_at": self.early_at}, frames

    def restore(self, scalars: Mapping[str, int | None], frames: Mapping[str, pl.DataFrame]) -> None:
        self.emitted_to, self.early_at = scalars["emitted_to"], scalars["early_at"] or 0
        self.content.merged = frames["rows"].select(self.content.merged.columns)
        self.panes = set(frames["rows"]["start"].unique().to_list())
        self.published.windows = frames["published"]
        self.changed = [frames["changed"]] if frames["changed"].height else []

    @property
    def next_stop(self) -> int | None:
        panes = pl.Series(sorted(self.panes), dtype=pl.Int64)
        _, starts = self.windows.next_of(panes, self.emitted_to)
        return least(self.windows.stop_of(starts))

    @property
    def open_windows(self) -> int:
        """Panes of which not every window was emitted as final yet."""
        panes = pl.Series(sorted(self.panes), dtype=pl.Int64)
        return (
            len(panes)
            if self.emitted_to is None
            else int((self.windows.last_stop(panes) > self.emitted_to).sum())
        )

    @property
    def rows(self) -> int:
        return self.content.height

    @property
    def size(self) -> int:
        blocks = self.blocks.size if self.blocks is not None else 0
        return (self.content.size + blocks + int(self.published.windows.estimated_size())) // len(self.kpis)


def least(times: pl.Series) -> int | None:
    found = times.min()
    return found if isinstance(found, int) else None


def _is_long(windows: Aligned | Calendar) -> bool:
    return isinstance(windows, Aligned) and windows.panes >= HIERARCHY_FROM


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
