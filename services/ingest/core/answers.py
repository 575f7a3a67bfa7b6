"""What an endpoint that is pulled answers. Pure."""

from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from libs.common.clock import EPOCH

_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Unreadable(Exception):
    """The endpoint answered something else than was agreed."""


def list_at(answer: bytes, path: str) -> list[bytes]:
    """The records at a dotted path of the answer, byte for byte as they came. Unreadable if there is no list."""
    try:
        return [bytes(each) for each in msgspec.json.decode(_at(answer, path) or b"", type=list[msgspec.Raw])]
    except _BROKEN as error:
        place = path or "the top"
        raise Unreadable(f"there is no list of records at {place} of the answer: {error}") from error


def text_at(answer: bytes | None, path: str) -> str | None:
    """The value at a dotted path as text; None where the path leads nowhere, or to null. Unreadable if it is no JSON."""
    found = _at(answer, path) if answer is not None else None
    try:
        value = None if found is None else msgspec.json.decode(found)
    except _BROKEN as error:
        raise Unreadable(f"the value at {path or 'the top'} is not JSON: {error}") from error
    return None if value is None else str(value)


def value_at(record: bytes, path: str, *, times: bool) -> int | None:
    """A record's cursor as a whole number of 64 bits, of a time in microseconds since 1970; None if it has none."""
    with suppress(ValueError, TypeError, *_BROKEN, Unreadable):
        text = text_at(record, path)
        if text is None:
            return None
        if not times:
            number = int(text)
            return number if -(2**63) <= number < 2**63 else None
        return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)
    return None


def _at(answer: bytes, path: str) -> bytes | None:
    """The JSON value at a dotted path, as it stands."""
    found = answer
    for part in path.split(".") if path else ():
        try:
            members = msgspec.json.decode(found, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            return None
        except _BROKEN as error:
            raise Unreadable(f"the answer is not JSON: {error}") from error
        if part not in members:
            return None
        found = bytes(members[part])
    return found


def asked_pause(retry_after: str, now: datetime) -> float | None:
    """Seconds that the header asks for, given as such or as a date (RFC 9110, 10.2.3); None if it says neither."""
    if retry_after.isdecimal():
        return float(retry_after)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(retry_after) - now).total_seconds())
    return None
