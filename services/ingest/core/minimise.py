"""Minimisation: what of a record may be written. The transforms of a source's fields, compiled once. Pure.

A good record's values are changed, and its key, id and time are made of the changed ones. Of a malformed record each
value that its field could hold is kept, changed like that of a good one; in the place of every other one it is said
what it was (`{"dropped": "text"}`), which no field accepts. What is no JSON object is not kept at all.
"""

import hashlib
import hmac
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_FLOOR, Decimal
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import Any

import msgspec
from msgspec.structs import replace

from libs.common.catalog import SourceField
from libs.common.catalog.minimise import Drop, Generalise, Minimise, Network, Pseudonym, Truncate
from libs.common.errors import BadMessage
from services.ingest.core.records import BROKEN, MAX_RECORD, Bad, Good, Validator, as_json

PSEUDONYMS = "sx-pseudonyms"
"""Header of a dead letter whose payload is minimised: the fields that hold pseudonyms by now, with commas between."""
DROPPED = "sx-dropped-bytes"
"""Header of a dead letter of which nothing could be kept: how many bytes the record had."""
SHORTEST = 16
"""Bytes of a secret."""
Change = Callable[[Any], Any]

_KINDS: dict[str, Any] = {
    "string": str, "int": int | float, "long": int | float, "double": int | float, "boolean": bool,
    "timestamp": datetime, "date": date,
}  # fmt: skip
_LEAST = {"int": -(2**31), "long": -(2**63), "double": -sys.float_info.max}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_TIMES: dict[str, dict[str, int]] = {
    "minute": {"second": 0, "microsecond": 0},
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
    "day": {"hour": 0, "minute": 0, "second": 0, "microsecond": 0},
}
_TIMES["month"] = {"day": 1, **_TIMES["day"]}
_TIMES["year"] = {"month": 1, **_TIMES["month"]}


