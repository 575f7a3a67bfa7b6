"""The SQL of ingest: pull cursors and what was driven again."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

UNREACHED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What is raised while the database is away."""


async def cursor_of(pool: asyncpg.Pool, source: str) -> str | None:
    return await pool.fetchval("SELECT cursor FROM ingest.cursors WHERE source = $1", source)


async def set_cursor(pool: asyncpg.Pool, source: str, cursor: str | None, now: datetime) -> None:
    """After the records up to the cursor were accepted."""
    await pool.execute(
        "INSERT INTO ingest.cursors (source, cursor, polled_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (source) DO UPDATE SET cursor = $2, polled_at = $3, error = NULL",
        source, cursor, now,
    )  # fmt: skip


async def note_error(pool: asyncpg.Pool, source: str, error: str, now: datetime) -> None:
    await pool.execute(
        "INSERT INTO ingest.cursors (source, polled_at, error) VALUES ($1, $2, $3)"
        " ON CONFLICT (source) DO UPDATE SET polled_at = $2, error = $3",
        source, now, error,
    )  # fmt: skip


async def pull_state(pool: asyncpg.Pool, source: str) -> asyncpg.Record | None:
    return await pool.fetchrow(
        "SELECT cursor, polled_at, error FROM ingest.cursors WHERE source = $1", source
    )


async def redriven(pool: asyncpg.Pool, letters: Sequence[str]) -> set[str]:
    """Those of the dead letters that were driven again before."""
    rows = await pool.fetch(
        "SELECT dead_letter FROM ingest.redriven WHERE dead_letter = ANY($1)", list(letters)
    )
    return {row["dead_letter"] for row in rows}


async def note_redriven(pool: asyncpg.Pool, letters: Sequence[str], receipt: str, now: datetime) -> None:
    await pool.execute(
        "INSERT INTO ingest.redriven SELECT unnest($1::text[]), $2, $3 ON CONFLICT DO NOTHING",
        list(letters), receipt, now,
    )  # fmt: skip
