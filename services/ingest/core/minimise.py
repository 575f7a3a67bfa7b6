"""Minimisation: what of a record may be written. The transforms of a source's fields, compiled once. Pure.

A good record's values are changed, and its key, id and time are made of the changed ones. Of a malformed record each
value that its field could hold is kept, changed like that of a good one; in the place of every other one it is said
what it was (`{"dropped": "text"}`), which no field accepts. What is no JSON object is not kept at all.

Tokens and keys of subjects come out of the vault, which does not lie here: `texts` and `subjects` say of which texts
they are wanted, and `all` is given them.
"""

import hashlib
import hmac
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_FLOOR, Decimal
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_interface
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from libs.common.catalog import SourceField
from libs.common.catalog.minimise import (
    Drop,
    Encrypt,
    Generalise,
    Minimise,
    Network,
    Pseudonym,
    Tokenise,
    Truncate,
)
from libs.common.errors import BadMessage
from libs.common.recognisers import redacted
from services.ingest.core.records import BROKEN, MAX_RECORD, Bad, Good, Validator, as_json
from services.ingest.core.vault import Found, Scope

PSEUDONYMS = "sx-pseudonyms"
"""Header of a dead letter whose payload is minimised: the fields that hold pseudonyms, tokens or encrypted texts by now,
with commas between."""
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
    """The transforms of one source. `secrets`: the keys of its pseudonyms and of the vault, by name."""

    def __init__(self, validator: Validator, secrets: Mapping[str, bytes]) -> None:
        self.validator = validator
        source = validator.source
        self.types = {field.name: field.type for field in source.fields}
        ways = {field.name: field.minimise for field in source.fields if field.minimise is not None}
        keyed = {name: way for name, way in ways.items() if isinstance(way, Pseudonym | Tokenise | Encrypt)}
        self.lacks = sorted(
            {way.secret for way in keyed.values() if len(secrets.get(way.secret, b"")) < SHORTEST}
        )
        """Secrets that are not there, or too short: without them nothing can be taken."""
        self.changes = {} if self.lacks else dict(_compiled(source.fields, secrets))
        self.pseudonyms = tuple(keyed)
        """Fields whose values are not changed a second time."""
        self.scans = any(field.scan == "redact" for field in source.fields)
        self.steps = [
            (validator.names.index(name), name, change, name in keyed)
            for name, change in self.changes.items()
        ]
        self.tokens = {
            name: Scope("token", way.secret, way.secret)
            for name, way in keyed.items()
            if isinstance(way, Tokenise)
        }
        self.encrypted = {
            name: (way.subject, Scope("key", f"{source.id}/{way.subject}", way.secret))
            for name, way in keyed.items()
            if isinstance(way, Encrypt)
        }
        """Field → the field that names its subject, and where the subject's key lies."""

    # --- what is wanted of the vault ----------------------------------------------------------------------

    def texts(self, records: Iterable[Good | Bad]) -> dict[Scope, set[str]]:
        """Those that need a token."""
        wanted: dict[Scope, set[str]] = defaultdict(set)
        for record in records if self.tokens else ():
            values = self._values(record)
            for name, scope in self.tokens.items():
                text = values.get(name)
                if isinstance(text, str) and name not in _done(record):
                    wanted[scope].add(text)
        return wanted

    def subjects(self, records: Iterable[Good | Bad], found: Found) -> dict[Scope, set[str]]:
        """Those whose key is needed, by the names under which they are published. `found`: the tokens of `texts`."""
        wanted: dict[Scope, set[str]] = defaultdict(set)
        for record in records if self.encrypted else ():
            values = self._values(record)
            for name, (subject, scope) in self.encrypted.items():
                if name not in _done(record) and isinstance(values.get(name), str):
                    who = self._subject(subject, values.get(subject), found, _done(record))
                    if who is not None:
                        wanted[scope].add(who)
        return wanted

    def wants(self, records: Sequence[Good | Bad]) -> bool:
        """Whether any of them needs the vault."""
        return any(self.texts(records).values()) or any(self.subjects(records, {}).values())

    def _values(self, record: Good | Bad) -> Mapping[str, Any]:
        """By field; nothing of what cannot be kept."""
        if isinstance(record, Good):
            return dict(zip(self.validator.names, record.values, strict=True))
        return _decoded(record.raw) or {}

    def _subject(self, name: str, value: Any, found: Found, done: Sequence[str]) -> str | None:
        """How a subject is named in what is published; None if it is no value of its field."""
        try:
            value = msgspec.convert(value, str if self.types[name] == "string" else int, strict=True)
        except ValueError:
            return None
        if name not in done:
            if name in self.tokens:
                value = found[self.tokens[name]][value].id
            elif name in self.changes:
                value = self.changes[name](value)
        return str(value)

    # --- what may be written --------------------------------------------------------------------------------

    def all(self, records: Iterable[Good | Bad], found: Found = MappingProxyType({})) -> list[Good | Bad]:
        """What may be written of records. `found`: what `texts` and `subjects` want of the vault."""
        return [
            self._good(record, found) if isinstance(record, Good) else self._bad(record, found)
            for record in records
        ]

    def _good(self, record: Good, found: Found) -> Good | Bad:
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
                return self._bad(Bad(record.index, fault, raw), found, record.pseudonyms)
        if self.tokens or self.encrypted:
            self._seal(record, values, found)
        kept = tuple(values)
        return replace(
            record,
            values=kept,
            key=validator.key(kept),
            event_id=None if validator.id_at is None else str(kept[validator.id_at]),
            event_time=None if validator.time_at is None else kept[validator.time_at],
            raw=b"",
        )

    def _seal(self, record: Good, values: list[Any], found: Found) -> None:
        """Tokens, then what is encrypted: a subject may be named by a token."""
        at = self.validator.names.index
        for name, scope in self.tokens.items():
            text = values[at(name)]
            if text is not None and name not in record.pseudonyms:
                values[at(name)] = found[scope][text].id
        for name, (subject, scope) in self.encrypted.items():
            text = values[at(name)]
            if text is not None and name not in record.pseudonyms:
                values[at(name)] = found[scope][str(values[at(subject)])].encrypted(self.place(name), text)

    def place(self, field: str) -> str:
        """What an encrypted text of a field is bound to."""
        return f"{self.validator.source.id}/{field}"

    def _bad(self, record: Bad, found: Found, done: Sequence[str] = ()) -> Bad:
        kept = self._kept(record.raw, found, done)
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

    def _kept(self, raw: bytes, found: Found, done: Sequence[str]) -> dict[str, Any] | None:
        """Of a malformed record; None if nothing of it can be. `done`: the fields whose values stay."""
        values = _decoded(raw)
        if values is None:
            return None
        kept = {
            name if _PLAIN_NAME.fullmatch(name) else "?": self._value(name, value, found, done)
            for name, value in values.items()
        }
        for name, (subject, scope) in self.encrypted.items():
            text = values.get(name)
            if text is not None and name not in done:
                who = self._subject(subject, values.get(subject), found, done)
                entry = found[scope][who] if isinstance(text, str) and who is not None else None
                kept[name] = (
                    {"dropped": _what(text)} if entry is None else entry.encrypted(self.place(name), text)
                )
        return kept

    def _value(self, name: str, value: Any, found: Found, done: Sequence[str]) -> Any:
        kind, change = self.types.get(name), self.changes.get(name)
        if value is None or (name in self.encrypted and name not in done):
            return None
        if kind is not None:
            try:
                fitting = msgspec.convert(value, _KINDS[kind], strict=True)
                if name in done:
                    value = fitting
                elif change is not None:
                    value = change(fitting)
                elif name in self.tokens:
                    value = found[self.tokens[name]][fitting].id
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


def _decoded(raw: bytes) -> dict[str, Any] | None:
    """A malformed record as far as it can be kept at all: a JSON object."""
    if len(raw) > MAX_RECORD:
        return None
    try:
        found = msgspec.json.decode(raw)
    except BROKEN:
        return None
    return found if isinstance(found, dict) else None


def _done(record: Good | Bad) -> Sequence[str]:
    return record.pseudonyms if isinstance(record, Good) else ()


def driven(record: Good, headers: Mapping[str, str]) -> Good:
    """A record out of a dead letter: what is a pseudonym in it, a token or encrypted, stays as it is."""
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


def _compiled(fields: Iterable[SourceField], secrets: Mapping[str, bytes]) -> Iterator[tuple[str, Change]]:
    """By field, of values that are not null; each, but a pseudonym, leaves what it made as it is. What needs the vault
    is not among them."""
    for field in fields:
        if field.scan == "redact":
            yield field.name, redacted
        elif field.minimise is not None and not isinstance(field.minimise, Tokenise | Encrypt):
            yield field.name, _change(field, field.minimise, secrets)


def _change(field: SourceField, minimise: Minimise, secrets: Mapping[str, bytes]) -> Change:
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