class Minimiser:
    """The transforms of one source. `secrets`: the keys of its pseudonyms, by name."""

    def __init__(self, validator: Validator, secrets: Mapping[str, bytes]) -> None:
        self.validator = validator
        self.types = {field.name: field.type for field in validator.source.fields}
        named = [field for field in validator.source.fields if field.minimise is not None]
        wanted = {field.minimise.secret for field in named if isinstance(field.minimise, Pseudonym)}
        self.lacks = sorted(name for name in wanted if len(secrets.get(name, b"")) < SHORTEST)
        """Secrets that are not there, or too short: without them nothing can be taken."""
        self.changes = {} if self.lacks else {field.name: _compiled(field, secrets) for field in named}
        self.pseudonyms = tuple(field.name for field in named if isinstance(field.minimise, Pseudonym))
        self.steps = [
            (validator.names.index(name), name, change, name in self.pseudonyms)
            for name, change in self.changes.items()
        ]

    def all(self, records: Iterable[Good | Bad]) -> list[Good | Bad]:
        """What may be written of records."""
        return [self._good(record) if isinstance(record, Good) else self._bad(record) for record in records]

    def _good(self, record: Good) -> Good | Bad:
        values, validator = list(record.values), self.validator
        for place, name, change, keyed in self.steps:
            if values[place] is None or (keyed and name in record.pseudonyms):
                continue
            try:
                values[place] = change(values[place])
            except ValueError as error:
                rule = str(error)
                fault = BadMessage(f"{name}: {rule}", field=name, rule=rule, code="not_minimised")
                raw = as_json(dict(zip(validator.names, record.values, strict=True)))
                return self._bad(Bad(record.index, fault, raw))
        kept = tuple(values)
        return replace(
            record,
            values=kept,
            key=validator.key(kept),
            event_id=None if validator.id_at is None else str(kept[validator.id_at]),
            event_time=None if validator.time_at is None else kept[validator.time_at],
            raw=b"",
        )

    def _bad(self, record: Bad) -> Bad:
        kept = self._kept(record.raw)
        headers = {PSEUDONYMS: ",".join(self.pseudonyms)}
        if kept is None:
            headers[DROPPED] = str(len(record.raw))
        id = (kept or {}).get(self.validator.source.event_id or "")
        return Bad(
            record.index,
            self._said(record.error),
            b"" if kept is None else msgspec.json.encode(kept),
            id if isinstance(id, str) else None,
            headers,
        )

    def _kept(self, raw: bytes) -> dict[str, Any] | None:
        """Of a malformed record; None if nothing of it can be."""
        if len(raw) > MAX_RECORD:
            return None
        try:
            found = msgspec.json.decode(raw)
        except BROKEN:
            return None
        if not isinstance(found, dict):
            return None
        return {
            name if _PLAIN_NAME.fullmatch(name) else "?": self._value(name, value)
            for name, value in found.items()
        }

    def _value(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        kind, change = self.types.get(name), self.changes.get(name)
        if kind is not None:
            try:
                fitting = msgspec.convert(value, _KINDS[kind], strict=True)
                if change is not None:
                    value = change(fitting)
                msgspec.json.encode(value)
                return value
            except (ValueError, ArithmeticError, *BROKEN):
                pass
        return {"dropped": _what(value)}

    def _said(self, error: BadMessage) -> BadMessage:
        """The error without anything that the record held. Parsers quote what they stumble over in their reasons."""
        field = error.field if error.field and _PLAIN_NAME.fullmatch(error.field) else None
        rule = "no other fields" if error.code == "unknown_field" else error.rule or error.code
        return BadMessage(f"{field}: {rule}" if field else rule, field=field, rule=rule, code=error.code)


def driven(record: Good, headers: Mapping[str, str]) -> Good:
    """A record out of a dead letter: what is a pseudonym in it stays as it is."""
    return replace(record, pseudonyms=tuple(headers.get(PSEUDONYMS, "").split(",")))


def _what(value: Any) -> str:
    match value:
        case str():
            return "text"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case list():
            return "list"
        case _:
            return "object"


# --- the transforms ----------------------------------------------------------------------------------------


def _compiled(field: SourceField, secrets: Mapping[str, bytes]) -> Change:
    """Of values that are not null; each, but a pseudonym, leaves what it made as it is."""
    minimise: Minimise | None = field.minimise
    match minimise:
        case Pseudonym():
            return partial(_pseudonym, secrets[minimise.secret], minimise.length)
        case Truncate(to=int() as characters):
            return lambda text: text[:characters]
        case Truncate(to=unit) | Generalise(to=str() as unit):
            return partial(_down_to, _TIMES[str(unit)])
        case Generalise(step=float() as step):
            return partial(_multiple, Decimal(str(step)), field.type)
        case Generalise(prefix=int() as characters):
            return lambda text: text if len(text) <= characters else f"{text[:characters]}*"
        case Generalise(network=Network() as network):
            return partial(_network, network)
        case Drop() | _:
            return lambda _: None


def _pseudonym(secret: bytes, length: int, text: str) -> str:
    return hmac.digest(secret, text.encode(), hashlib.sha256).hex()[:length]


def _down_to(parts: Mapping[str, Any], when: Any) -> Any:
    if not isinstance(when, datetime):
        return when.replace(**{name: value for name, value in parts.items() if name in ("month", "day")})
    return (when if when.tzinfo is None else when.astimezone(UTC)).replace(**parts)


def _multiple(step: Decimal, kind: str, number: Any) -> Any:
    """Down to a multiple: in decimals, so that a multiple of 0.1 stays what it is."""
    multiple = (Decimal(repr(number)) / step).to_integral_value(ROUND_FLOOR) * step
    return max(float(multiple) if kind == "double" else int(multiple), _LEAST[kind])


def _network(network: Network, text: str) -> str:
    try:
        found = ip_interface(text)
    except ValueError:
        raise ValueError("an IP address") from None  # the library's words quote it
    most = network.v4 if found.version == 4 else network.v6
    kind = IPv4Network if found.version == 4 else IPv6Network
    return str(kind((int(found.ip), min(most, found.network.prefixlen)), strict=False))
