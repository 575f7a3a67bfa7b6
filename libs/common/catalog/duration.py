"""Durations as people write them: `30s`, `15m`, `6h`, `7d`, `2w`."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PATTERN = r"^\d+[smhdw]$"


def parse_duration(text: Any) -> Any:
    """`6h` → timedelta; what is no string is left to pydantic. Raises ValueError naming the form."""
    if not isinstance(text, str):
        return text
    if not re.fullmatch(_PATTERN, text):
        raise ValueError(f"{text!r} is no duration: a whole number and one of s, m, h, d, w, such as 15m")
    try:
        return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    except (OverflowError, ValueError):  # of so many digits int() makes no number
        raise ValueError(f"{text[:20]} is longer than {timedelta.max.days} days") from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads as `duration` (whole seconds)."""
    seconds = int(duration.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["15m", "6h", "7d"]}),
]
