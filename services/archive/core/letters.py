"""Does a dead letter name a subject? What it holds could not be used, so it is read in every way that it may be."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def mentions(payload: bytes, texts: Iterable[str | None], field: str, value: str) -> bool:
    """`payload`: the record as it came. `texts`: what was said of it: error, reason, headers, the value at fault.

    JSON is read: a member `field` that is the value, or a text that contains it. Of anything else (Avro, a text cut
    short) the bytes are looked through. A number counts only as a member: its digits are in much that is not it.
    """
    try:
        return _in_json(json.loads(payload), field, value) or _in_texts(texts, value)
    except ValueError:
        return (not is_number(value) and value.encode() in payload) or _in_texts(texts, value)


def is_number(value: str) -> bool:
    return value.lstrip("-").isdigit()


def _in_texts(texts: Iterable[str | None], value: str) -> bool:
    found = [text for text in texts if text is not None]
    return value in found if is_number(value) else any(value in text for text in found)


def _in_json(document: Any, field: str, value: str) -> bool:
    if isinstance(document, Mapping):
        named = document.get(field)
        return (named is not None and str(named) == value) or any(
            _in_json(each, field, value) for each in document.values()
        )
    if isinstance(document, list):
        return any(_in_json(each, field, value) for each in document)
    return isinstance(document, str) and not is_number(value) and value in document
