"""The state of a merge partition, made anew from what it was made of when its log is lost. Pure.

All that was combined of the events goes into empty states, which then emit by the watermark, as they did before. What of
that was published is known by its revisions, and is not told again; what differs is told as the next revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from services.detector.core.definitions import CompiledKpi
from services.detector.core.derived import Derived
from services.detector.core.engine import Engine
from services.detector.core.merge import MergeState, Panes, observations
from services.detector.core.published import KEYS
from services.detector.core.sessions import Sessions
from services.detector.core.steps import Emission

TOLERANCE = 1e-9
"""Relative: sums of doubles depend on how the rows were cut."""


@dataclass(frozen=True)
class Known:
    """What is known of one KPI in a merge partition."""

    published: pl.DataFrame
    """The newest revision of every window: series_key, start, stop, revision, status, count, value, measures."""
    closed: int | None
    """Windows that end by then (ms) took no more events: they stay as they are."""


def published(compiled: CompiledKpi, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows of windows, the newest revision of each, as `Known.published`."""
    columns = observations(compiled)
    names = ["series_key", "start", "stop", "revision", "status", "count", "value"]
    names += [f"measure:{name}" for name in compiled.measures]
    return pl.DataFrame(rows, schema={name: columns[name] for name in names}, orient="row")


def apart(engine: Engine) -> None:
    """Give each KPI a state of its own: what they are made of differs until they have the present."""
    for name in list(engine.states):
        for _ in engine.states.apart([name]):
            pass


def take(engine: Engine, name: str, rows: pl.DataFrame, closed: int | None) -> None:
    """Rows of a KPI, as a step takes them. Those that no window needs any more are left out."""
    state = engine.states[name]
    if closed is not None and isinstance(state, Panes):
        rows = rows.filter(state.windows.last_stop(rows["start"]) > closed)
    elif closed is not None and isinstance(state, Derived):
        rows = rows.filter(pl.col("stop") > closed)
    if rows.is_empty() or name in engine.parked:
        return
    try:
        state.add(rows, None)
    except pl.exceptions.PolarsError as error:
        engine.park([name], error)


def finish(engine: Engine, known: Mapping[str, Known], now: int) -> list[Emission]:
    """When all rows are in: what is to be published. `now` in ms."""
    found: list[Emission] = []
    for name, state in list(engine.states.items()):
        if name in engine.parked:
            continue
        compiled, watermark = engine.kpis[name], engine.watermark(name)
        ends = [known[name].closed, None if watermark is None else watermark - compiled.lateness]
        closed = max((each for each in ends if each is not None), default=None)
        try:
            due = state.of(compiled, state.emit(watermark, now))
        except pl.exceptions.PolarsError as error:
            engine.park([name], error)
            continue
        due = _settled(state, due, Known(known[name].published, closed))
        found.append(
            Emission(
                compiled, pl.DataFrame(), due, due, watermark, engine.marks_of(name), watermark is not None
            )
        )
    return found


def _settled(state: MergeState, due: pl.DataFrame, known: Known) -> pl.DataFrame:
    """What of `due` is not published yet, or otherwise, with its revision. The state goes on from there."""
    before = known.published
    if known.closed is not None:
        due = due.filter(pl.col("stop") > known.closed)
        before = before.filter(pl.col("stop") > known.closed)
    if isinstance(state, Sessions):
        before = before.filter(pl.col("status") != "retracted")
    former = {name: f"__{name}" for name in before.columns if name not in KEYS}
    told = due.join(before.rename(former), on=KEYS, how="left", maintain_order="left")
    pairs = {name: was for name, was in former.items() if name != "revision"}
    known_revision = pl.col("__revision").fill_null(0)
    differs = pl.any_horizontal(
        known_revision == 0, *(_differs(due.schema[name], name, was) for name, was in pairs.items())
    )
    told = told.with_columns(new=differs).with_columns(
        (known_revision + pl.col("new").cast(pl.Int32)).cast(pl.Int32).alias("revision")
    )
    windows = [*KEYS, "stop", "revision"]
    state.resume(pl.concat([told.select(windows), before.join(due, on=KEYS, how="anti").select(windows)]))
    return told.filter("new").select(due.columns)


def _differs(kind: pl.DataType, name: str, was: str) -> pl.Expr:
    one, other = pl.col(name), pl.col(was)
    if kind != pl.Float64:
        return one.ne_missing(other)
    near = (one - other).abs() <= TOLERANCE * pl.max_horizontal(one.abs(), other.abs())
    return one.ne_missing(other) & ~near.fill_null(False)
