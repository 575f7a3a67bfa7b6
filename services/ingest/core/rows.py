"""Rows of tables and files as the JSON that the validator reads. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.catalog import Source

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_ENCODER = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


def row(source: Source, values: Mapping[str, Any]) -> bytes:
    """The source's fields of a row; times that name no zone are in that of their field, or UTC. Other columns are left
    out; of a source that has no fields yet, none."""
    zones = {field.name: field.zone for field in source.fields} or dict.fromkeys(values)
    return _ENCODER.encode({name: _plain(values[name], zones[name]) for name in zones if name in values})


def _plain(value: Any, zone: str | None = None) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None and zone is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # which the validator refuses, with its name
    return value


def texts(source: Source, values: Mapping[str, str]) -> bytes:
    """A row of text, read by the types of the source's fields; what does not read stays text, to be refused by name.
    An empty text is null where null is allowed."""
    if not source.fields:
        return _ENCODER.encode(values)
    return _ENCODER.encode(
        {
            field.name: None
            if values[field.name] == "" and field.nullable
            else _read(field.type, values[field.name], field.zone)
            for field in source.fields
            if field.name in values
        }
    )


def _read(kind: str, text: str, zone: str | None) -> Any:
    try:
        match kind:
            case "int" | "long" if "_" not in text:
                return int(text)
            case "double" if "_" not in text:
                return _plain(float(text))
            case "boolean":
                known = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
                return known.get(text.strip().lower(), text)
            case "timestamp":
                return _plain(datetime.fromisoformat(text.strip()), zone)
            case _:
                return text
    except ValueError:
        return text
