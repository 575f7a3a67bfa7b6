"""A draft of a source from a sample of its records. Pure."""

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import msgspec

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_NUMBER = re.compile(r"^-?(0|[1-9][0-9]*)$")
_DECIMAL = re.compile(r"^-?[0-9]+\.[0-9]+([eE][-+]?[0-9]+)?$")
_IDS = re.compile(r"^(id|uuid|guid|.*_id|.*Id|event_key)$")
_TIMES = re.compile(r"^(at|time|ts|timestamp|.*_at|.*_time|occurred.*|created.*)$")


def draft(records: Sequence[bytes], pull: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """A definition for the records: fields with types, the likely id, time and key, `named` before what is likely;
    `notes` says what could not be decided."""
    values, count, notes = _columns(records)
    fields: list[dict[str, Any]] = []
    for name, found in values.items():
        if not _NAME.match(name):
            notes.append(f"{name!r} is no name for a field: letters, digits and _ only")
            continue
        kind, note = _kind(found)
        if note:
            notes.append(f"{name}: {note}")
        if kind is not None:
            field: dict[str, Any] = {"name": name, "type": kind}
            if len(found) < count or None in found:
                field["nullable"] = True
            fields.append(field)
    mixed = {note.partition(":")[0] for note in notes}
    sure = {
        each["name"]: each["type"]
        for each in fields
        if not each.get("nullable") and each["name"] not in mixed
    }
    drafted = {
        "kind": "source",
        "id": "drafted",
        "title": "Drafted",
        "owner": "unknown",
        "event_id": _id(values, sure, count),
        "event_time": _time(sure, pull),
        "fields": fields,
        **named,
        "pull": pull,
    }
    drafted.setdefault(
        "key", _key(values, sure, count) or ([drafted["event_id"]] if drafted["event_id"] else [])
    )
    for role in ("event_id", "event_time"):
        if drafted[role] is None:
            notes.append(f"no field of the sample can be the {role}")
    return {"definition": drafted, "notes": notes}


def _columns(records: Sequence[bytes]) -> tuple[dict[str, list[Any]], int, list[str]]:
    """Values by field, in the order of their first appearance; how many records are objects."""
    values: dict[str, list[Any]] = defaultdict(list)
    objects, others = 0, 0
    for record in records:
        found = None
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = msgspec.json.decode(record)
        if not isinstance(found, dict):
            others += 1
            continue
        objects += 1
        for name, value in found.items():
            values[name].append(value)
    return values, objects, [f"{others} of {len(records)} records are no JSON objects"] if others else []


def _kind(values: Sequence[Any]) -> tuple[str | None, str | None]:
    """The narrowest type that all values have; what is to be said about it."""
    kinds = {_of(value) for value in values if value is not None}
    if not kinds:
        return "string", "always null in the sample: taken as string"
    if kinds <= {"long", "double"}:
        return ("double" if "double" in kinds else "long"), None
    if len(kinds) == 1:
        (kind,) = kinds
        return (
            (None, "an object or a list: fields are flat, so every record with it is refused")
            if (kind == "nested")
            else (kind, None)
        )
    shown = ", ".join(sorted(kinds))
    if "nested" in kinds or kinds & {"long", "double", "boolean"}:
        return "string", f"of several types ({shown}): taken as string, others are refused"
    return "string", None


def _of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "long"
        case float():
            return "double"
        case str():
            return _of_text(value)
        case _:
            return "nested"


def _of_text(text: str) -> str:
    if len(text) == 10:
        with suppress(ValueError):
            date.fromisoformat(text)
            return "date"
    with suppress(ValueError):
        if datetime.fromisoformat(text).tzinfo is not None and "-" in text[:5]:
            return "timestamp"
    return "string"


def _id(values: dict[str, list[Any]], sure: dict[str, str], count: int) -> str | None:
    unique = [
        name
        for name, kind in sure.items()
        if kind in ("string", "long") and len({str(value) for value in values[name]}) == count
    ]
    return next((name for name in unique if _IDS.match(name)), next(iter(unique), None))


def _time(sure: dict[str, str], pull: dict[str, Any]) -> str | None:
    times = [name for name, kind in sure.items() if kind == "timestamp"]
    cursor = pull.get("cursor") or pull.get("cursor_field")
    if cursor in times:
        return cursor
    return next((name for name in times if _TIMES.match(name)), next(iter(times), None))


def _key(values: dict[str, list[Any]], sure: dict[str, str], count: int) -> list[str]:
    """The text with the most values that still repeats: what belongs together stays in one partition."""
    repeated = {
        name: len(set(values[name]))
        for name, kind in sure.items()
        if kind == "string" and 1 < len(set(values[name])) <= count // 2
    }
    return [max(repeated, key=lambda name: repeated[name])] if repeated else []


def typed(record: bytes) -> bytes:
    """A record whose values are all text, with numbers, truth values and empty texts as what they look like: rows of
    CSV while nothing says their types."""
    return msgspec.json.encode(
        {name: _look(text) for name, text in msgspec.json.decode(record, type=dict[str, str]).items()}
    )


def _look(text: str) -> Any:
    if text == "":
        return None
    if _NUMBER.match(text) and len(text) < 19:
        return int(text)
    if _DECIMAL.match(text):
        return float(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _of_text(text) == "string" and len(text) > 10 and text[4:5] == "-":
        with suppress(ValueError):
            return datetime.fromisoformat(text).isoformat() + "Z"
    return text
