"""Bodies of Avro, Protobuf and JSON: a container that has its schema with it, or messages whose schemas are in the
registry."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from libs.common.errors import BadMessage
from libs.common.wire import schema_ids, split
from services.ingest.core.avro import container
from services.ingest.core.framing import messages
from services.ingest.core.records import MAX_RECORD, Bad, Good, Validator, as_json
from services.ingest.handlers.schemas import Found, Reader, Schemas
from services.ingest.handlers.turns import listed
from services.ingest.settings import Settings


async def avro(validator: Validator, schemas: Schemas, body: bytes, settings: Settings) -> list[Good | Bad]:
    """The records of a body; BadMessage if it cannot be cut into records."""
    if body[:3] == b"Obj":
        reader, records = container(body, settings.max_body, settings.max_records)
        found = await listed(timed(index, reader, each) for index, each in enumerate(records))
        return await listed(checked(validator, found))
    return await registered(validator, schemas, body, settings)


async def registered(
    validator: Validator, schemas: Schemas, body: bytes, settings: Settings
) -> list[Good | Bad]:
    """Messages, each by the schema that it names; one that cannot be read is an error of that record."""
    cut = messages(body, settings.max_records)
    readers = await schemas.of(schema_ids(cut))
    found = await listed(_read(validator, index, message, readers) for index, message in enumerate(cut))
    return await listed(checked(validator, found))


def _read(
    validator: Validator, index: int, message: bytes, readers: Mapping[int, Found]
) -> dict[str, Any] | Good | Bad:
    """Its values, to be checked; if it is JSON it is checked already."""
    try:
        if len(message) > MAX_RECORD:
            rule = f"at most {MAX_RECORD} bytes"
            raise BadMessage(f"the record has {len(message)} bytes", rule=rule, code="too_large")
        id, content = split(message)
        reader = readers[id]
        if isinstance(reader, BadMessage):
            raise reader
        if reader is None:
            return validator.single(index, content)
        values = reader.message(content)
    except BadMessage as error:
        return Bad(index, error, message)
    return timed(index, reader, values)


def timed(index: int, reader: Reader, values: dict[str, Any]) -> dict[str, Any] | Bad:
    try:
        return reader.timed(values)
    except BadMessage as error:
        return Bad(index, error, as_json(values))


def checked(validator: Validator, found: Sequence[dict[str, Any] | Good | Bad]) -> Iterable[Good | Bad]:
    """What could be read, by the rules of its source."""
    values = [each for each in found if isinstance(each, dict)]
    if len(values) == len(found):
        return validator.decoded(values)
    return (
        validator.values(index, each) if isinstance(each, dict) else each for index, each in enumerate(found)
    )
