"""Trying a pull: a sample is fetched and judged, a definition is drafted; nothing is published, kept or taken away."""

import asyncio
from contextlib import aclosing
from typing import Any

import asyncpg
import httpx
from pydantic import TypeAdapter, ValidationError

from libs.common.catalog import Source
from libs.common.catalog.pulls import Pull
from libs.common.errors import Invalid
from services.ingest.core.infer import draft, typed
from services.ingest.core.pages import Standing
from services.ingest.core.records import Bad, Validator
from services.ingest.handlers.connectors import CONNECTORS, Desk
from services.ingest.handlers.connectors.auth import Credentials
from services.ingest.handlers.definitions import explained, sound
from services.ingest.settings import Settings

SECONDS = 20.0
"""That a sample may take."""
SHOWN = 3
"""Records of the sample."""
_PULL: TypeAdapter[Any] = TypeAdapter(Pull)


async def attempt(
    settings: Settings, pool: asyncpg.Pool, definition: dict[str, Any], limit: int
) -> dict[str, Any]:
    """A sample, a draft, and what of the sample the definition would refuse; the draft, where it has no fields."""
    source = _source(definition)
    records = await _sample(settings, pool, source, limit)
    if not source.fields and getattr(source.pull, "format", "") != "parquet":
        records = [_typed(record) for record in records]
    pull = definition["pull"]
    named = {name: value for name, value in definition.items() if name not in ("pull", "fields")}
    drafted = draft(records, pull, named)
    judged = _judge(definition if source.fields else drafted["definition"], records)
    return {
        "kind": source.pull.kind if source.pull else None,
        "records": len(records),
        "sample": [record[:2_000].decode(errors="replace") for record in records[:SHOWN]],
        "draft": drafted["definition"],
        "notes": drafted["notes"],
        **judged,
    }


def _source(definition: dict[str, Any]) -> Source:
    """Without fields it is one that takes what comes. Invalid if it is no definition of a pull."""
    try:
        if definition.get("fields"):
            source = Source.model_validate(definition)
            if source.pull is not None:
                return source
            raise Invalid("the definition has no `pull`", code="no_pull")
        pull = _PULL.validate_python(definition.get("pull"))
    except ValidationError as error:
        raise Invalid(explained(error), code="invalid_definition") from error
    return Source.model_construct(id="drafted", title="", owner="", fields=(), pull=pull)


async def _sample(settings: Settings, pool: asyncpg.Pool, source: Source, limit: int) -> list[bytes]:
    """The records of the first page that has any. Nobody goes on behind it: there a connector takes away."""
    pull = source.pull
    assert pull is not None
    if "page_size" in type(pull).model_fields:
        source = source.model_copy(update={"pull": pull.model_copy(update={"page_size": limit})})
    auth = Credentials(getattr(pull, "auth", None), settings.secrets)
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(timeout=10, trust_env=False, auth=auth) as http,
        ):
            desk = Desk(settings=settings, pool=pool, http=http, trying=True)
            async with aclosing(CONNECTORS[pull.kind](desk, source, Standing())) as pages:
                async for page in pages:
                    if page.records:
                        return list(page.records[:limit])
    except TimeoutError:
        return []
    except Exception as error:  # whatever the other side and its client library make of it
        raise Invalid(f"the source cannot be read: {error!r}"[:1_000], code="pull_failed") from error
    return []


def _typed(record: bytes) -> bytes:
    try:
        return typed(record)
    except (ValueError, UnicodeDecodeError):  # not text alone: as it is
        return record


def _judge(definition: dict[str, Any], records: list[bytes]) -> dict[str, Any]:
    """What of the records fits a definition; `problem` if it is none."""
    try:
        source = sound(definition)
    except Invalid as error:
        return {"accepted": 0, "rejected": [], "problem": error.detail}
    bad = [found for found in Validator(source).texts(records) if isinstance(found, Bad)]
    rejected = [
        {
            "index": each.index,
            "field": each.error.field,
            "value": each.error.value,
            "reason": each.error.reason,
        }
        for each in bad
    ]
    return {"accepted": len(records) - len(bad), "rejected": rejected, "problem": None}
