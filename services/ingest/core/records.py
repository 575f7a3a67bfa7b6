"""Validation: bytes of a request become records of a source, each one good or refused for a stated reason.

A source's fields are compiled to a msgspec Struct, so that parsing and checking are one step (about a
microsecond a record). NDJSON is decoded as a whole; only when that fails, line by line.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import count
from math import isfinite
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import astuple

from libs.common.catalog import Source
from libs.common.errors import BadMessage, TooLarge
from services.ingest.core.zones import in_utc

_INT32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TIME = Annotated[datetime, msgspec.Meta(tz=True)]
_TYPES: dict[str, Any] = {
    "string": str, "int": _INT32, "long": _INT64, "double": float, "boolean": bool, "timestamp": _TIME, "date": date,
}  # fmt: skip

BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What is raised where JSON cannot be read."""
_NOT_A_TIME = ("is outside the years 1 to 9999 in UTC", "years 1 to 9999", "not_a_time")
_NOT_A_NUMBER = ("is not a finite number", "finite", "not_a_number")
_NUL = ("has a NUL character in it, which no table can hold", "no NUL", "nul_character")
MAX_RECORD = 1_000_000
"""Bytes of one record at most."""


class Good(msgspec.Struct, frozen=True):
    """A record that fits its source."""

    index: int
    values: tuple[Any, ...]
    """In the order of the source's fields; timestamps in UTC."""
    key: bytes | None
    """None: it has none, and goes to any partition."""
    event_id: str | None
    event_time: datetime | None
    raw: bytes
    traceparent: str | None = None
    pseudonyms: tuple[str, ...] = ()
    """Fields whose values are pseudonyms already."""


class Bad(msgspec.Struct, frozen=True):
    """A record that does not."""

    index: int
    error: BadMessage
    raw: bytes
    event_id: str | None = None
    headers: dict[str, str] = {}
    """Of its dead letter: what of it is kept."""


def declared(source: Source) -> type[msgspec.Struct]:
    """A source's fields as a Struct, its policies compiled into it: defaults, times without an offset, unknown fields."""
    defaults, fields = source.defaults, list[Any]()
    for field in source.fields:
        kind = _TYPES[field.type] if field.zone is None else datetime
        if field.nullable:
            fields.append((field.name, kind | None, None))
        elif field.name in defaults:
            fields.append((field.name, kind, defaults[field.name]))
        else:
            fields.append((field.name, kind))
    refuse = source.unknown_fields == "refuse"
    return msgspec.defstruct("Record", fields, forbid_unknown_fields=refuse, kw_only=True)


