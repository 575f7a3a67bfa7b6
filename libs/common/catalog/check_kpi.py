"""What is inconsistent about a KPI: its origin, its expressions, its window, what its fields may be used for. Pure."""

from collections import Counter
from collections.abc import Iterator

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.engines import switched
from libs.common.catalog.faults import Fault, unknown
from libs.common.catalog.fields import fields_of
from libs.common.catalog.kpis import Kpi, Window
from libs.common.catalog.sources import Source, SourceField
from libs.common.errors import DefinitionError
from libs.common.expressions import Value, derived, predicate, scalar, value

Used = dict[str, str]
"""Field read → the path that reads it."""


def check_kpi(kpi: Kpi, wanted: Catalog) -> Iterator[Fault]:
    """Every fault, by path."""
    if kpi.objective is not None and wanted.objective(kpi.objective) is None:
        known = (each.id for each in wanted.objectives)
        yield "objective", unknown("objective", kpi.objective, known), "known objective"
    yield from _window(kpi)
    yield from _signals(kpi)
    yield from switched(kpi, wanted)
    if kpi.over:
        yield from _over(kpi, wanted)
        return
    source = wanted.source(kpi.source or "")
    if source is None:
        known = (each.id for each in wanted.sources)
        yield "source", unknown("source", kpi.source or "", known), "known source"
    elif source.reference:
        yield "source", f"{source.id} is a reference: it has no events", "events"
    else:
        yield from _of_source(kpi, source, wanted)


# --- over a source ---------------------------------------------------------------------------------------


def _of_source(kpi: Kpi, source: Source, wanted: Catalog) -> Iterator[Fault]:
    yield from _enrich(kpi, source, wanted)
    types = fields_of(kpi, wanted)
    faults, used = _expressions(kpi, types)
    yield from faults
    for name, path in sorted(used.items()):
        field = fields_by_name(kpi, wanted).get(name)
        if field is not None and field.purposes is not None and kpi.purpose not in field.purposes:
            allowed = ", ".join(field.purposes) or "nothing"
            yield path, f"{name} may be used for {allowed}, not for {kpi.purpose}", "purpose"


def fields_by_name(kpi: Kpi, wanted: Catalog) -> dict[str, SourceField]:
    """The source's fields and the enriched ones, as the KPI's expressions name them."""
    source = wanted.source(kpi.source or "")
    found = {field.name: field for field in source.fields} if source else {}
    for each in kpi.enrich:
        reference = wanted.source(each.reference)
        if reference is not None:
            found |= {f"{each.prefix}_{field.name}": field for field in reference.fields}
    return found


def _enrich(kpi: Kpi, source: Source, wanted: Catalog) -> Iterator[Fault]:
    taken = set(source.field_types)
    for place, each in enumerate(kpi.enrich):
        path = f"enrich.{place}"
        reference = wanted.source(each.reference)
        if reference is None or not reference.reference:
            known = (one.id for one in wanted.sources if one.reference)
            yield f"{path}.reference", unknown("reference", each.reference, known), "known reference"
            continue
        if len(each.on) != len(reference.key_fields):
            message = (
                f"{reference.id} has the key {', '.join(reference.key_fields)}: give a field for each part"
            )
            yield f"{path}.on", message, "whole key"
        for name, key in zip(each.on, reference.key_fields, strict=False):
            kind, wanted_kind = source.field_types.get(name), reference.field_types.get(key)
            if kind is None:
                yield f"{path}.on", unknown("field", name, source.field_types), "known field"
            elif wanted_kind is not None and not _joins(kind, wanted_kind):
                message = f"{name} is {kind}, {reference.id}'s {key} is {wanted_kind}: they never match"
                yield f"{path}.on", message, "comparable types"
        names = {f"{each.prefix}_{name}" for name in reference.field_types}
        if double := sorted(names & taken):
            yield f"{path}.prefix", f"{', '.join(double)}: there is such a field already", "new name"
        taken |= names


def _joins(one: str, other: str) -> bool:
    return one == other or {one, other} <= {"int", "long"}


def _expressions(kpi: Kpi, types: dict[str, str]) -> tuple[list[Fault], Used]:
    """Faults of let, where, value, measures and by, and the fields that they read. Widens `types` by `let`."""
    faults: list[Fault] = []
    used: Used = {name: f"enrich.{place}.on" for place, each in enumerate(kpi.enrich) for name in each.on}
    for name, text in kpi.let.items():
        if name in types:
            faults.append((f"let.{name}", f"there is a field {name} already", "new name"))
            continue
        try:
            field = derived(text, types)
        except DefinitionError as error:
            faults.append((f"let.{name}", error.message, error.rule))
            continue
        types[name] = field.type
        used |= dict.fromkeys(field.columns, f"let.{name}")
    if kpi.where is not None:
        try:
            used |= dict.fromkeys(predicate(kpi.where, types).columns, "where")
        except DefinitionError as error:
            faults.append(("where", error.message, error.rule))
    for path, text in _values(kpi):
        try:
            compiled = scalar(text, types) if kpi.window.each else value(text, types)
            used |= dict.fromkeys(compiled.columns, path)
        except DefinitionError as error:
            faults.append((path, error.message, error.rule))
    faults += _by(kpi, types, used)
    return faults, used


def fields_read(kpi: Kpi, wanted: Catalog) -> Used:
    """Fields of the source, enriched and derived ones that a KPI over a source reads, as far as it compiles."""
    return _expressions(kpi, fields_of(kpi, wanted))[1]


