"""Which series are a subject's: those of KPIs that are grouped by the field that names it, or by what is made of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from libs.common.catalog import Kpi, Source
from libs.common.errors import DefinitionError
from libs.common.events import ErasedSeries
from libs.common.expressions import derive, derived
from libs.common.wire import DTYPES


@dataclass(frozen=True)
class Named:
    """`rounds`: one more than KPIs over those that name the subject are deep."""

    series: tuple[ErasedSeries, ...]
    rounds: int
    unclear: tuple[str, ...]
    """KPIs whose series may name the subject in a way that cannot be told from the field alone, and why."""


def named(source: Source, field: str, value: str, kpis: Iterable[Kpi]) -> Named:
    """`kpis`: every version of every KPI. `value`: the field's, as text."""
    series: set[tuple[str, str, str]] = set()
    unclear: dict[str, None] = {}
    known = list(kpis)
    for kpi in known:
        if kpi.source != source.id:
            continue
        for dimension in kpi.by:
            try:
                text = _text_of(dimension, kpi, source, field, value)
            except (DefinitionError, pl.exceptions.PolarsError):
                unclear[f"{kpi.id} is grouped by {dimension}, which is made of {field} and of more"] = None
                continue
            if text is not None:
                series.add((kpi.id, dimension, text))
        if kpi.engine == "flink" and any(id == kpi.id for id, _, _ in series):
            unclear[f"{kpi.id} runs on Flink, whose state forgets a window when its lateness has passed"] = (
                None
            )
    depth = dict.fromkeys((id for id, _, _ in series), 0)
    grown = True
    while grown:
        grown = False
        for kpi in known:
            inputs = [id for id in kpi.over.values() if id in depth]
            if inputs and depth.get(kpi.id, 0) <= (level := max(depth[id] for id in inputs)) < len(known):
                depth[kpi.id], grown = level + 1, True
                series |= {
                    (kpi.id, dimension, text)
                    for id, dimension, text in series
                    if id in inputs and dimension in kpi.by
                }
    pairs = tuple(ErasedSeries(kpi=kpi, dimension=name, value=text) for kpi, name, text in sorted(series))
    return Named(pairs, 1 + max(depth.values(), default=0), tuple(unclear))


def _text_of(dimension: str, kpi: Kpi, source: Source, field: str, value: str) -> str | None:
    """What a dimension says of the subject; None if it has nothing to do with the field. Raises if it is unclear."""
    if dimension == field:
        return value
    if dimension not in kpi.let:
        return None
    roots = _roots(dimension, kpi.let, source.field_types)
    if field not in roots:
        return None
    if roots != {field}:
        raise DefinitionError(dimension, "made of more than one field", "one field")
    expressions, _ = derive(kpi.let, source.field_types)
    one = pl.DataFrame({field: [value]}).with_columns(pl.col(field).cast(DTYPES[source.field_types[field]]))
    for name, expression in expressions:
        if _roots(name, kpi.let, source.field_types) <= {field}:
            one = one.with_columns(expression.alias(name))
    return one[dimension].cast(pl.String)[0]


def _roots(name: str, let: Mapping[str, str], types: Mapping[str, str]) -> set[str]:
    """The fields that a derived field is made of."""
    if name not in let:
        return {name}
    before: dict[str, str] = {}
    for each, sql in let.items():
        if each == name:
            _, wider = derive(before, dict(types))
            return set().union(*(_roots(column, let, types) for column in derived(sql, wider).columns))
        before[each] = sql
    return set()


def stores(series: Sequence[ErasedSeries], *, combined: bool, judged: bool, partitions: int) -> list[str]:
    """The stores that are to answer. `combined`: the detector reads the source; `judged`: a KPI has signal rules."""
    tables = (
        "events",
        "dead_letters",
        "observations",
        "latest",
        "expectations",
        "late_events",
        "signals",
        "signal_history",
    )
    found = [*(f"archive.{table}" for table in tables), "ingest.parked", "ingest.keys", "ingest.tokens"]
    if series and combined:
        found += [f"detector.state/{number}" for number in range(partitions)]
    if series and judged:
        found += [f"detector.models/{number}" for number in range(partitions)]
    return found
