"""KPIs, compiled: what the engine needs to know of one version of a KPI."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from libs.common.catalog import Kpi, Source
from libs.common.errors import DefinitionError
from libs.common.expressions import Partial, Predicate, Value, derive, predicate, scalar, value
from services.detector.core.windows import Windows, milliseconds, windows_of


@dataclass(frozen=True)
class Enriched:
    """One join with a reference: the columns `<prefix>_<field>` of the row that is valid at the event's time."""

    reference: Source
    on: tuple[str, ...]
    prefix: str


@dataclass(frozen=True)
class CompiledKpi:
    """One version of a KPI over its source, or over other KPIs (`inputs`)."""

    kpi: Kpi
    version: int
    source: Source | None
    enriched: tuple[Enriched, ...]
    derived: tuple[tuple[str, pl.Expr], ...]
    where: Predicate | None
    values: tuple[tuple[str, Value], ...]
    """`value` and the measures, by name."""
    scalar: pl.Expr | None
    """Of a KPI for each event: its number."""
    windows: Windows
    lateness: int
    """Milliseconds after its end that a window still takes events."""

    @property
    def name(self) -> str:
        return f"{self.kpi.id}@{self.version}"

    @property
    def shape(self) -> tuple[object, ...]:
        """KPIs of one source and the same shape share one group-by in combine."""
        kpi = self.kpi
        enriched = tuple((each.reference.id, each.on, each.prefix) for each in self.enriched)
        return kpi.by, kpi.where, tuple(kpi.let.items()), enriched, self.windows

    @property
    def states(self) -> dict[str, Partial]:
        """The columns of its state by name; an aggregate that occurs twice is kept once."""
        return states_of([self])

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.values[1:])

    def merge(self) -> list[pl.Expr]:
        """For a group-by over states: the state of all of them."""
        return [partial.of_states() for partial in self.states.values()]

    def finals(self) -> list[pl.Expr]:
        """Over states: the columns `value` and `measure:<name>`, Float64."""
        first, *others = self.values
        return [
            first[1].final().alias("value"),
            *(each.final().alias(f"measure:{name}") for name, each in others),
        ]


def of(name: str) -> str:
    """The KPI of which `name` (`id@version`) is a version."""
    return name.rpartition("@")[0]


def newest(names: Iterable[str]) -> set[str]:
    """The names of the newest version of each KPI."""
    found: dict[str, int] = {}
    for name in names:
        id, _, version = name.rpartition("@")
        found[id] = max(int(version), found.get(id, 0))
    return {f"{id}@{version}" for id, version in found.items()}


def states_of(kpis: Iterable[CompiledKpi]) -> dict[str, Partial]:
    return {partial.name: partial for kpi in kpis for _, each in kpi.values for partial in each.states}


def compile_kpi(
    kpi: Kpi, version: int, source: Source | None, references: Iterable[Source] = ()
) -> CompiledKpi:
    """DefinitionError if the KPI does not fit the source. `references`: those that it may be enriched with."""
    if source is None and not kpi.over:
        raise DefinitionError("source", f"there is no source {kpi.source}", "known source")
    types = dict.fromkeys(kpi.over, "double") if source is None else dict(source.field_types)
    known = {each.id: each for each in references}
    enriched: list[Enriched] = []
    for place, each in enumerate(kpi.enrich):
        reference = known.get(each.reference)
        if reference is None:
            raise DefinitionError(
                f"enrich.{place}", f"there is no reference {each.reference}", "known reference"
            )
        if len(each.on) != len(reference.key_fields):
            key = ", ".join(reference.key_fields)
            message = f"{reference.id} has the key {key}: `on` names a field for each part of it"
            raise DefinitionError(f"enrich.{place}.on", message, "key")
        enriched.append(Enriched(reference, each.on, each.prefix))
        types |= {f"{each.prefix}_{name}": kind for name, kind in reference.field_types.items()}
    derived, types = derive(kpi.let, types)
    texts = {"value": kpi.value, **kpi.measures}
    single = kpi.window.each is not None
    return CompiledKpi(
        kpi,
        version,
        source,
        tuple(enriched),
        tuple(derived),
        predicate(kpi.where, types) if kpi.where is not None else None,
        () if single else tuple((name, value(text, types)) for name, text in texts.items()),
        scalar(kpi.value, types).expression if single else None,
        windows_of(kpi),
        milliseconds(kpi.lateness),
    )
