"""Merge: partial aggregates meet per series, and windows are emitted as the watermark passes them.

State is two frames per KPI and merge partition: `rows`, the partial aggregates per series, pane (or session) and
input partition; and `windows`, what was published of each window that still takes events. A window leaves the
state when the watermark is `lateness` past its end; what comes for it then is late. Everything is a function of
the partials and watermarks given, but for the provisional values, whose moment the caller chooses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from services.detector.core.combine import stable_hash
from services.detector.core.definitions import CompiledKpi

SESSION_BUCKETS = 16

ROWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "last": pl.Int64, "count": pl.Int64, "assessed": pl.Int64,
    "suspect": pl.Int64, "worst": pl.UInt8, "first": pl.Int64, "end": pl.Int64, "schema_ids": pl.List(pl.Int64),
}  # fmt: skip
WINDOWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "revision": pl.Int32, "final": pl.Boolean,
    "dirty": pl.Boolean,
}  # fmt: skip
"""`start` and `stop` bound the window [start, stop); `dirty`: changed since it was last published."""


@dataclass
class MergeState:
    """The state of one KPI in one merge partition."""

    compiled: CompiledKpi
    rows: pl.DataFrame = field(init=False)
    windows: pl.DataFrame = field(init=False)
    retracted: list[pl.DataFrame] = field(default_factory=list)
    touched: set[tuple[str, int]] = field(default_factory=set)
    """(r or w, bucket) of what changed since the last `changes`."""

    def __post_init__(self) -> None:
        states = self.compiled.value.schema()
        self.rows = pl.DataFrame(schema={**ROWS, "partition": pl.Int32, "session": pl.Int64, **states})
        self.windows = pl.DataFrame(schema=WINDOWS)

    # --- taking partials in ------------------------------------------------------------------------------

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        """Take partials (columns of `combine.partials` and `partition`) in; returns those that are late."""
        partials = partials.with_columns(session=pl.lit(None, dtype=pl.Int64)).select(self.rows.columns)
        partials = partials.cast(self.rows.schema)
        if self.compiled.windows.kind == "session":
            return self._add_sessions(partials, watermark)
        return self._add_panes(partials, watermark)

    def _closed(self, stop: pl.Expr, watermark: int | None) -> pl.Expr:
        """Whether a window that ends at `stop` takes no more events."""
        if watermark is None:
            return pl.lit(False)
        return stop + self.compiled.lateness <= watermark

    def _last_stop(self) -> pl.Expr:
        """The end of the last window that a pane lies in."""
        windows = self.compiled.windows
        return pl.col("start").floordiv(windows.every) * windows.every + windows.size

    def _add_panes(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        late = partials.filter(self._closed(self._last_stop(), watermark))
        fresh = partials.filter(~self._closed(self._last_stop(), watermark))
        self.rows = self._merged(pl.concat([self.rows, fresh]), "start")
        self._touch("r", fresh["start"])
        windows = self.compiled.windows
        newest = pl.col("start").floordiv(windows.every) * windows.every
        counts = -(-windows.size // windows.every)
        panes = fresh.select("series_key", "start").unique()
        opened = [
            panes.select("series_key", (newest - back * windows.every).alias("window"), pl.col("start"))
            for back in range(counts)
        ]
        found = (
            pl.concat(opened)
            .filter(pl.col("window") + windows.size >= pl.col("start") + windows.pane)
            .select("series_key", pl.col("window").alias("start"))
            .unique()
            .with_columns((pl.col("start") + windows.size).alias("stop"))
            .filter(~self._closed(pl.col("stop"), watermark))
            .with_columns(
                pl.lit(0, dtype=pl.Int32).alias("revision"),
                pl.lit(False).alias("final"),
                pl.lit(True).alias("dirty"),
            )
        )
        self.windows = (
            pl.concat([self.windows, found])
            .group_by("series_key", "start")
            .agg(pl.col("stop").max(), pl.col("revision").max(), pl.col("final").any(), pl.col("dirty").any())
        )
        self._touch("w", found["start"])
        return late

    def _add_sessions(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        gap = self.compiled.windows.size
        hit = pl.col("series_key").is_in(partials["series_key"].unique().implode())
        known = self.rows.filter(hit).with_columns(new=pl.lit(False))
        reach = pl.col("last").cum_max().shift(1).over("series_key")
        joined = (
            pl.concat([known, partials.with_columns(new=pl.lit(True))])
            .sort("series_key", "start")
            .with_columns(
                (pl.col("start") - reach >= gap).fill_null(True).cum_sum().over("series_key").alias("run")
            )
            .with_columns(
                pl.col("start").min().over("series_key", "run").alias("session"),
                (pl.col("last").max().over("series_key", "run") + gap).alias("stop"),
                pl.col("new").any().over("series_key", "run").alias("changed"),
                pl.col("new").all().over("series_key", "run").alias("all_new"),
            )
        )
        too_late = self._closed(pl.col("stop"), watermark) & pl.col("all_new")
        late = joined.filter(too_late).select(self.rows.columns)
        joined = joined.filter(~too_late)
        self.rows = pl.concat(
            [self.rows.filter(~hit), self._merged(joined.select(self.rows.columns), "session")]
        )
        sessions = joined.group_by("series_key", pl.col("session").alias("start")).agg(
            pl.col("stop").first(), pl.col("changed").any()
        )
        before = self.windows.filter(hit)
        after = sessions.join(before.drop("stop"), on=["series_key", "start"], how="left").select(
            "series_key",
            "start",
            "stop",
            pl.col("revision").fill_null(0),
            pl.col("final").fill_null(False) & ~pl.col("changed"),
            (pl.col("dirty").fill_null(False) | pl.col("changed")).alias("dirty"),
        )
        absorbed = before.join(sessions, on=["series_key", "start"], how="anti").filter(
            pl.col("revision") > 0
        )
        if absorbed.height:
            self.retracted.append(absorbed)
        self.windows = pl.concat([self.windows.filter(~hit), after])
        self._touch_series(partials["series_key"])
        return late

    def _merged(self, rows: pl.DataFrame, pane: str) -> pl.DataFrame:
        """One row per series, pane (or session) and input partition."""
        bounds = [pl.col("start").min()] if pane != "start" else []
        bounds += [pl.col("session").first()] if pane != "session" else []
        return (
            rows.group_by("series_key", pane, "partition")
            .agg(
                *bounds,
                pl.col("last").max(),
                pl.col("count", "assessed", "suspect").sum(),
                pl.col("worst").max(),
                pl.col("first").min(),
                pl.col("end").max(),
                pl.col("schema_ids").explode().unique().sort(),
                *self.compiled.value.merge(),
            )
            .select(self.rows.columns)
        )

    # --- giving windows out ------------------------------------------------------------------------------

    def emit(self, watermark: int | None, *, provisional: bool) -> pl.DataFrame:
        """What is to be published now, oldest windows first.

        Columns: series_key, start, stop (ms), value, count, assessed, suspect, worst, offsets (list of structs
        partition, first, last), schema_ids, revision, status. Final: windows that the watermark has passed, once
        and again whenever they change. Provisional: windows in progress that changed, if asked for.
        """
        passed = pl.lit(False) if watermark is None else pl.col("stop") <= watermark
        wanted = passed & (pl.col("dirty") | ~pl.col("final"))
        if provisional:
            wanted = wanted | pl.col("dirty")
        due = self.windows.filter(wanted)
        withdrawn, self.retracted = self._withdrawn(), []
        if due.is_empty():
            return withdrawn
        due = due.with_columns(pl.col("revision") + 1, passed.alias("final"), pl.lit(False).alias("dirty"))
        self.windows = self.windows.update(due, on=["series_key", "start"])
        self._touch_windows(due)
        values = self._values(due)
        status = pl.when(pl.col("final")).then(pl.lit("final")).otherwise(pl.lit("provisional"))
        out = (
            due.join(values, on=["series_key", "start"])
            .with_columns(status.alias("status"))
            .select(withdrawn.columns)
        )
        return pl.concat([withdrawn, out]).sort("start", "series_key", maintain_order=True)

    def _values(self, due: pl.DataFrame) -> pl.DataFrame:
        """The merged aggregate of each window in `due`."""
        if self.compiled.windows.kind == "session":
            members = self.rows.rename({"start": "own"}).rename({"session": "start"})
            members = members.join(due.select("series_key", "start"), on=["series_key", "start"])
        else:
            panes = pl.int_ranges("start", "stop", self.compiled.windows.pane).alias("pane")
            wanted = due.select("series_key", "start", panes).explode("pane")
            members = wanted.join(self.rows.rename({"start": "pane"}), on=["series_key", "pane"])
        keys = ["series_key", "start"]
        offsets = (
            members.group_by(*keys, "partition")
            .agg(pl.col("first").min(), pl.col("end").max().alias("last"))
            .sort("partition")
            .group_by(*keys)
            .agg(pl.struct("partition", "first", "last").alias("offsets"))
        )
        merged = members.group_by(*keys).agg(
            pl.col("count", "assessed", "suspect").sum(),
            pl.col("worst").max(),
            pl.col("schema_ids").explode().unique().sort(),
            *self.compiled.value.merge(),
        )
        return merged.with_columns(self.compiled.value.final().alias("value")).join(offsets, on=keys)

    def _withdrawn(self) -> pl.DataFrame:
        """Sessions that a merge took in: their own value no longer holds."""
        offsets = pl.List(pl.Struct({"partition": pl.Int32, "first": pl.Int64, "last": pl.Int64}))
        schema = {
            "series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "value": pl.Float64, "count": pl.Int64,
            "assessed": pl.Int64, "suspect": pl.Int64, "worst": pl.UInt8, "offsets": offsets,
            "schema_ids": pl.List(pl.Int64), "revision": pl.Int32, "status": pl.String,
        }  # fmt: skip
        empty = pl.DataFrame(schema=schema)
        if not self.retracted:
            return empty
        nothing = [pl.lit(None, dtype=schema[name]).alias(name) for name in ("value", "worst")]
        zero = [pl.lit(0, dtype=pl.Int64).alias(name) for name in ("count", "assessed", "suspect")]
        none = [pl.lit([], dtype=schema[name]).alias(name) for name in ("offsets", "schema_ids")]
        return (
            pl.concat(self.retracted)
            .with_columns(pl.col("revision") + 1, pl.lit("retracted").alias("status"), *nothing, *zero, *none)
            .select(empty.columns)
        )

    def forget(self, watermark: int | None) -> None:
        """Drop the windows that take no more events, and the rows that no window needs."""
        if watermark is None:
            return
        closed = self._closed(pl.col("stop"), watermark)
        gone = self.windows.filter(closed)
        if gone.is_empty():
            return
        self._touch_windows(gone)
        self.windows = self.windows.filter(~closed)
        if self.compiled.windows.kind == "session":
            ended = gone.select("series_key", pl.col("start").alias("session"))
            self.rows = self.rows.join(ended, on=["series_key", "session"], how="anti")
        else:
            out = self._closed(self._last_stop(), watermark)
            self._touch("r", self.rows.filter(out)["start"])
            self.rows = self.rows.filter(~out)

    # --- the changelog -----------------------------------------------------------------------------------

    def _touch(self, frame: str, starts: pl.Series) -> None:
        self.touched.update((frame, start) for start in starts.unique().to_list())

    def _touch_series(self, keys: pl.Series) -> None:
        buckets = {stable_hash(key) % SESSION_BUCKETS for key in keys.unique().to_list()}
        self.touched.update((frame, bucket) for bucket in buckets for frame in "rw")

    def _touch_windows(self, windows: pl.DataFrame) -> None:
        if self.compiled.windows.kind == "session":
            self._touch_series(windows["series_key"])
        else:
            self._touch("w", windows["start"])

    def _bucket(self) -> pl.Expr:
        if self.compiled.windows.kind == "session":
            keys = pl.col("series_key")
            return keys.map_elements(lambda key: stable_hash(key) % SESSION_BUCKETS, return_dtype=pl.Int64)
        return pl.col("start")

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """(changelog key, Arrow IPC bytes or None if empty) of every bucket touched since the last call."""
        touched, self.touched = self.touched, set()
        for frame, content in (("r", self.rows), ("w", self.windows)):
            buckets = sorted(bucket for name, bucket in touched if name == frame)
            if not buckets:
                continue
            numbered = content.with_columns(self._bucket().alias("__bucket"))
            parts = numbered.filter(pl.col("__bucket").is_in(buckets)).partition_by(
                "__bucket", as_dict=True, include_key=False
            )
            for bucket in buckets:
                part = parts.get((bucket,))
                key = f"{self.compiled.name}|{frame}|{bucket}"
                yield key, None if part is None else to_bytes(part)

    def restore(self, blobs: Mapping[str, bytes]) -> None:
        """Take back what `changes` gave out; `blobs` by changelog key, those of other KPIs are passed over."""
        for frame in "rw":
            prefix = f"{self.compiled.name}|{frame}|"
            parts = [from_bytes(blob) for key, blob in blobs.items() if key.startswith(prefix)]
            empty = self.rows if frame == "r" else self.windows
            content = pl.concat([empty, *parts]) if parts else empty
            if frame == "r":
                self.rows = content
            else:
                self.windows = content


def to_bytes(frame: pl.DataFrame) -> bytes:
    """Arrow IPC stream, compressed."""
    return frame.write_ipc_stream(None, compression="lz4").getvalue()


def from_bytes(blob: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(blob)


def completeness(stops: pl.Series, marks: Sequence[int | None]) -> list[float]:
    """For each window end: the share of partitions whose watermark has passed it."""
    return [sum(mark is not None and mark >= stop for mark in marks) / len(marks) for stop in stops.to_list()]
