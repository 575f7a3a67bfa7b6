"""Bodies of Avro, Protobuf and JSON: a container that has its schema with it, or messages whose schemas are in the
registry."""

from typing import Any

from libs.common.errors import BadMessage
from libs.common.wire import schema_ids, split
from services.ingest.core.avro import container
from services.ingest.core.framing import messages
from services.ingest.core.records import MAX_RECORD, Bad, Good, Validator, as_json
from services.ingest.handlers.schemas import Reader, Schemas
from services.ingest.settings import Settings


async def avro(validator: Validator, schemas: Schemas, body: bytes, settings: Settings) -> list[Good | Bad]:
    """The records of a body; BadMessage if it cannot be cut into records."""
    if body[:3] == b"Obj":
        found = container(body, settings.max_body, settings.max_records)
        return [_checked(validator, index, reader, values) for index, (reader, values) in enumerate(found)]
    return await registered(validator, schemas, body, settings)


async def registered(
    validator: Validator, schemas: Schemas, body: bytes, settings: Settings
) -> list[Good | Bad]:
    """Messages, each by the schema that it names; one that cannot be read is an error of that record."""
    cut = messages(body, settings.max_records)
    readers = await schemas.of(schema_ids(cut))
    records: list[Good | Bad] = []
    for index, message in enumerate(cut):
        try:
            if len(message) > MAX_RECORD:
                rule = f"at most {MAX_RECORD} bytes"
                raise BadMessage(f"the record has {len(message)} bytes", rule=rule, code="too_large")
            id, content = split(message)
            reader = readers[id]
            if isinstance(reader, BadMessage):
                raise reader
            if reader is None:
                records.append(validator.single(index, content))
            else:
                records.append(_checked(validator, index, reader, reader.message(content)))
        except BadMessage as error:
            records.append(Bad(index, error, message))
    return records


def _checked(validator: Validator, index: int, reader: Reader, values: dict[str, Any]) -> Good | Bad:
    """A record that could be read, by the rules of its source."""
    try:
        return validator.values(index, reader.timed(values))
    except BadMessage as error:
        return Bad(index, error, as_json(values))
