"""What is inconsistent between a source's fields and how they are minimised, and what ought to be. Pure."""

from collections.abc import Iterable, Iterator

from libs.common.catalog.faults import Fault, unknown
from libs.common.catalog.minimise import Drop, Encrypt, Generalise, Minimise, Pseudonym, Tokenise, Truncate
from libs.common.catalog.models import AnyDefinition, Source, SourceField
from libs.common.catalog.pulls import HttpPull, Pull, SqlPull, WebSocketPull

PERSONAL = ("personal", "sensitive")
NAMES = ("string", "int", "long")
"""Types by which a subject is named."""


def check_minimise(source: Source) -> Iterator[Fault]:
    """All faults of `fields.N.minimise` and `fields.N.scan`."""
    for place, field in enumerate(source.fields):
        if field.scan in ("sample", "redact"):
            fault = _scan(source, field)
            if fault is not None:
                yield f"fields.{place}.scan", f"{field.name} {fault[0]}", fault[1]
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
        if isinstance(field.minimise, Encrypt):
            for message, rule in _subject(source, field, field.minimise.subject):
                yield f"{path}.subject", message, rule


def _type(field: SourceField, minimise: Minimise) -> tuple[str, str] | None:
    """Why a transform does not go with the field's type."""
    match minimise:
        case Drop():
            if not field.nullable:
                return "is not nullable: it cannot be dropped", "drop needs null"
            return None
        case Pseudonym():
            kinds, what = ("string",), "a pseudonym needs text"
        case Tokenise():
            kinds, what = ("string",), "a token needs text"
        case Encrypt():
            kinds, what = ("string",), "what is encrypted is text"
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
    if name == source.event_id and not isinstance(minimise, Pseudonym | Tokenise):
        return "names an event: only a pseudonym or token keeps events apart", "event has an id"
    if source.reference and name in source.key_fields and not isinstance(minimise, Pseudonym | Tokenise):
        return "is of the primary key: only a pseudonym or token keeps rows apart", "reference has a key"
    if source.pull is not None and name in _cursors(source.pull):
        return "is the pull's cursor, which is kept as it comes", "cursor in clear"
    return None


def _subject(source: Source, field: SourceField, name: str) -> Iterator[tuple[str, str]]:
    """Why a field cannot say under whose key another is encrypted."""
    subject = source.field(name)
    if subject is None:
        yield (
            unknown("field", name, (each.name for each in source.fields if each is not field)),
            "known field",
        )
    elif subject is field:
        yield f"{name} cannot be encrypted under a key that is found by itself", "subject in clear"
    elif subject.type not in NAMES:
        yield f"{name} is {subject.type}: a subject is named by {', '.join(NAMES)}", "type"
    elif subject.nullable:
        yield f"{name} may be null: without a subject there is no key", "not nullable"
    elif subject.classification not in PERSONAL:
        what = (
            f"{name} is {subject.classification}: what is not {' or '.join(PERSONAL)} names nobody to erase"
        )
        yield what, "subject can be erased"
    elif not isinstance(subject.minimise, Pseudonym | Tokenise | None) or subject.scan == "redact":
        yield f"{name} is changed so that it keeps subjects apart no longer", "subject in clear"


def _scan(source: Source, field: SourceField) -> tuple[str, str] | None:
    """Why a field is not looked through."""
    if field.type != "string":
        return f"is {field.type}: only text is looked through", "type"
    if field.minimise is not None:
        return "is minimised: there is nothing left to look for", "minimised or scanned"
    if field.scan == "sample":
        return None
    if source.format == "json":
        return (
            "cannot be redacted: producers write to the topic themselves, past ingest",
            "minimised by ingest",
        )
    if field.name == source.event_id:
        return "names an event: redacted, events would fall together", "event has an id"
    if source.reference and field.name in source.key_fields:
        return "is of the primary key: redacted, rows would fall together", "reference has a key"
    if source.pull is not None and field.name in _cursors(source.pull):
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
                if field.classification in PERSONAL and field.minimise is None and field.scan != "redact":
                    message = f"{field.name} is {field.classification} and is kept as it comes"
                    yield source.id, f"fields.{place}", f"{message}: does it need `minimise`?"
