"""What is inconsistent between a source's fields and how they are minimised, and what ought to be. Pure."""

from collections.abc import Iterable, Iterator

from libs.common.catalog.faults import Fault
from libs.common.catalog.minimise import Drop, Generalise, Minimise, Pseudonym, Truncate
from libs.common.catalog.models import AnyDefinition, Source, SourceField
from libs.common.catalog.pulls import HttpPull, Pull, SqlPull, WebSocketPull

PERSONAL = ("personal", "sensitive")


def check_minimise(source: Source) -> Iterator[Fault]:
    """All faults of `fields.N.minimise`."""
    for place, field in enumerate(source.fields):
        if field.minimise is None:
            continue
        path = f"fields.{place}.minimise"
        if source.format == "json":
            message = (
                f"{field.name}: producers write to the topic themselves, past ingest: nothing minimises it"
            )
            yield path, message, "minimised by ingest"
        fault = _type(field, field.minimise) or _role(source, field, field.minimise)
        if fault is not None:
            yield path, f"{field.name} {fault[0]}", fault[1]


def _type(field: SourceField, minimise: Minimise) -> tuple[str, str] | None:
    """Why a transform does not go with the field's type."""
    match minimise:
        case Drop():
            if not field.nullable:
                return "is not nullable: it cannot be dropped", "drop needs null"
            return None
        case Pseudonym():
            kinds, what = ("string",), "a pseudonym needs text"
        case Truncate(to=int()):
            kinds, what = ("string",), "characters are of a text"
        case Truncate():
            kinds, what = ("timestamp",), "a minute, hour or day is of a timestamp"
        case Generalise(step=float() as step):
            kinds, what = ("int", "long", "double"), "a step needs a number"
            if field.type in ("int", "long") and not step.is_integer():
                return f"is {field.type}: its step must be a whole number", "type"
        case Generalise(to=str()):
            kinds, what = ("date", "timestamp"), "a month or year is of a date or timestamp"
        case Generalise():
            kinds, what = ("string",), "a prefix or network needs text"
    return None if field.type in kinds else (f"is {field.type}: {what}", "type")


def _role(source: Source, field: SourceField, minimise: Minimise) -> tuple[str, str] | None:
    """Why what the source does with the field does not go with the transform."""
    name = field.name
    if name == source.event_time and (source.reference or not isinstance(minimise, Truncate)):
        what = "versions would fall together" if source.reference else "it may be truncated only"
        return f"says when it happened: {what}", "event has a time"
    if name == source.event_id and not isinstance(minimise, Pseudonym):
        return "names an event: only a pseudonym keeps events apart", "event has an id"
    if source.reference and name in source.key_fields and not isinstance(minimise, Pseudonym):
        return "is of the primary key: only a pseudonym keeps rows apart", "reference has a key"
    if source.pull is not None and name in _cursors(source.pull):
        return "is the pull's cursor, which is kept as it comes", "cursor in clear"
    return None


def _cursors(pull: Pull) -> Iterable[str | None]:
    match pull:
        case HttpPull(cursor_of="record") | WebSocketPull():
            return (pull.cursor_field,)
        case SqlPull():
            return pull.cursor, pull.tie_breaker
        case _:
            return ()


def notes(definitions: Iterable[AnyDefinition]) -> Iterator[Fault]:
    """Source, path and what is no fault and might be looked at: personal fields that are kept as they come."""
    for source in definitions:
        if isinstance(source, Source):
            for place, field in enumerate(source.fields):
                if field.classification in PERSONAL and field.minimise is None:
                    message = f"{field.name} is {field.classification} and is kept as it comes"
                    yield source.id, f"fields.{place}", f"{message}: does it need `minimise`?"
