"""Merge: partial aggregates meet per series, and windows are emitted as the watermark passes them.

A window is emitted `final` when the watermark reaches its end, and again whenever late events change it, until
the watermark is `lateness` past its end; what comes for it then is late. In between, windows in progress are emitted
`provisional`. (Akidau et al., The Dataflow Model, VLDB 2015: on-time, late and early firings, accumulating.)

A state is a pure function of the steps it was given: partial rows, watermarks and moments. That is what recovery
rests on: a snapshot and the steps since give the same state again.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import polars as pl

from services.detector.core.blocks import Blocks
from services.detector.core.definitions import CompiledKpi, states_of
from services.detector.core.published import KEYS, SCHEMA, Published
from services.detector.core.rows import OFFSETS, Rows, merged
from services.detector.core.windows import Aligned, Calendar

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


@lru_cache(maxsize=1024)
def _no_observations(values: tuple[str, ...]) -> pl.DataFrame:
    """What most steps bring for a KPI: no rows, of these columns beside `WINDOW`."""
    return pl.DataFrame(schema={**WINDOW, **dict.fromkeys(values, pl.Float64)})


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
        self.panes: dict[int, tuple[int, int]] = {}
        """Start of each pane that has rows → the ends of the first and of the last window that it lies in."""
        self.emitted_to: int | None = None
        """Windows that end up to here were emitted as final."""
        self.revised: list[pl.DataFrame] = []
        """(series_key, start, stop) of emitted windows that changed since."""
        self.changed: list[pl.DataFrame] = []
        """(series_key, start of the pane) of what changed since the last provisional values."""
        self.early_at = 0
        self._next_stop: int | None = None
        self._next_known = True

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        late, bounds = partials.clear(), self._bounds(partials["start"])
        if watermark is not None:
            upto = watermark - self.lateness
            if any(last <= upto for _, last in bounds.values()):
                closed = self.windows.last_stop(partials["start"]) <= upto
                late, partials = partials.filter(closed), partials.filter(~closed)
                bounds = {start: each for start, each in bounds.items() if each[1] > upto}
            if any(first <= upto for first, _ in bounds.values()):
                late = late.vstack(partials.filter(self.windows.first_stop(partials["start"]) <= upto))
        if partials.is_empty():
            return late
        self.content.add(partials)
        if self.blocks is not None:
            self.blocks.add(partials)
        if not bounds.keys() <= self.panes.keys():
            self.panes |= bounds
            self._next_known = False
        if self.early is not None:
            self.changed.append(partials.select(KEYS))
        was_emitted = any(first <= (self.emitted_to or 0) for first, _ in bounds.values())
        if self.emitted_to is not None and watermark is not None and was_emitted:
            self._note_revised(partials, watermark)
        return late

    def _bounds(self, starts: pl.Series) -> dict[int, tuple[int, int]]:
        """Of these panes, as in `panes`."""
        found = {start: self.panes.get(start) for start in np.unique(starts.to_numpy()).tolist()}
        new = pl.Series([start for start, each in found.items() if each is None], dtype=pl.Int64)
        if len(new):
            ends = zip(
                self.windows.first_stop(new).to_list(), self.windows.last_stop(new).to_list(), strict=True
            )
            found |= zip(new.to_list(), ends, strict=True)
        return {start: each for start, each in found.items() if each is not None}

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
            before, due = self.emitted_to, self.next_stop
            self.emitted_to = watermark
            if due is not None and due <= watermark:
                starts = self.windows.due(np.array(sorted(self.panes)), before, watermark)
                found.append(self._due(self._members(starts), "final"))
                self._next_known = False
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
            return _no_observations(tuple(name for name in observations(kpi) if name not in WINDOW))
        return due.select(*WINDOW, *kpi.finals())

    def only(self, kpis: Sequence[CompiledKpi]) -> "Panes":
        found = Panes(*kpis)
        found.content = self.content.only(found.states)
        found.blocks = self.blocks.only(found.states) if self.blocks is not None else None
        found.published.windows = self.published.windows
        found.panes, found.emitted_to, found.early_at = dict(self.panes), self.emitted_to, self.early_at
        found._next_known = False
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
            members = self.content.where(pl.col("start").is_in(wanted))
            return members.hstack([members["start"].alias("window")])
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
        out = [start for start, (_, last) in self.panes.items() if last <= closed]
        if out:
            for start in out:
                del self.panes[start]
            self.content.keep(~pl.col("start").is_in(pl.Series(out, dtype=pl.Int64).implode()))
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
        self.panes, self._next_known = {}, False
        self.panes = self._bounds(frames["rows"]["start"])
        self.published.windows = frames["published"]
        self.changed = [frames["changed"]] if frames["changed"].height else []

    @property
    def next_stop(self) -> int | None:
        if not self._next_known:
            _, starts = self.windows.next_of(pl.Series(sorted(self.panes), dtype=pl.Int64), self.emitted_to)
            self._next_stop, self._next_known = least(self.windows.stop_of(starts)), True
        return self._next_stop

    @property
    def open_windows(self) -> int:
        """Panes of which not every window was emitted as final yet."""
        emitted_to = self.emitted_to
        if emitted_to is None:
            return len(self.panes)
        return sum(last > emitted_to for _, last in self.panes.values())

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
