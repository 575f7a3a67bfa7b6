"""How to send events to a source, made from its definition: an event, and curl and Python that send it. Pure."""

import json
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from pprint import pformat

from libs.common.catalog import Source
from libs.common.catalog.rules import Rule
from libs.common.catalog.sources import SourceField

TOKEN = "SEXTANT_TOKEN"
SECRET = "SEXTANT_WEBHOOK_SECRET"

Value = str | int | float | bool


def event_of(source: Source, rules: Iterable[Rule], now: datetime) -> dict[str, Value]:
    """An event that the source accepts: each field has a value, numbers lie within the ranges of the source's rules."""
    ranges = {each.check.range.field: each.check.range for each in rules if each.check.range is not None}
    event: dict[str, Value] = {}
    for field in source.fields:
        value = _value(field, now)
        allowed = ranges.get(field.name)
        if allowed is not None and isinstance(value, int | float):
            low, high = allowed.min, allowed.max
            value = max(value, low) if low is not None else value
            value = min(value, high) if high is not None else value
            value = float(value) if field.type == "double" else int(value)
        event[field.name] = f"example-{now:%Y%m%dT%H%M%S}" if field.name == source.event_id else value
    return _of_its_type(source, event)


def _value(field: SourceField, now: datetime) -> Value:
    match field.type:
        case "int" | "long":
            return 1
        case "double":
            return 1.5
        case "boolean":
            return True
        case "timestamp":
            return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
        case "date":
            return f"{now:%Y-%m-%d}"
        case "string":
            return f"some {field.name}".replace("_", " ")


def _of_its_type(source: Source, event: dict[str, Value]) -> dict[str, Value]:
    """An event id need not be a text."""
    field = source.field(source.event_id or "")
    if field is not None and field.type in ("int", "long"):
        event[field.name] = 1
    return event


def curl(source: Source, url: str, event: Mapping[str, Value]) -> str:
    """Commands for a POSIX shell with curl; signed, where the source wants it, with openssl."""
    body = shlex.quote(json.dumps(event))
    send = [
        f"curl -sS --fail-with-body {shlex.quote(url)}",
        f'-H "Authorization: Bearer ${TOKEN}"',
        "-H 'Content-Type: application/json'",
    ]
    if source.webhook is None:
        return " \\\n  ".join([*send, f"--data-binary {body}"]) + "\n"
    signing = [
        f"body={body}",
        'id="example-$(date +%s)"; at="$(date +%s)"',
        f'key="$(printf %s "${{{SECRET}#whsec_}}" | openssl base64 -d -A | od -An -v -tx1 | tr -d \' \\n\')"',
        'sign="$(printf %s "$id.$at.$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary'
        ' | openssl base64 -A)"',
    ]
    headers = ['-H "webhook-id: $id"', '-H "webhook-timestamp: $at"', '-H "webhook-signature: v1,$sign"']
    return "\n".join([*signing, " \\\n  ".join([*send, *headers, '--data-binary "$body"'])]) + "\n"


def python(source: Source, url: str, event: Mapping[str, Value]) -> str:
    """A program that needs httpx alone."""
    shown = pformat(dict(event), sort_dicts=False, width=100)
    if source.webhook is None:
        return f"""import os

import httpx

event = {shown}
answer = httpx.post(
    {url!r},
    json=event,
    headers={{"Authorization": f"Bearer {{os.environ['{TOKEN}']}}"}},
    timeout=30,
)
answer.raise_for_status()
print(answer.json())
"""
    return f"""import base64
import hashlib
import hmac
import json
import os
import time

import httpx

event = {shown}
body = json.dumps(event).encode()
delivery, at = f"example-{{time.time_ns()}}", str(int(time.time()))
key = base64.b64decode(os.environ["{SECRET}"].removeprefix("whsec_"))
signed = hmac.digest(key, f"{{delivery}}.{{at}}.".encode() + body, hashlib.sha256)
answer = httpx.post(
    {url!r},
    content=body,
    headers={{
        "Authorization": f"Bearer {{os.environ['{TOKEN}']}}",
        "Content-Type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }},
    timeout=30,
)
answer.raise_for_status()
print(answer.json())
"""


def needs(source: Source) -> list[str]:
    """What has to be in the environment, and why."""
    token = f"{TOKEN}: a token of POST /v1/token, of somebody with the permission to ingest"
    if source.webhook is None:
        return [token]
    return [
        token,
        f"{SECRET}: the secret of the webhook that ingest has as SEXTANT_SECRET_{source.webhook.secret}",
    ]
