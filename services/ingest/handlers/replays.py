"""Replaying what is stored against a candidate definition; nothing is kept or published."""

import asyncio
from typing import Any

import asyncpg
from pydantic import ValidationError

from libs.common.catalog import Source
from libs.common.catalog.check import check
from libs.common.errors import Invalid
from services.ingest import store
from services.ingest.core.replay import replay
from services.ingest.handlers.writer import Writer


async def replayed(
    pool: asyncpg.Pool, writer: Writer, definition: dict[str, Any], most: int
) -> dict[str, Any]:
    """What would become of the last `most` records and dead letters of a source. Invalid if it is no sound source."""
    try:
        candidate = Source.model_validate(definition)
    except ValidationError as error:
        raise Invalid(f"not a source: {error.errors()[0]['msg']}", code="invalid_definition") from error
    faults = [each for each in check([candidate]) if each.path != "owner"]
    if faults:
        raise Invalid(f"{faults[0].path}: {faults[0].message}", code="invalid_definition")
    present = writer.source
    records = await store.newest_records(pool, present, most)
    letters = await store.newest_letters(pool, present.id, most)
    return await asyncio.to_thread(replay, candidate, present, records, letters)
