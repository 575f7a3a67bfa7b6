"""Merge, for KPIs over KPIs: final values of the same window meet, the newest revision of each.

Of an input that is changed, values of two versions come for a while. Those of the new one are kept, and count from
when it is served; then they take the place of the old ones in every window that is still open.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from libs.common.expressions import OFFSET, PARTITION, TIME
from services.detector.core.definitions import CompiledKpi
from services.detector.core.merge import Scalars, Snapshot, least, observations
from services.detector.core.published import KEYS, SCHEMA, Published

CONTENT: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "input": pl.String, "member": pl.String,
    "version": pl.Int32, "revision": pl.Int32, "status": pl.String, "value": pl.Float64, "count": pl.Int64,
    "assessed": pl.Int64, "suspect": pl.Int64, "worst": pl.UInt8, "schema_ids": pl.List(pl.Int64),
}  # fmt: skip
"""A value of an input: `input` is its name here, `member` the input's series, `version` that of the input.
Of each the newest revision is kept."""


def contributions(
    compiled: CompiledKpi, input: CompiledKpi, due: pl.DataFrame, keys: pl.Series
) -> pl.DataFrame:
    """What emitted values (`observations`) of an input give to a KPI over it. `keys`: its series of each of them."""
    names = [name for name, id in compiled.kpi.over.items() if id == input.kpi.id]
    version = pl.lit(input.version, dtype=pl.Int32).alias("version")
    rows = due.rename({"series_key": "member"}).with_columns(keys.alias("series_key"), version)
    rows = rows.filter(pl.col("status") != "provisional")
    return pl.concat([rows.with_columns(pl.lit(name).alias("input")).select(list(CONTENT)) for name in names])


SERVED = "served:"


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    places = ["series_key", "start", "input", "member", "version"]
    return rows.sort("revision").unique(places, keep="last", maintain_order=True)


class Derived:
    """The state of a KPI over others in one merge partition."""

    def __init__(self, compiled: CompiledKpi) -> None:
        self.compiled = compiled
        self.kpis = (compiled,)
        self.nothing = pl.DataFrame(schema=observations(compiled))
        self.content = pl.DataFrame(schema=CONTENT)
        self.published = Published()
        self.emitted_to: int | None = None
        self._next: tuple[pl.DataFrame, int | None, int | None] = self.content, None, None
        """`next_stop` of this content, emitted so far."""
        self.revised: list[pl.DataFrame] = []
        self.served: dict[str, int] = {}
        """Input (its name here) → the version whose values count."""
        self.whole_after: int | None = None
        """Of windows that end by then (ms) not all values come: they were closed before this KPI began."""

    def begin_after(self, closed: int | None) -> None:
        """A partition of the inputs had closed the windows that end by `closed` when it brought what stood."""
        if closed is not None:
            self.whole_after = max(closed, self.whole_after or closed)
            self.content = self._whole(self.content)

    def _whole(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows if self.whole_after is None else rows.filter(pl.col("stop") > self.whole_after)

    def serve(self, id: str, version: int) -> None:
        """From now on this version of an input counts: windows that are still open are made of it."""
        for name in [name for name, each in self.compiled.kpi.over.items() if each == id]:
            if self.served.get(name, 0) >= version:
                continue
            self.served[name] = version
            mine, former = pl.col("input") == name, pl.col("version") < version
            if self.emitted_to is not None:
                again = self.content.filter(mine & (pl.col("stop") <= self.emitted_to))
                self.revised.append(again.select("series_key", "start", "stop"))
            gone = self.content.filter(mine & former).with_columns(
                pl.lit("retracted").alias("status"), pl.lit(None, dtype=pl.Float64).alias("value"),
                pl.lit(version, dtype=pl.Int32).alias("version"), pl.lit(0, dtype=pl.Int32).alias("revision"),
                pl.lit([], dtype=pl.List(pl.Int64)).alias("schema_ids"), pl.lit(0, dtype=pl.UInt8).alias("worst"),
                *(pl.lit(0, dtype=pl.Int64).alias(each) for each in ("count", "assessed", "suspect")),
            )  # fmt: skip
            self.content = _newest(pl.concat([self.content.filter(~(mine & former)), gone]))

    def _counts(self, *, newer: bool = False) -> pl.Expr:
        """Whether a value is of the version that is served, or (`newer`) of a newer one."""
        given = (pl.col("version") > at if newer else pl.col("version") == at for at in self.served.values())
        mine = [(pl.col("input") == name) & each for name, each in zip(self.served, given, strict=True)]
        return pl.any_horizontal(pl.lit(False), *mine)

    def add(self, partials: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        partials = self._whole(partials)
        for name, version in partials.group_by("input").agg(pl.col("version").min()).iter_rows():
            self.served.setdefault(name, version)
        served, partials = partials.filter(self._counts()), partials.filter(self._counts(newer=True))
        late = served.clear()
        if watermark is not None:
            closed = pl.col("stop") + self.compiled.lateness <= watermark
            late, served = served.filter(closed), served.filter(~closed)
            partials = partials.filter(~closed)
        if self.emitted_to is not None:
            again = served.filter(pl.col("stop") <= self.emitted_to)
            self.revised.append(again.select("series_key", "start", "stop"))
        rows = [each.select(self.content.columns) for each in (served, partials)]
        self.content = _newest(pl.concat([self.content, *rows]))
        return late

    def emit(self, watermark: int | None, now: int) -> pl.DataFrame:
        due = [each for each in self.revised if each.height]
        self.revised = []
        closed = None
        if watermark is not None and (self.emitted_to is None or watermark > self.emitted_to):
            passed = pl.col("stop") <= watermark
            if self.emitted_to is not None:
                passed = passed & (pl.col("stop") > self.emitted_to)
            due.append(self.content.filter(passed).select("series_key", "start", "stop"))
            self.emitted_to, closed = watermark, watermark - self.compiled.lateness
        out = self.nothing
        pairs = pl.concat(due).unique() if due else pl.DataFrame()
        if pairs.height:
            out = self.published.next(self._values(pairs)).select(out.columns).sort("start", "series_key")
        if closed is not None:
            self.content = self.content.filter(pl.col("stop") > closed)
            self.published.forget(closed)
        return out

    def _values(self, pairs: pl.DataFrame) -> pl.DataFrame:
        members = self.content.filter(self._counts()).join(pairs, on=KEYS, how="semi")
        given = pl.col("status") != "retracted"
        inputs = [
            pl.when(given & (pl.col("input") == name)).then(pl.col("value")).alias(name)
            for name in self.compiled.kpi.over
        ]
        members = members.with_columns(inputs).with_columns(
            pl.col("start").alias(TIME), pl.lit(0).alias(PARTITION), pl.lit(0).alias(OFFSET), __given=given
        )
        states = [partial.of_events() for partial in self.compiled.states.values()]
        merged = members.group_by(KEYS).agg(
            pl.col("stop").first(),
            pl.col("count", "assessed", "suspect").sum(),
            pl.col("worst").max(),
            pl.col("schema_ids").explode().unique().drop_nulls().sort(),
            pl.col("__given").any(),
            *states,
        )
        schema = observations(self.compiled)
        status = pl.when("__given").then(pl.lit("final")).otherwise(pl.lit("retracted")).alias("status")
        return merged.with_columns(
            status, pl.lit([], dtype=schema["offsets"]).alias("offsets"), *self.compiled.finals()
        )

    def standing(self) -> pl.DataFrame:
        made = self._values(self.published.final(self.emitted_to))
        return self.published.known(made).select(list(observations(self.compiled)))

    def of(self, kpi: CompiledKpi, due: pl.DataFrame) -> pl.DataFrame:
        return due

    def only(self, kpis: Sequence[CompiledKpi]) -> "Derived":
        return self

    # --- recovery ----------------------------------------------------------------------------------------

    def resume(self, published: pl.DataFrame) -> None:
        self.published.resume(published, self.emitted_to, self.compiled.lateness)

    def snapshot(self) -> tuple[Scalars, Snapshot]:
        served = {f"{SERVED}{name}": version for name, version in self.served.items()}
        frames = {"rows": self.content, "published": self.published.windows}
        return {"emitted_to": self.emitted_to, "whole_after": self.whole_after, **served}, frames

    def restore(self, scalars: Mapping[str, int | None], frames: Mapping[str, pl.DataFrame]) -> None:
        self.emitted_to, self.whole_after = scalars["emitted_to"], scalars.get("whole_after")
        self.served = {
            name.removeprefix(SERVED): version
            for name, version in scalars.items()
            if name.startswith(SERVED) and version is not None
        }
        self.content, self.published.windows = frames["rows"], frames["published"].select(list(SCHEMA))

    @property
    def next_stop(self) -> int | None:
        if self._next[0] is not self.content or self._next[1] != self.emitted_to:
            self._next = self.content, self.emitted_to, least(self._open()["stop"])
        return self._next[2]

    @property
    def open_windows(self) -> int:
        return self._open().select(KEYS).n_unique()

    def _open(self) -> pl.DataFrame:
        return (
            self.content if self.emitted_to is None else self.content.filter(pl.col("stop") > self.emitted_to)
        )

    @property
    def rows(self) -> int:
        return self.content.height

    @property
    def size(self) -> int:
        return int(self.content.estimated_size() + self.published.windows.estimated_size())
