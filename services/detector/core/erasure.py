"""One subject's rows leave the state of a merge partition.

A state is a function of its steps, and this is none: it is followed by a snapshot in the same transaction, so that no
recovery takes the steps before it again.
"""

from collections.abc import Sequence
from urllib.parse import quote

import polars as pl

from libs.common.events import ErasedSeries
from services.detector.core.engine import Engine
from services.detector.core.merge import Snapshot


def names(column: str, series: Sequence[ErasedSeries]) -> pl.Expr:
    """Whether a canonical name of a series has one of the dimension values."""
    whole = pl.lit(",") + pl.col(column) + pl.lit(",")
    given = [
        whole.str.contains(f",{each.dimension}={quote(each.value, safe=' ')},", literal=True)
        for each in series
    ]
    return pl.any_horizontal(pl.lit(False), *given)


def concerned(engine: Engine, series: Sequence[ErasedSeries]) -> list[str]:
    """The KPIs (`id@version`) whose state may name the subject: its series, or those of an input."""
    ids = {each.kpi for each in series}
    kpis = {name: engine.kpis[name].kpi for name in engine.states}
    return [name for name, kpi in kpis.items() if kpi.id in ids or ids & set(kpi.over.values())]


def erase(engine: Engine, series: Sequence[ErasedSeries], id: str) -> tuple[int, int]:
    """Rows that named the subject, and how many of them were dropped.

    A value of an input that a KPI over it holds without being grouped by the subject keeps counting, under a name
    that is made of the erasure's id.
    """
    found = dropped = 0
    for state, _ in list(engine.states.apart(concerned(engine, series))):
        scalars, frames = state.snapshot()
        before = sum(frame.height for frame in frames.values())
        ids = {kpi.kpi.id for kpi in state.kpis}
        kept = {part: _without(frame, ids, series) for part, frame in frames.items()}
        gone = before - sum(frame.height for frame in kept.values())
        kept, renamed = _renamed(kept, state.kpis[0].kpi.over, series, id)
        if gone or renamed:
            engine.states.together(state.kpis).restore(scalars, kept)
        found, dropped = found + gone + renamed, dropped + gone
    return found, dropped


def _without(frame: pl.DataFrame, kpis: set[str], series: Sequence[ErasedSeries]) -> pl.DataFrame:
    mine = [each for each in series if each.kpi in kpis]
    if not mine or "series_key" not in frame.columns:
        return frame
    return frame.filter(~names("series_key", mine))


def _renamed(
    frames: Snapshot, over: dict[str, str], series: Sequence[ErasedSeries], id: str
) -> tuple[Snapshot, int]:
    """The frames with other names for the members that name the subject, and how many rows had one."""
    changed = dict(frames)
    count = 0
    for part, frame in frames.items():
        if "member" not in frame.columns:
            continue
        mine = [
            (pl.col("input") == input) & names("member", [each for each in series if each.kpi == kpi])
            for input, kpi in over.items()
        ]
        hit = frame.select(pl.any_horizontal(pl.lit(False), *mine).alias("hit"))["hit"]
        if hit.any():
            members = frame.filter(hit)["member"].unique().sort().to_list()
            other = {member: f"erased={id}/{number}" for number, member in enumerate(members)}
            replaced = pl.when(hit).then(pl.col("member").replace(other)).otherwise(pl.col("member"))
            changed[part] = frame.with_columns(replaced.alias("member"))
            count += int(hit.sum())
    return changed, count