class Validator:
    """The rules of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.struct = declared(source)
        self.structs: Any = list.__class_getitem__(self.struct)
        self.one = msgspec.json.Decoder(self.struct, strict=True)
        names = [field.name for field in source.fields]
        self.names = names
        self.texts_at, self.doubles_at, self.times_at = (
            [place for place, field in enumerate(source.fields) if field.type == kind]
            for kind in ("string", "double", "timestamp")
        )
        self.key_at = [names.index(name) for name in source.key_fields]
        self.key = self._key if source.keyed_by == "fields" else _no_key
        self.id_at = None if source.event_id is None else names.index(source.event_id)
        self.time_at = None if source.event_time is None else names.index(source.event_time)
        self.zones = {
            place: ZoneInfo(field.zone) for place, field in enumerate(source.fields) if field.zone is not None
        }

    def lines(self, body: bytes, most: int = sys.maxsize) -> Iterable[Good | Bad]:
        """NDJSON; empty lines are no records. A list if they could be looked at together, which is fast; else each is
        looked at as it is asked for. TooLarge if there are more than `most`: before any of them is looked at."""
        raws = [line for line in body.split(b"\n") if line.strip()]
        if len(raws) > most:
            raise too_many(most)
        try:
            decoded = self.one.decode_lines(body)
        except BROKEN:
            return self.texts(raws)
        if len(decoded) != len(raws):  # two on a line, or one on several
            return self.texts(raws)
        if len(body) > MAX_RECORD and any(len(raw) > MAX_RECORD for raw in raws):
            return self.texts(raws)
        plain = self._plain(decoded, raws)
        return map(self._accept, count(), decoded, raws) if plain is None else plain

    def texts(self, raws: Iterable[bytes]) -> Iterable[Good | Bad]:
        """JSON documents, one record each, as they are asked for."""
        return map(self.single, count(), raws)

    def single(self, index: int, raw: bytes, traceparent: str | None = None) -> Good | Bad:
        """One JSON object."""
        if len(raw) > MAX_RECORD:
            rule = f"at most {MAX_RECORD} bytes"
            return Bad(
                index, BadMessage(f"the record has {len(raw)} bytes", rule=rule, code="too_large"), raw
            )
        try:
            return self._accept(index, self.one.decode(raw), raw, traceparent)
        except BROKEN as error:
            return self._refused(index, error, raw)

    def decoded(self, values: Sequence[dict[str, Any]]) -> Iterable[Good | Bad]:
        """`values` of each; a list if they could be looked at together."""
        try:
            records = msgspec.convert(values, self.structs, strict=True)
            plain = self._plain(records, [b""] * len(records))
        except msgspec.ValidationError:
            plain = None
        return map(self.values, count(), values) if plain is None else plain

    def values(self, index: int, values: dict[str, Any]) -> Good | Bad:
        """A record that is decoded already. What is refused is kept as JSON, so that it can be driven again."""
        try:
            result = self._accept(index, msgspec.convert(values, self.struct, strict=True), b"")
        except msgspec.ValidationError as error:
            return self._refused(index, error, as_json(values))
        if isinstance(result, Bad):
            raw = as_json(values)
            return Bad(index, result.error, raw, self._id_of(_loosely(raw)))
        return result

    def _plain(self, records: Sequence[Any], raws: Sequence[bytes]) -> list[Good | Bad] | None:
        """`_accept` of each, by columns; None if something about one of them is out of the ordinary."""
        if not records:
            return []
        rows = list(map(astuple, records))
        columns = list(zip(*rows, strict=True))
        for place in self.times_at:
            if not {value.tzinfo for value in columns[place] if value is not None} <= {UTC}:
                return None
        for place in self.doubles_at:
            if not isfinite(sum(filter(None, columns[place]))):
                return None
        for place in self.texts_at:
            if "\0" in "".join(filter(None, columns[place])):
                return None
        none = [None] * len(rows)
        ids = none if self.id_at is None else list(map(str, columns[self.id_at]))
        if "" in ids:
            return None
        times = none if self.time_at is None else columns[self.time_at]
        return list(map(Good, count(), rows, map(self.key, rows), ids, times, raws))

    def _accept(self, index: int, record: Any, raw: bytes, traceparent: str | None = None) -> Good | Bad:
        values: tuple[Any, ...] = astuple(record)
        for place in self.times_at:
            if values[place] is not None and values[place].tzinfo is not UTC:
                try:
                    zone = self.zones.get(place)
                    utc = values[place].astimezone(UTC) if zone is None else in_utc(values[place], zone)
                    values = (*values[:place], utc, *values[place + 1 :])
                except OverflowError:  # the first or last hours of the calendar, in another zone
                    return self._unfit(index, raw, place, values, _NOT_A_TIME)
                except ValueError as error:
                    fault = (f"is not {error}", str(error), "not_a_time")
                    return self._unfit(index, raw, place, values, fault)
        for place in self.doubles_at:
            if values[place] is not None and not isfinite(values[place]):
                return self._unfit(index, raw, place, values, _NOT_A_NUMBER)
        for place in self.texts_at:
            if values[place] and "\0" in values[place]:
                return self._unfit(index, raw, place, values, _NUL)
        event_id = None if self.id_at is None else str(values[self.id_at])
        if event_id == "":
            error = BadMessage(
                "the event has no id", field=self.source.event_id, value="", rule="not empty", code="no_id"
            )
            return Bad(index, error, raw)
        event_time = None if self.time_at is None else values[self.time_at]
        return Good(index, values, self.key(values), event_id, event_time, raw, traceparent)

    def _key(self, values: tuple[Any, ...]) -> bytes | None:
        """The values of the source's key fields, joined by `|`. A key by expression is worked out for many at once.

        Of a reference with versions the time (ms) from which the row is valid comes last: each version is kept.
        """
        texts = ["" if values[place] is None else str(values[place]) for place in self.key_at]
        if self.source.reference and self.time_at is not None:
            texts.append(str(round(values[self.time_at].timestamp() * 1000)))
        return "|".join(texts).encode()

    def _unfit(
        self, index: int, raw: bytes, place: int, values: tuple[Any, ...], fault: tuple[str, str, str]
    ) -> Bad:
        """`fault`: what is wrong, the rule, and its code."""
        name, value, (what, rule, code) = self.names[place], values[place], fault
        shown = (
            value.isoformat() if isinstance(value, datetime) else str(value)[:100].replace("\0", "\\u0000")
        )
        error = BadMessage(f"{name} {what}", field=name, value=shown, rule=rule, code=code)
        return Bad(index, error, raw, self._id_of(_loosely(raw)))

    def _refused(self, index: int, error: Exception, raw: bytes) -> Bad:
        """What msgspec says of it."""
        found = _loosely(raw)
        return Bad(index, _explain(error, raw, found), raw, self._id_of(found))

    def _id_of(self, found: dict[str, Any]) -> str | None:
        """The event's id, if the record could be read that far."""
        id = None if self.source.event_id is None else found.get(self.source.event_id)
        return id if isinstance(id, str) else None


