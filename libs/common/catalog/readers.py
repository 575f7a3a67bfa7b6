"""Readers: who reads which field of a source, as the definitions declare it. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.check_kpi import fields_read
from libs.common.catalog.kpis import Kpi
from libs.common.catalog.models import Rule
from libs.common.errors import DefinitionError
from libs.common.expressions import predicate


@dataclass(frozen=True)
class Reader:
    """`path`: where its definition reads the field: `where`, `by.0`, `over.flights`."""

    kind: Literal["kpi", "rule"]
    id: str
    path: str


def readers(source: str, catalog: Catalog) -> dict[str, list[Reader]]:
    """Field → who reads it, KPIs over those KPIs too. Fields that nobody reads are left out."""
    found: dict[str, list[Reader]] = defaultdict(list)
    for kpi in catalog.kpis:
        for name, path in sorted(_of_kpi(kpi, source, catalog, frozenset())):
            found[name].append(Reader("kpi", kpi.id, path))
    for rule in catalog.rules:
        for name, path in sorted(_of_rule(rule, source, catalog)):
            found[name].append(Reader("rule", rule.id, path))
    return dict(sorted(found.items()))


def _of_kpi(kpi: Kpi, source: str, catalog: Catalog, above: frozenset[str]) -> set[tuple[str, str]]:
    """Field and path."""
    if kpi.over:
        inputs = [
            (f"over.{name}", below)
            for name, id in kpi.over.items()
            if (below := catalog.kpi(id)) is not None and id not in above
        ]
        return {
            (name, path)
            for path, below in inputs
            for name, _ in _of_kpi(below, source, catalog, above | {kpi.id})
        }
    used, found = fields_read(kpi, catalog), set[tuple[str, str]]()
    if kpi.source == source and (own := catalog.source(source)) is not None:
        found |= {(name, path) for name, path in used.items() if name in own.field_types}
    for place, each in enumerate(kpi.enrich):
        reference = catalog.source(each.reference)
        if each.reference != source or reference is None:
            continue
        found |= {(name, f"enrich.{place}.on") for name in reference.key_fields}
        for name in reference.field_types:
            if (path := used.get(f"{each.prefix}_{name}")) is not None:
                found.add((name, path))
    return found


def _of_rule(rule: Rule, source: str, catalog: Catalog) -> Iterator[tuple[str, str]]:
    if rule.source == source and (own := catalog.source(source)) is not None:
        yield from ((part.field, f"check.{name}.field") for name, part in rule.check if part is not None)
        try:
            columns = predicate(rule.where, own.field_types).columns if rule.where is not None else ()
        except DefinitionError:
            columns = ()
        yield from ((name, "where") for name in columns)
    looked_up = rule.check.reference
    if looked_up is not None and looked_up.in_ == source and (table := catalog.source(source)) is not None:
        yield from ((name, "check.reference.in") for name in table.key_fields)
