"""Backfill: what the events of a past range come to, beside what was published of them. Pure.

Events come in the order of their time, so that a window is whole as soon as a later time is seen: it is the engine's
own combine and merge that makes the values, and only windows in progress are held. What differs from what was
published becomes its next revision; what is the same is not said again; so a backfill that is done again adds nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from services.detector.core.combine import partials
from services.detector.core.definitions import CompiledKpi
from services.detector.core.derived import Derived, contributions
from services.detector.core.merge import MergeState, Panes, observations
from services.detector.core.published import KEYS
from services.detector.core.sessions import Sessions
from services.detector.core.states import States
from services.detector.core.windows import Aligned, Calendar, Session

TOLERANCE = 1e-9
"""Relative, of values: sums of the same numbers in another order."""
VALUES_AT_ONCE = 100_000
"""Values that one step brings, about."""


@dataclass(frozen=True)
class Scope:
    """The windows that begin in [start, stop) and end by `closed`, up to which nothing more is published live. ms."""

    start: int
    stop: int
    closed: int


@dataclass(frozen=True)
class Told:
    """The values of all windows that begin in [first, next)."""

    values: pl.DataFrame
    """`merge.observations`."""
    first: int
    next: int
    others: pl.DataFrame
    """series_key, start, stop: sessions that are not among the values, of which published ones may be a part."""

    @property
    def is_of_sessions(self) -> bool:
        return self.others.width > 0

    @property
    def reach(self) -> int:
        """Published windows that begin before then may be a part of one of these."""
        last = self.values["stop"].max() if self.is_of_sessions else None
        return max(self.next, last) if isinstance(last, int) else self.next

    @property
    def goes_on_to(self) -> int:
        """How far the sessions reach that begin before `next` and are not among the values; `next` if there are none."""
        if not self.is_of_sessions:
            return self.next
        last = self.others.filter(pl.col("start") < self.next)["stop"].max()
        return max(self.next, last) if isinstance(last, int) else self.next


class Recomputation:
    """Makes the values of a scope. `done`: those that begin before it were told already."""

    def __init__(self, compiled: CompiledKpi, scope: Scope, done: int | None = None) -> None:
        kpi = compiled.kpi.model_copy(update={"early": timedelta(0)})
        self.compiled = replace(compiled, kpi=kpi, lateness=0)
        self.scope, self.first = scope, max(scope.start, done or scope.start)
        self.state = States().together([self.compiled])
        self.at: int | None = None
        """Events before then were added."""
        self.held: list[pl.DataFrame] = []
        """Sessions that have ended, but not all that begin before them."""
        self.before = pl.DataFrame(schema=BOUNDS)
        """Sessions told of, or that begin before the scope, which reach into what is to come."""

    @property
    def reading(self) -> tuple[int, int]:
        """Events with first <= time < second are needed, at most."""
        windows = self.compiled.windows
        if isinstance(windows, Session):
            return self.first - windows.gap, self.scope.closed
        assert isinstance(windows, Aligned | Calendar)
        last = pl.Series([self.scope.stop - 1], dtype=pl.Int64)
        return self.first, min(self.scope.closed, int(windows.last_stop(windows.pane_of(last))[0]))

    @property
    def is_done(self) -> bool:
        return self.first >= self.scope.stop

    def add(self, events: pl.DataFrame) -> None:
        """Events by time, with what combine wants of them, none of them before those of the last call."""
        for (number,), part in events.partition_by("__partition", as_dict=True, include_key=True).items():
            rows = partials(part, [self.compiled])
            if rows.height:
                self.state.add(rows.with_columns(pl.lit(number, dtype=pl.Int32).alias("partition")), None)

    def upto(self, at: int, *, last: bool = False) -> Iterator[Told]:
        """All events before `at` were added; `last`: there are no more to come."""
        for step in self._steps(at):
            told = self._told(step, last=last and step == at)
            if told.next > told.first:
                yield told

    def _steps(self, at: int) -> Iterator[int]:
        """Moments up to `at`, so few windows apart that their values can be held at once."""
        windows = self.compiled.windows
        if isinstance(windows, Aligned) and windows.panes > 1 and isinstance(self.state, Panes):
            series = max(1, self.state.rows // max(1, len(self.state.panes)))
            stride = windows.every * max(1, VALUES_AT_ONCE // series)
            yield from range((self.at or self.first) + stride, at, stride)
        yield at

    def _told(self, at: int, *, last: bool) -> Told:
        self.at = at
        due = self.state.of(self.compiled, self.state.emit(at, 0))
        windows = self.compiled.windows
        if isinstance(windows, Session):
            return self._sessions(due, at, last=last)
        assert isinstance(windows, Aligned | Calendar)
        first, next = self.first, self.scope.stop if last else min(self.scope.stop, begins(windows, at))
        self.first = max(first, next)
        start = pl.col("start")
        return Told(due.filter((start >= first) & (start < next)), first, next, pl.DataFrame())

    def _sessions(self, due: pl.DataFrame, at: int, *, last: bool) -> Told:
        """Those that begin before any that is still open. At the end the open ones are the others."""
        running = _running(self.state)
        least = running["start"].min()
        next = min(at, least if isinstance(least, int) else at, self.scope.stop)
        first, next = self.first, self.scope.stop if last else max(self.first, next)
        ended = pl.concat([*self.held, due])
        begins = pl.col("start")
        early = ended.filter(begins < first).select(list(BOUNDS))
        values = ended.filter((begins >= first) & (begins < next))
        self.held, self.first = [ended.filter(begins >= next)], next
        others = pl.concat([self.before, early, *([running] if last else [])])
        told = [others, values.select(list(BOUNDS))]
        self.before = pl.concat(told).filter(pl.col("stop") > next)
        return Told(values, first, next, others)


BOUNDS = {"series_key": pl.String, "start": pl.Int64, "stop": pl.Int64}


def _running(state: MergeState) -> pl.DataFrame:
    assert isinstance(state, Sessions)
    return state.windows.filter(~pl.col("final")).select(list(BOUNDS))


def begins(windows: Aligned | Calendar, at: int) -> int:
    """Start of the first window that ends after `at`."""
    if isinstance(windows, Calendar):
        return int(windows.pane_of(pl.Series([at], dtype=pl.Int64))[0])
    return (
        (at - windows.size - windows.offset) // windows.every * windows.every + windows.offset + windows.every
    )


def of_inputs(
    compiled: CompiledKpi, inputs: Mapping[str, CompiledKpi], keys: Mapping[str, pl.Series],
    rows: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:  # fmt: skip
    """The values (`merge.observations`) of a KPI over others, of the newest values of its inputs by their ids.

    `rows`: whole windows, one row per series and window, with the `kpi_version` they are of. Of each input and window
    the newest version counts that has values. `keys`: the series here of each row.
    """
    state = Derived(compiled)
    for id, input in inputs.items():
        frame = rows[id].with_columns(keys[id].alias("__key"))
        frame = frame.filter(pl.col("kpi_version") == pl.col("kpi_version").max().over("start"))
        if frame.height:
            state.add(contributions(compiled, input, frame, frame["__key"]), None)
    return state.emit(2**62, 0)


# --- beside what was published ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Gone:
    """What the archive holds no more: windows that were made of it cannot be made again."""

    kept: Mapping[int, int]
    """Partition → first offset that is there, of partitions that lack some."""
    before: int | None = None
    """Events that came before then (ms) may be gone."""


@dataclass(frozen=True)
class Revised:
    """What is to be published."""

    due: pl.DataFrame
    """`merge.observations`."""
    windows: int
    """Compared."""
    new: int
    revised: int
    retracted: int
    left: int
    """Not touched: their events are gone."""


def revisions(compiled: CompiledKpi, told: Told, published: pl.DataFrame, closed: int, gone: Gone) -> Revised:
    """What was told beside the newest revision of each published window that begins in [first, reach).

    `published`: the columns of `merge.observations`, but for assessed, suspect, worst and schema_ids. Verdicts of rules
    are not compared: they say what was known of the events, not what the KPI is. What is not `closed` is the live
    engine's.
    """
    begins, mine = pl.col("start"), published
    if told.is_of_sessions:
        mine = mine.filter((begins < told.next) | _within(mine, told.values))
        mine = mine.filter(~_within(mine, told.others))
    pairs = told.values.join(
        mine.select(*KEYS, *(pl.col(name).alias(f"__{name}") for name in mine.columns if name not in KEYS)),
        on=KEYS, how="full", coalesce=True,
    )  # fmt: skip
    was, is_ = pl.col("__revision").is_not_null(), pl.col("count").is_not_null()
    lost = (
        pl.col("__offsets").list.eval(_lost(gone)).list.any().fill_null(False) if gone.kept else pl.lit(False)
    )
    unknown = ~was & (begins < gone.before) if gone.before is not None else pl.lit(False)
    open_ = pl.coalesce("__stop", "stop") > closed
    pairs = pairs.filter(~open_).with_columns(
        (lost | unknown).alias("__left"), was.alias("__was"), is_.alias("__is")
    )
    left = int(pairs["__left"].sum())
    pairs = pairs.filter(~pl.col("__left"))
    withdrawn = pairs.filter(pl.col("__was") & ~pl.col("__is") & (pl.col("__status") != "retracted"))
    new = pairs.filter(pl.col("__is") & ~pl.col("__was"))
    both = pairs.filter(pl.col("__is") & pl.col("__was"))
    changed = both.filter(~_same(compiled))
    found = [_withdrawn(compiled, withdrawn), *(_next(compiled, each) for each in (new, changed))]
    due = pl.concat(found).sort("start", "series_key")
    return Revised(due, pairs.height, new.height, changed.height, withdrawn.height, left)


def _within(rows: pl.DataFrame, sessions: pl.DataFrame) -> pl.Series:
    """Whether a row begins within one of these windows of its series."""
    if rows.is_empty() or sessions.is_empty():
        return pl.repeat(False, rows.height, eager=True, dtype=pl.Boolean)
    places = (
        rows.select(*KEYS)
        .with_row_index("place")
        .join(sessions.select("series_key", begin="start", end="stop"), on="series_key")
        .filter((pl.col("start") >= pl.col("begin")) & (pl.col("start") < pl.col("end")))["place"]
        .unique()
    )
    return pl.int_range(rows.height, dtype=pl.UInt32, eager=True).is_in(places.implode())


def _lost(gone: Gone) -> pl.Expr:
    span = pl.element().struct
    firsts = span.field("partition").replace_strict(dict(gone.kept), default=0, return_dtype=pl.Int64)
    return span.field("first") < firsts


def _same(compiled: CompiledKpi) -> pl.Expr:
    equal = [pl.col(name) == pl.col(f"__{name}") for name in ("count", "stop", "status")]
    equal.append(_spans("offsets") == _spans("__offsets"))
    equal += [
        _near(name, f"__{name}") for name in ("value", *(f"measure:{name}" for name in compiled.measures))
    ]
    return pl.all_horizontal(equal).fill_null(False)


def _spans(name: str) -> pl.Expr:
    fields = [pl.element().struct.field(each) for each in ("partition", "first", "last")]
    return pl.col(name).list.eval(pl.format("{}:{}-{}", *fields)).list.join(",")


def _near(one: str, other: str) -> pl.Expr:
    a, b = pl.col(one), pl.col(other)
    close = (a - b).abs() <= TOLERANCE * pl.max_horizontal(a.abs(), b.abs())
    return (a.is_null() & b.is_null()) | close.fill_null(False)


def _next(compiled: CompiledKpi, rows: pl.DataFrame) -> pl.DataFrame:
    revision = (pl.col("__revision").fill_null(0) + 1).cast(pl.Int32).alias("revision")
    return rows.with_columns(revision).select(list(observations(compiled)))


def retracted(compiled: CompiledKpi, published: pl.DataFrame) -> pl.DataFrame:
    """The next revisions of values that hold no more; `published` as in `revisions`."""
    return _withdrawn(compiled, published.rename({"stop": "__stop", "revision": "__revision"}))


def _withdrawn(compiled: CompiledKpi, rows: pl.DataFrame) -> pl.DataFrame:
    schema = observations(compiled)
    given = {"stop": pl.col("__stop"), "status": pl.lit("retracted"), "revision": pl.col("__revision") + 1}
    zero = {name: pl.lit(0) for name in ("count", "assessed", "suspect", "worst")}
    empty = {name: pl.lit([], dtype=schema[name]) for name in ("schema_ids", "offsets")}
    columns = {**given, **zero, **empty}
    null = {name: pl.lit(None) for name in schema if name not in columns and name not in KEYS}
    return rows.select(
        (pl.col(name) if name in KEYS else {**columns, **null}[name]).cast(kind).alias(name)
        for name, kind in schema.items()
    )
