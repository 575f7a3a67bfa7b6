"""CloudEvents 1.0 (HTTP protocol binding 1.0.2): an envelope around a source's record.

The record is the `data`. Where it lacks the source's id or time field, the envelope's `id` and `time` fill it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from libs.common.catalog import Source
from libs.common.errors import BadMessage
from services.ingest.core.records import BROKEN, not_json

REQUIRED = ("specversion", "id", "source", "type")


def unwrap(source: Source, raw: bytes) -> tuple[bytes, str | None]:
    """The record of a structured event, as JSON, and its traceparent; BadMessage names what is missing."""
    try:
        event = msgspec.json.decode(raw)
    except BROKEN as error:
        raise not_json("the event", error, raw) from error
    if not isinstance(event, dict):
        raise BadMessage("a CloudEvent is an object", rule="CloudEvents 1.0", code="not_a_cloud_event")
    _check(event)
    data = event.get("data")
    if not isinstance(data, dict):
        raise BadMessage(
            "data: the record must be a JSON object",
            field="data",
            rule="CloudEvents 1.0",
            code="not_a_cloud_event",
        )
    trace = event.get("traceparent")
    return _filled(source, data, event), trace if isinstance(trace, str) else None


def unwrap_binary(source: Source, headers: Mapping[str, str], body: bytes) -> tuple[bytes, str | None]:
    """The record of an event whose attributes are `ce-` headers, percent-encoded, and whose body is the data."""
    event = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    _check(event)
    try:
        data = msgspec.json.decode(body)
    except BROKEN as error:
        raise not_json("the event's data", error, body) from error
    if not isinstance(data, dict):
        raise BadMessage(
            "the event's data must be a JSON object", rule="CloudEvents 1.0", code="not_a_cloud_event"
        )
    return _filled(source, data, event), event.get("traceparent")


def _check(event: Mapping[str, Any]) -> None:
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise BadMessage(
                f"{name}: the attribute is required",
                field=name,
                rule="CloudEvents 1.0",
                code="not_a_cloud_event",
            )
    if event["specversion"] != "1.0":
        value = str(event["specversion"])[:100]
        raise BadMessage(
            "specversion: only 1.0 is known",
            field="specversion",
            value=value,
            rule="CloudEvents 1.0",
            code="not_a_cloud_event",
        )


def _filled(source: Source, data: dict[str, Any], event: Mapping[str, Any]) -> bytes:
    for field, attribute in ((source.event_id, "id"), (source.event_time, "time")):
        if field is not None and data.get(field) is None and event.get(attribute) is not None:
            data[field] = event[attribute]
    return msgspec.json.encode(data)
