"""Merge, for sessions: windows whose bounds come of the events and move as more come."""

from collections.abc import Mapping, Sequence

import polars as pl

from services.detector.core.definitions import CompiledKpi
from services.detector.core.merge import Scalars, Snapshot, least, observations
from services.detector.core.rows import ROWS, merged, merging
from services.detector.core.windows import Session

WINDOWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "revision": pl.Int32, "final": pl.Boolean,
    "dirty": pl.Boolean,
}  # fmt: skip
"""`dirty`: changed since it was last published. Revision 0: never published."""
BOUNDS = ["series_key", "start", "stop"]


class Sessions:
    """Rows are events of less than a gap; those less than a gap apart are one session, whichever batch they came in.

    A session that a late event joins to an earlier one is withdrawn (`retracted`) under its own start, and the joined
    one is published anew. A session takes events until the watermark is `lateness` past its end: then it is closed,
    and whatever comes less than a gap from it, which would change it, is late. So is what by its own time would be
    in a closed session, unless it lies at one that is open. With the late events left out, sessions are those of batch.
    """

    def __init__(self, compiled: CompiledKpi) -> None:
        assert isinstance(compiled.windows, Session)
        self.compiled, self.gap = compiled, compiled.windows.gap
        self.kpis = (compiled,)
        self.nothing = pl.DataFrame(schema=observations(compiled))
        states = {name: partial.dtype for name, partial in compiled.states.items()}
        schema = {**ROWS, "last": pl.Int64, **states, "session": pl.Int64}
        self.content = pl.DataFrame(schema=schema)
        """One row per series, session and partition; `session`: its start."""
        self.windows = pl.DataFrame(schema=WINDOWS)
        self._next: tuple[pl.DataFrame, int | None] = self.windows, None
        """`next_stop` of these windows."""
        self.withdrawn = self.windows.clear()
        self.closed = self.windows.select(BOUNDS)
        """Closed sessions that new rows could still touch."""
        self.emitted_to: int | None = None
        self.early_at = 0

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        rows = partials.with_columns(session=pl.lit(None, dtype=pl.Int64)).select(self.content.columns)
        late = rows.clear()
        if watermark is not None:
            aside = self._too_late(rows, watermark)
            late, rows = rows.filter(aside), rows.filter(~aside)
        hit = pl.col("series_key").is_in(rows["series_key"].unique().implode())
        joined = self._joined(pl.concat([self.content.filter(hit), rows]), self.content.filter(hit).height)
        sessions = joined.group_by("series_key", pl.col("session").alias("start")).agg(
            pl.col("stop").first(), pl.col("changed").any()
        )
        self.content = pl.concat(
            [self.content.filter(~hit), self._merged(joined.select(self.content.columns))]
        )
        self._note(hit, sessions)
        return late

    def _too_late(self, rows: pl.DataFrame, watermark: int) -> pl.Series:
        old = rows["last"] + (self.gap + self.compiled.lateness) <= watermark
        return self._touch(rows, self.closed) | (old & ~self._touch(rows, self.windows.select(BOUNDS)))

    def _touch(self, rows: pl.DataFrame, sessions: pl.DataFrame) -> pl.Series:
        """Of each row, whether it is less than a gap from one of these."""
        touching = (pl.col("start") < pl.col("stop")) & (pl.col("last") + self.gap > pl.col("begin"))
        places = (
            rows.select("series_key", "start", "last")
            .with_row_index("place")
            .join(sessions.rename({"start": "begin"}), on="series_key")
            .filter(touching)["place"]
            .unique()
        )
        return pl.int_range(rows.height, dtype=pl.UInt32, eager=True).is_in(places.implode())

    def _joined(self, rows: pl.DataFrame, known: int) -> pl.DataFrame:
        """Rows with their session, its stop, and whether it has new rows. The first `known` are old."""
        reach = pl.col("last").cum_max().shift(1).over("series_key")
        run = ["series_key", "run"]
        return (
            rows.with_row_index("place")
            .with_columns(new=pl.col("place") >= known)
            .sort("series_key", "start", "place")
            .with_columns(
                run=(pl.col("start") - reach >= self.gap).fill_null(True).cum_sum().over("series_key")
            )
            .with_columns(
                pl.col("start").min().over(run).alias("session"),
                (pl.col("last").max().over(run) + self.gap).alias("stop"),
                pl.col("new").any().over(run).alias("changed"),
            )
        )

    def _merged(self, rows: pl.DataFrame) -> pl.DataFrame:
        bounds = [pl.col("start").min(), pl.col("last").max()]
        keys = ["series_key", "session", "partition"]
        return (
            rows.group_by(keys)
            .agg(*bounds, *merging(self.compiled.states, rows))
            .select(self.content.columns)
        )

    def _note(self, hit: pl.Expr, sessions: pl.DataFrame) -> None:
        """Take the sessions of the series that were hit into the windows; note those that are no more."""
        before = self.windows.filter(hit)
        keys = ["series_key", "start"]
        after = sessions.join(before.drop("stop"), on=keys, how="left").select(
            *keys,
            "stop",
            pl.col("revision").fill_null(0),
            pl.col("final").fill_null(False) & ~pl.col("changed"),
            (pl.col("dirty").fill_null(False) | pl.col("changed")).alias("dirty"),
        )
        absorbed = before.join(sessions, on=keys, how="anti").filter(pl.col("revision") > 0)
        self.withdrawn = pl.concat([self.withdrawn, absorbed])
        self.windows = pl.concat([self.windows.filter(~hit), after])

    def emit(self, watermark: int | None, now: int) -> pl.DataFrame:
        is_as_told = self.withdrawn.is_empty() and not self.windows["dirty"].any()
        if is_as_told and watermark == self.emitted_to:
            return self.nothing
        passed = pl.lit(False) if watermark is None else pl.col("stop") <= watermark
        wanted = passed & (pl.col("dirty") | ~pl.col("final"))
        early = self.compiled.kpi.early_seconds
        if early is not None and now - self.early_at >= early * 1000 and self.windows["dirty"].any():
            self.early_at, wanted = now, wanted | pl.col("dirty")
        due = self.windows.filter(wanted)
        found = [self._withdrawn()]
        if due.height:
            due = due.with_columns(
                pl.col("revision") + 1, passed.alias("final"), pl.lit(False).alias("dirty")
            )
            self.windows = self.windows.update(due, on=["series_key", "start"])
            status = pl.when("final").then(pl.lit("final")).otherwise(pl.lit("provisional")).alias("status")
            found.append(due.with_columns(status).join(self._values(due), on=["series_key", "start"]))
        self.emitted_to = watermark
        self._forget(watermark)
        columns = list(observations(self.compiled))
        return pl.concat([each.select(columns) for each in found]).sort(
            "start", "series_key", maintain_order=True
        )

    def _values(self, due: pl.DataFrame) -> pl.DataFrame:
        members = self.content.rename({"session": "window"}).join(
            due.select("series_key", pl.col("start").alias("window")), on=["series_key", "window"], how="semi"
        )
        due = merged(self.compiled.states, members).rename({"window": "start"})
        return due.with_columns(*self.compiled.finals())

    def _withdrawn(self) -> pl.DataFrame:
        """Sessions that another one took in: their own value no longer holds."""
        gone, self.withdrawn = self.withdrawn, self.withdrawn.clear()
        schema = observations(self.compiled)
        zero = [pl.lit(0, dtype=pl.Int64).alias(name) for name in ("count", "assessed", "suspect")]
        none = [pl.lit([], dtype=schema[name]).alias(name) for name in ("schema_ids", "offsets")]
        null = [
            pl.lit(None, dtype=kind).alias(name)
            for name, kind in schema.items()
            if name in ("worst", "value") or name.startswith("measure:")
        ]
        return gone.with_columns(
            pl.col("revision") + 1, pl.lit("retracted").alias("status"), *zero, *none, *null
        ).select(list(schema))

    def _forget(self, watermark: int | None) -> None:
        if watermark is None:
            return
        closed = pl.col("stop") + self.compiled.lateness <= watermark
        gone = self.windows.filter(closed)
        if gone.height:
            ended = gone.select("series_key", pl.col("start").alias("session"))
            self.windows = self.windows.filter(~closed)
            self.content = self.content.join(ended, on=["series_key", "session"], how="anti")
            self.closed = pl.concat([self.closed, gone.select(BOUNDS)])
        # A row shorter than the gap that touches a closed session is late by its own time before two gaps are over,
        # unless it lies at an open one: then the last that closed before that one is in between.
        recent = pl.col("stop") + 2 * self.gap + self.compiled.lateness > watermark
        last = pl.col("stop") == pl.col("stop").max().over("series_key")
        busy = pl.col("series_key").is_in(self.windows["series_key"].unique().implode())
        self.closed = self.closed.filter(recent | (last & busy))

    def standing(self) -> pl.DataFrame:
        told = self.windows.filter(pl.col("final") & ~pl.col("dirty"))
        if told.is_empty():
            return pl.DataFrame(schema=observations(self.compiled))
        told = told.with_columns(pl.lit("final").alias("status"))
        return told.join(self._values(told), on=["series_key", "start"]).select(
            list(observations(self.compiled))
        )

    def of(self, kpi: CompiledKpi, due: pl.DataFrame) -> pl.DataFrame:
        return due

    def only(self, kpis: Sequence[CompiledKpi]) -> "Sessions":
        return self

    # --- recovery ----------------------------------------------------------------------------------------

    def resume(self, published: pl.DataFrame) -> None:
        known = published.select("series_key", "start", pl.col("revision").alias("known"))
        self.windows = (
            self.windows.join(known, on=["series_key", "start"], how="left")
            .with_columns(pl.col("known").fill_null(pl.col("revision")).alias("revision"))
            .select(list(WINDOWS))
        )
        gone = published.join(self.windows, on=["series_key", "start"], how="anti")
        at = self.emitted_to
        over = pl.lit(False) if at is None else pl.col("stop") + self.compiled.lateness <= at
        self.withdrawn = gone.filter(~over).select(
            *BOUNDS, "revision", pl.lit(True).alias("final"), pl.lit(False).alias("dirty")
        )

    def snapshot(self) -> tuple[Scalars, Snapshot]:
        frames = {"rows": self.content, "windows": self.windows, "closed": self.closed}
        return {"emitted_to": self.emitted_to, "early_at": self.early_at}, frames

    def restore(self, scalars: Mapping[str, int | None], frames: Mapping[str, pl.DataFrame]) -> None:
        self.emitted_to, self.early_at = scalars["emitted_to"], scalars["early_at"] or 0
        self.content, self.windows, self.closed = frames["rows"], frames["windows"], frames["closed"]

    @property
    def next_stop(self) -> int | None:
        if self._next[0] is not self.windows:
            self._next = self.windows, least(self.windows.filter(~pl.col("final"))["stop"])
        return self._next[1]

    @property
    def open_windows(self) -> int:
        return int((~self.windows["final"]).sum())

    @property
    def rows(self) -> int:
        return self.content.height

    @property
    def size(self) -> int:
        return sum(int(each.estimated_size()) for each in (self.content, self.windows, self.closed))
