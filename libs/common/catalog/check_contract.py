"""A source's contract: what it declares of its fields, and what changes of them break; what is inconsistent. Pure."""

from collections.abc import Iterator

from libs.common.catalog.check_key import check_partitions
from libs.common.catalog.compatibility import Earlier, breaks
from libs.common.catalog.faults import Fault
from libs.common.catalog.models import Source


def check_contract(source: Source, before: Source | None, earlier: Earlier) -> Iterator[Fault]:
    """Faults of policies and of changes. `before` is in force; `earlier` all versions that ever were, oldest first."""
    yield from _policies(source)
    yield from _breaking(source, earlier)
    if before is None:
        return
    if before.reference != source.reference:
        yield "reference", "a source stays a stream, or a reference", "stable topic"
    yield from check_partitions(source, before)
    if source.reference and (before.key, before.event_time) != (source.key, source.event_time):
        yield "key", "a reference keeps its key and event_time: its rows are kept by them", "stable topic"


def _policies(source: Source) -> Iterator[Fault]:
    keys = source.key_fields if source.reference else ()
    for place, field in enumerate(source.fields):
        path, name = f"fields.{place}", field.name
        if source.format == "json" and (field.zone is not None or field.default is not None):
            what = "zone" if field.zone is not None else "default"
            message = (
                f"{name}: producers write to the topic themselves, past ingest: nothing gives it a {what}"
            )
            yield path, message, "applied by ingest"
        if field.default is not None and name in (source.event_id, source.event_time, *keys):
            what = "names an event" if name == source.event_id else "tells rows and times apart"
            yield path, f"{name} {what}: it cannot have a default", "no default"
        elif field.default is not None and field.minimise is not None:
            message = f"{name} is minimised: old events would have the default as it stands"
            yield path, message, "no default"


def _breaking(source: Source, earlier: Earlier) -> Iterator[Fault]:
    """What the mode does not let in, each once, with the newest version that it conflicts with."""
    places = {field.name: f"fields.{place}" for place, field in enumerate(source.fields)}
    told: set[tuple[str, str]] = set()
    for each in breaks(source, earlier):
        if each.refused and (each.field, each.message) not in told:
            told.add((each.field, each.message))
            against = f", against version {each.version}" if each.version else ""
            yield places.get(each.field, "fields"), each.message + against, each.rule
