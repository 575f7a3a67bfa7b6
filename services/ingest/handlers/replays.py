"""Replaying what is stored against a candidate definition; nothing is kept or published."""

import asyncio
from typing import Any

import asyncpg

from services.ingest import store
from services.ingest.core.replay import replay
from services.ingest.handlers.definitions import sound
from services.ingest.handlers.writer import Writer


async def replayed(
    pool: asyncpg.Pool, writer: Writer, definition: dict[str, Any], most: int
) -> dict[str, Any]:
    """What would become of the last `most` records and dead letters of a source. Invalid if it is no sound source."""
    candidate, present = sound(definition), writer.source
    records = await store.newest_records(pool, present, most)
    letters = await store.newest_letters(pool, present.id, most)
    return await asyncio.to_thread(replay, candidate, present, records, letters)