def _values(kpi: Kpi) -> Iterator[tuple[str, str]]:
    yield "value", kpi.value
    for name, text in kpi.measures.items():
        yield f"measures.{name}", text


def _by(kpi: Kpi, types: dict[str, str], used: Used) -> Iterator[Fault]:
    for place, name in enumerate(kpi.by):
        if name not in types:
            yield f"by.{place}", unknown("field", name, types), "known field"
        elif types[name] in ("double", "timestamp"):
            yield f"by.{place}", f"{name} is {types[name]}: it does not make series", "groups"
        else:
            used[name] = f"by.{place}"
    for name, count in Counter(kpi.by).items():
        if count > 1:
            yield "by", f"{name} is given more than once", "unique field"


# --- over other KPIs -------------------------------------------------------------------------------------


def _over(kpi: Kpi, wanted: Catalog) -> Iterator[Fault]:
    if kpi.window.session is not None:
        yield "window", "sessions of two KPIs have no common bounds: give another window", "regular windows"
    for name, id in kpi.over.items():
        found = wanted.kpi(id)
        if found is None:
            known = (each.id for each in wanted.kpis if each.id != kpi.id)
            yield f"over.{name}", unknown("KPI", id, known), "known KPI"
        elif _reaches(found, kpi.id, wanted):
            yield f"over.{name}", f"{id} is made of {kpi.id}: a KPI cannot be over itself", "no cycle"
        else:
            yield from _input(kpi, name, found, wanted)
    for name, count in Counter(kpi.by).items():
        if count > 1:
            yield "by", f"{name} is given more than once", "unique field"
    types = dict.fromkeys(kpi.over, "double")
    for path, text in _values(kpi):
        try:
            yield from _apart(path, value(text, types))
        except DefinitionError as error:
            yield path, error.message, error.rule


def _input(kpi: Kpi, name: str, found: Kpi, wanted: Catalog) -> Iterator[Fault]:
    if found.window != kpi.window:
        yield f"over.{name}", f"{found.id} has another window: its values do not meet these", "same window"
    missing = [each for each in kpi.by if each not in found.by]
    if missing:
        has = ", ".join(found.by) or "no dimension"
        yield (
            f"over.{name}",
            f"{found.id} is not by {', '.join(missing)}, but by {has}",
            "contained dimensions",
        )
    if kpi.purpose != found.purpose:
        for origin in _origins(found, wanted):
            _, used = _expressions(origin, fields_of(origin, wanted))
            fields = fields_by_name(origin, wanted)
            for field in sorted(used.keys() & fields.keys()):
                purposes = fields[field].purposes
                if purposes is not None and kpi.purpose not in purposes:
                    allowed = ", ".join(purposes) or "nothing"
                    message = (
                        f"{origin.id} reads {field}, which may be used for {allowed}, not for {kpi.purpose}"
                    )
                    yield f"over.{name}", message, "purpose"


def _apart(path: str, compiled: Value) -> Iterator[Fault]:
    """The inputs' values stand below each other, so one aggregate over two of them sees NULL beside each."""
    for state in compiled.states:
        names = sorted(set(state.events.meta.root_names()) & compiled.columns)
        if len(names) > 1:
            message = f"{state.name} mixes {' and '.join(names)}: aggregate each, then calculate"
            yield path, message, "one input per aggregate"
    if compiled.ordered:
        yield path, "values of one window have no order: first and last go with events", "known order"


def _reaches(kpi: Kpi, id: str, wanted: Catalog, seen: frozenset[str] = frozenset()) -> bool:
    if kpi.id == id:
        return True
    if kpi.id in seen:
        return False
    inputs = (wanted.kpi(each) for each in kpi.over.values())
    return any(_reaches(each, id, wanted, seen | {kpi.id}) for each in inputs if each is not None)


def _origins(kpi: Kpi, wanted: Catalog, seen: frozenset[str] = frozenset()) -> Iterator[Kpi]:
    """The KPIs over sources that a KPI is made of."""
    if not kpi.over:
        yield kpi
    for id in kpi.over.values():
        found = wanted.kpi(id)
        if found is not None and id not in seen:
            yield from _origins(found, wanted, seen | {kpi.id, id})


# --- windows and signals ---------------------------------------------------------------------------------

_OPTIONS = {
    "week_starts": ("week",),
    "year_starts": ("quarter", "year"),
    "holidays": ("business_day",),
}


def _window(kpi: Kpi) -> Iterator[Fault]:
    window = kpi.window
    if window.sliding is not None and window.every is not None and window.sliding % window.every:
        yield "window", "the window's length is not a multiple of `every`", "whole panes"
    for option, units in _OPTIONS.items():
        given = getattr(window, option) != Window.model_fields[option].default
        if given and window.calendar is not None and window.calendar not in units:
            message = f"{option} has no meaning for a {window.calendar}, only for {' and '.join(units)}"
            yield f"window.{option}", message, "calendar"


def _signals(kpi: Kpi) -> Iterator[Fault]:
    for place, rule in enumerate(kpi.signals):
        if rule.seasonal is not None and kpi.window.session is not None:
            message = "sessions have no season: they start when they start"
            yield f"signals.{place}.seasonal", message, "regular windows"
    for id, count in Counter(rule.id for rule in kpi.signals).items():
        if count > 1:
            yield "signals", f"the rule {id} is defined more than once", "unique id"
