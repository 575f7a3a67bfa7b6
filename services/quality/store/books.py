"""The books: what others own is read from schema `read`."""

from collections.abc import Mapping
from datetime import datetime

import asyncpg

from services.quality.store import begins


async def books_since(pool: asyncpg.Pool, source: str, since: datetime) -> tuple[datetime, datetime | None]:
    """From when on a source's books are of interest: `since`, or earlier where an incident is open; and up to when a
    person has called what is missing settled."""
    row = await pool.fetchrow(
        "SELECT least($2, min(opened_at) FILTER (WHERE state <> 'resolved')) AS since,"
        " max(resolved_at) FILTER (WHERE state = 'resolved' AND by <> 'quality') AS accepted"
        " FROM quality.incidents WHERE source = $1 AND kind = 'ledger'",
        source, since,
    )  # fmt: skip
    assert row is not None
    return row["since"], row["accepted"]


async def unbalanced(
    pool: asyncpg.Pool, source: str, since: datetime, until: datetime
) -> list[asyncpg.Record]:
    """Minutes of a source that begin in [since, until] and do not balance, the oldest first."""
    return await pool.fetch(
        "SELECT minute, accepted, published, duplicate, dead_lettered, landed, parked, erased FROM read.ledger"
        " WHERE source = $1 AND minute >= $2 AND minute <= $3"
        " AND accepted <> landed + dead_lettered + duplicate + parked + erased ORDER BY minute",
        source, since, until,
    )  # fmt: skip


async def archived(pool: asyncpg.Pool) -> dict[tuple[str, int], int]:
    """(topic, partition) → the offset that the archive reads next."""
    rows = await pool.fetch("SELECT topic, partition, next_offset FROM read.archived")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def accounted(
    pool: asyncpg.Pool, source: str, topic: str, spans: Mapping[int, tuple[int, int]]
) -> set[tuple[int, int]]:
    """Of places (partition, offset) in these stretches of a source's topic: those whose event is archived, set aside as
    a dead letter, erased, withdrawn, or disposed of."""
    known: set[tuple[int, int]] = set()
    gone = await begins(pool, source)
    for partition, (first, last) in spans.items():
        known.update((partition, offset) for offset in range(first, min(last, gone.get(partition, 0))))
        rows = await pool.fetch(
            'SELECT "offset" FROM read.events WHERE source = $1 AND partition = $3 AND "offset" >= $4 AND "offset" < $5'
            ' UNION ALL SELECT "offset" FROM read.dead_letters WHERE source = $1 AND topic = $2 AND partition = $3'
            '  AND "offset" >= $4 AND "offset" < $5'
            ' UNION ALL SELECT "offset" FROM read.erased_events WHERE source = $1 AND partition = $3'
            '  AND "offset" >= $4 AND "offset" < $5'
            ' UNION ALL SELECT "offset" FROM read.withdrawn_events WHERE source = $1 AND partition = $3'
            '  AND "offset" >= $4 AND "offset" < $5',
            source, topic, partition, first, last,
        )  # fmt: skip
        known.update((partition, row["offset"]) for row in rows)
    return known


async def letters_kept(pool: asyncpg.Pool, source: str, minute: datetime) -> set[str]:
    """Ids of the dead letters of a minute that are archived, or were until they were erased with their subject."""
    rows = await pool.fetch(
        "SELECT id FROM read.dead_letters WHERE source = $1 AND minute = $2"
        " UNION ALL SELECT id FROM read.erased_letters WHERE source = $1 AND minute = $2",
        source, minute,
    )  # fmt: skip
    return {row["id"] for row in rows}
