"""What is inconsistent in how a source's events are keyed and partitioned. Pure."""

from collections.abc import Iterator

from libs.common.catalog.faults import Fault, unknown
from libs.common.catalog.sources import KeyExpression, Source
from libs.common.errors import DefinitionError
from libs.common.expressions import derived

_EXACT = ("string", "int", "long", "boolean", "date", "timestamp")
"""What a key may be: of a double two that are equal may be written differently."""


def check_key(source: Source) -> Iterator[Fault]:
    """All faults of `key`."""
    if source.reference and not source.key_fields:
        message = "a reference needs a primary key: the fields by which its rows are kept and found"
        yield "key", message, "reference has a key"
    elif source.format == "json" and source.keyed_by != "fields":
        message = f"{source.keyed_by}: producers write to the topic themselves, and choose the partition"
        yield "key", message, "keyed by ingest"
    elif isinstance(source.key, KeyExpression):
        yield from _expression(source, source.key)
    for name in source.key_fields:
        if name not in source.field_types:
            yield "key", unknown("field", name, source.field_types), "known field"


def _expression(source: Source, key: KeyExpression) -> Iterator[Fault]:
    path, types = "key.expression", source.field_types
    try:
        kind = derived(key.expression, types).type
        if kind not in _EXACT:
            message = (
                f"{key.expression} is {kind}: a key is text, a whole number, a boolean, a date or a time"
            )
            yield path, message, "type"
        elif not source.key_reads:
            message = f"{key.expression} reads no field: all events would have the same key"
            yield path, message, "field"
    except DefinitionError as error:
        yield path, error.message, error.rule


def check_partitions(source: Source, before: Source) -> Iterator[Fault]:
    """What cannot become of the partitions of a source that is in force."""
    if source.partitions < before.partitions:
        message = (
            f"{before.partitions} partitions cannot become {source.partitions}: Kafka takes none away, and the events"
            " in them would be lost; to have fewer, define another source"
        )
        yield "partitions", message, "stable topic"
    if source.partitions > before.partitions and source.format == "json":
        message = (
            "producers write to the topic themselves: nothing stops them while partitions are added, and the order"
            " per key would break; define another source"
        )
        yield "partitions", message, "order per key"
