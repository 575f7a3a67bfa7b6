"""Consistency: what is wrong with a set of definitions, and what changed since the last one. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.check_contract import check_contract
from libs.common.catalog.check_key import check_key
from libs.common.catalog.check_kpi import check_kpi
from libs.common.catalog.check_minimise import check_minimise
from libs.common.catalog.check_pull import check_pull
from libs.common.catalog.check_retry import check_retry
from libs.common.catalog.compatibility import Earlier
from libs.common.catalog.faults import Fault, unknown
from libs.common.catalog.models import AnyDefinition, Kpi, Objective, Playbook, Policy, Rule, Source, Team
from libs.common.errors import DefinitionError
from libs.common.expressions import predicate


@dataclass(frozen=True)
class Problem:
    """A fault of one definition. `path` is dotted (`signals.0.threshold`); "" is the whole file."""

    kind: str
    id: str
    path: str
    message: str
    rule: str


@dataclass(frozen=True)
class Change:
    """What applying would do to one definition; `details`: `field: old → new` of each that differs."""

    kind: str
    id: str
    action: Literal["create", "update", "remove", "unchanged"]
    details: tuple[str, ...] = ()


def check(
    definitions: Sequence[AnyDefinition],
    previous: Catalog | None = None,
    history: Mapping[str, Earlier] | None = None,
) -> list[Problem]:
    """All faults, in the order of the definitions. `previous` is what is in force, for breaking changes; `history` all
    versions of sources, by id: of one that is not in it, what is in force is all there was."""
    wanted, previous = Catalog.of(definitions), previous or Catalog()
    problems = [
        Problem(kind, id, "id", f"{count} definitions have this id", "unique id")
        for (kind, id), count in Counter((each.kind, each.id) for each in definitions).items()
        if count > 1
    ]
    for definition in definitions:
        for path, message, rule in _faults(definition, wanted, previous, history or {}):
            problems.append(Problem(definition.kind, definition.id, path, message, rule))
    return problems


def _faults(
    definition: AnyDefinition, wanted: Catalog, previous: Catalog, history: Mapping[str, Earlier]
) -> Iterator[Fault]:
    if not isinstance(definition, Team) and wanted.team(definition.owner) is None:
        yield "owner", unknown("team", definition.owner, (team.id for team in wanted.teams)), "known team"
    match definition:
        case Source():
            yield from _source(definition)
            before = previous.source(definition.id)
            known = [] if before is None else [(previous.version("source", definition.id), before)]
            yield from check_contract(definition, before, history.get(definition.id, known))
            yield from check_retry(definition, wanted)
        case Kpi():
            yield from check_kpi(definition, wanted)
        case Rule():
            yield from _rule(definition, wanted)
        case Objective():
            yield from _objective(definition, wanted)
        case Playbook():
            yield from _playbook(definition, wanted)
        case Policy():
            yield from _policy(definition, wanted)
        case Team():
            pass


# --- sources ---------------------------------------------------------------------------------------------


def _source(source: Source) -> Iterator[Fault]:
    types = source.field_types
    twice = [name for name, count in Counter(field.name for field in source.fields).items() if count > 1]
    for name in twice:
        yield "fields", f"the field {name} is defined more than once", "unique field"
    yield from check_key(source)
    if source.reference:
        yield from _reference(source)
    else:
        for role, name, kinds in (
            ("event_id", source.event_id, ("string", "int", "long")),
            ("event_time", source.event_time, ("timestamp",)),
        ):
            if name is None:
                yield role, f"a stream of events needs {role}", "event has id and time"
            elif name not in types:
                yield role, unknown("field", name, types), "known field"
            elif types[name] not in kinds:
                yield role, f"{name} is {types[name]}, not {' or '.join(kinds)}", "type"
    if source.pull is not None:
        yield from check_pull(source, source.pull)
    yield from check_minimise(source)


def _reference(source: Source) -> Iterator[Fault]:
    if source.event_time is None:
        return
    name, field = source.event_time, source.field(source.event_time)
    if field is None or field.type != "timestamp":
        message = (
            f"{name} is {'no field' if field is None else field.type}: rows are valid from a timestamp on"
        )
        yield "event_time", message, "type"
    elif field.nullable:
        yield "event_time", f"{name} may be null: a row says from when on it is valid", "not nullable"


# --- rules --------------------------------------------------------------------------------------


def _rule(rule: Rule, wanted: Catalog) -> Iterator[Fault]:
    source = wanted.source(rule.source)
    if source is None:
        yield "source", unknown("source", rule.source, (each.id for each in wanted.sources)), "known source"
        return
    if rule.where is not None:
        try:
            predicate(rule.where, source.field_types)
        except DefinitionError as error:
            yield "where", error.message, error.rule
    name, part = next((name, part) for name, part in rule.check if part is not None)
    path = f"check.{name}.field"
    kind = source.field_types.get(part.field)
    if kind is None:
        yield path, unknown("field", part.field, source.field_types), "known field"
    elif name == "range" and kind not in ("int", "long", "double"):
        yield path, f"{part.field} is {kind}: a range needs a number", "type"
    elif name in ("pattern", "reference") and kind != "string":
        yield path, f"{part.field} is {kind}: a {name} needs text", "type"
    if rule.check.pattern is not None and (fault := rule.check.pattern.fault) is not None:
        yield "check.pattern.matches", f"not a regular expression: {fault}", "regular expression"
    if rule.check.reference is not None:
        reference = wanted.source(rule.check.reference.in_)
        if reference is None or not reference.reference:
            known = (each.id for each in wanted.sources if each.reference)
            yield (
                "check.reference.in",
                unknown("reference", rule.check.reference.in_, known),
                "known reference",
            )
        elif len(reference.key_fields) != 1:
            yield (
                "check.reference.in",
                f"{reference.id} has a key of {len(reference.key_fields)} fields, not of one",
                "key",
            )


# --- strategy and policies -------------------------------------------------------------------------------


def _objective(objective: Objective, wanted: Catalog) -> Iterator[Fault]:
    for place, result in enumerate(objective.key_results):
        path = f"key_results.{place}"
        kpi = wanted.kpi(result.kpi)
        if kpi is None:
            yield f"{path}.kpi", unknown("KPI", result.kpi, (each.id for each in wanted.kpis)), "known KPI"
            continue
        for name in result.series:
            if name not in kpi.by:
                yield f"{path}.series", unknown("dimension", name, kpi.by), "known dimension"
        if result.baseline == result.target:
            yield f"{path}.target", "the target is the baseline: there is no way to go", "progress"


def _playbook(playbook: Playbook, wanted: Catalog) -> Iterator[Fault]:
    for place, trigger in enumerate(playbook.opens_on):
        kpi = wanted.kpi(trigger.kpi)
        if kpi is None:
            known = (each.id for each in wanted.kpis)
            yield f"opens_on.{place}.kpi", unknown("KPI", trigger.kpi, known), "known KPI"
        elif trigger.rule is not None and trigger.rule not in {rule.id for rule in kpi.signals}:
            known = (rule.id for rule in kpi.signals)
            yield f"opens_on.{place}.rule", unknown("signal rule", trigger.rule, known), "known rule"


def _policy(policy: Policy, wanted: Catalog) -> Iterator[Fault]:
    for place, rule in enumerate(policy.retention):
        if wanted.source(rule.source) is None:
            known = (each.id for each in wanted.sources)
            yield f"retention.{place}.source", unknown("source", rule.source, known), "known source"
    roles = {rule.role for each in wanted.policies for rule in each.roles}
    for place, mask in enumerate(policy.masks):
        for role in mask.roles:
            if roles and role not in roles:
                yield f"masks.{place}.roles", unknown("role", role, roles), "known role"


# --- changes ---------------------------------------------------------------------------------------------


def changes(previous: Catalog, definitions: Sequence[AnyDefinition], *, remove_missing: bool) -> list[Change]:
    """What applying the definitions would do, in their order; what is no longer there last."""
    found = [_change(definition, previous) for definition in definitions]
    if remove_missing:
        kept = {(definition.kind, definition.id) for definition in definitions}
        found += [
            Change(kind, id, "remove") for kind, id in sorted(previous.definitions) if (kind, id) not in kept
        ]
    return found


def _change(definition: AnyDefinition, previous: Catalog) -> Change:
    before = previous.definitions.get((definition.kind, definition.id))
    if before is None:
        return Change(definition.kind, definition.id, "create")
    old, new = before.model_dump(mode="json"), definition.model_dump(mode="json")
    details = tuple(_differences("", old, new))
    return Change(definition.kind, definition.id, "update" if details else "unchanged", details)


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    """`path: old → new` of the innermost fields that differ; elements of lists by their `id` or `name`, or place."""
    if old == new:
        return
    parts = _parts(old), _parts(new)
    if parts[0] is None or parts[1] is None:
        yield f"{path}: {_short(old)} → {_short(new)}"
        return
    for name in dict.fromkeys([*parts[0], *parts[1]]):
        inner = f"{path}.{name}" if path else str(name)
        yield from _differences(inner, parts[0].get(name), parts[1].get(name))


def _parts(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(each, dict) for each in value):
        return None
    return {each.get("id") or each.get("name") or place: each for place, each in enumerate(value)}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        given = {name: each for name, each in value.items() if each not in (None, "", [], {}, False)}
        text = ", ".join(f"{name}: {each}" for name, each in given.items())
    else:
        text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
