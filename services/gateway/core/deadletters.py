"""Dead letters as an asker sees them: the least known records, shown with the most care."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.catalog import Source
from services.gateway.core.access import Rights
from services.gateway.core.masking import Veil

_OPEN_HEADERS = ("sx-", "traceparent", "ce_specversion", "ce_source", "ce_type", "content-type")
"""Beginnings of the headers that hold no data of the event."""


def show_dead_letter(veil: Veil, source: Source | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the view `read.dead_letters`, masked.

    A payload that is a JSON object is masked field by field; fields that the source does not define are of the
    strictest class. Any other payload is shown whole to those who see every class in clear, else not at all.
    What was said about the record (reason, value) may quote it, and a malformed record may hold a value where it
    does not belong: values that are masked in one place are masked wherever they stand. Where the record could
    not be read nothing that may quote it is shown.
    """
    everything = veil.rights.sees_every_class
    name = source.id if source else str(row["source"])
    record = parsed(row["payload"])
    masked: list[str] = []
    hidden = False
    payload: Any
    if isinstance(record, dict):
        payload, masked = veil.event(name, record)
    elif everything:
        payload = record if record is not None else bytes(row["payload"] or b"").decode(errors="replace")
        veil.shown.add("sensitive")
    else:
        payload, hidden = None, True
    value, reason = row["value"], row["reason"]
    if not everything:
        if row["field"] is not None and value is not None:
            value = veil.value(name, row["field"], value)
        elif value is not None:
            value = None
        reason = veil.prose(reason) if isinstance(record, dict) else row["error"]
    shown = {
        **{column: row[column] for column in _COLUMNS},
        "value": value if value is None else str(value),
        "reason": reason,
        "payload": payload,
        "payload_hidden": hidden,
        "masked": masked,
        "headers": _headers(veil, source, row["headers"] or {}),
    }
    return shown if everything else {name: veil.everywhere(value) for name, value in shown.items()}


def show_cause(rights: Rights, source: Source | None, cause: Mapping[str, Any]) -> dict[str, Any]:
    """What one cause of dead letters is: field and rule. Of a field that the source does not define, and of what could
    not be read, they may quote the record: nothing is said to those who do not see every class."""
    field = cause["field"]
    known = source is not None and field is not None and source.field(field) is not None
    if known or rights.sees_every_class:
        return dict(cause)
    return {**cause, "field": None, "rule": None}


_COLUMNS = (
    "id", "source", "stage", "error", "code", "cause", "field", "rule", "topic", "partition", "offset", "attempts",
    "first_seen", "last_seen", "service", "schema_ids", "code_version", "trace_id", "receipt", "recorded_at",
)  # fmt: skip


_DEEPEST = 64
"""An answer that is nested further cannot be written."""


def parsed(payload: bytes | None) -> Any:
    """The payload as JSON that can be shown; None if it is none. A CloudEvent's or list's shape is not looked into."""
    try:
        found = msgspec.json.decode(payload or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if _is_deeper(found, _DEEPEST) else found


def _is_deeper(value: Any, than: int) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(members) and (than == 0 or any(_is_deeper(each, than - 1) for each in members))


def _headers(veil: Veil, source: Source | None, headers: Mapping[str, Any]) -> dict[str, Any]:
    if veil.rights.sees_every_class:
        return dict(headers)
    shown = {name: value for name, value in headers.items() if name.lower().startswith(_OPEN_HEADERS)}
    if "ce_id" in headers and source is not None and source.event_id is not None:
        shown["ce_id"] = veil.value(source.id, source.event_id, headers["ce_id"])
    return shown