def _no_key(values: tuple[Any, ...]) -> bytes | None:
    return None


def _loosely(raw: bytes) -> dict[str, Any]:
    """A JSON object, whatever is in it; empty if it cannot be read."""
    try:
        found = msgspec.json.decode(raw)
    except BROKEN:
        return {}
    return found if isinstance(found, dict) else {}


def _explain(error: Exception, raw: bytes, found: dict[str, Any]) -> BadMessage:
    """msgspec's message, as field, value and rule: "Expected `int`, got `str` - at `$.dep_delay`"."""
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    if "unknown field" in text or "missing required field" in text:
        field = text.rpartition("`")[0].rpartition("`")[2] or field
    value = str(found[field])[:100] if field in found else None
    reason = f"{field}: {text}" if field else text
    return BadMessage(reason, field=field, value=value, rule=text, code=code_of(error, raw))


_CODES = (
    ("unknown field", "unknown_field"), ("missing required field", "missing_field"), ("RFC3339", "not_a_time"),
    ("timezone", "not_a_time"), ("out of range", "out_of_range"), ("` <= ", "out_of_range"), ("` >= ", "out_of_range"),
    ("malformed", "malformed"), ("truncated", "malformed"), ("Expected", "wrong_type"),
)  # fmt: skip
_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"-inf")


def code_of(error: Exception, raw: bytes) -> str:
    """The stable code of what is wrong with JSON, whatever the words of the parser are."""
    if isinstance(error, RecursionError):
        return "too_deep"
    if isinstance(error, UnicodeDecodeError):
        return "invalid_utf8"
    text = str(error)
    place = re.search(r"\(byte (\d+)\)", text)
    if place is not None and raw[int(place[1]) :].lstrip(b"-").startswith(_NUMBERS):
        return "not_a_number"
    return next((code for words, code in _CODES if words in text), "unfit")


def not_json(what: str, error: Exception, raw: bytes) -> BadMessage:
    return BadMessage(f"{what} is not JSON: {error}", rule="JSON", code=code_of(error, raw))


def as_json(values: dict[str, Any]) -> bytes:
    """As JSON. A number that JSON has no word for is text: null would be another value."""
    return msgspec.json.encode(
        {
            name: str(value) if isinstance(value, float) and not isfinite(value) else value
            for name, value in values.items()
        },
        enc_hook=str,
    )


def too_many(most: int) -> TooLarge:
    return TooLarge(f"more than {most} records in one request", limit=most, unit="records")


def documents(body: bytes, most: int = sys.maxsize) -> list[bytes]:
    """The records of a JSON body, a list or one object, as they stand; BadMessage if it is not JSON, TooLarge if there
    are more than `most`."""
    try:
        if body.lstrip()[:1] == b"[":
            found = msgspec.json.decode(body, type=list[msgspec.Raw])
            if len(found) > most:
                raise too_many(most)
            return [bytes(each) for each in found]
        return [bytes(msgspec.json.decode(body, type=msgspec.Raw))]
    except BROKEN as error:
        raise not_json("the body", error, body) from error
