"""The SQL of ingest: pull cursors and what was driven again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a file was taken."""

    tag: str = ""
    taken: int = 0
    head: str = ""
    records: int = 0
    done: bool = False


UNREACHED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What is raised while the database is away."""


async def standing(pool: asyncpg.Pool, source: str, kind: str) -> tuple[str | None, dict[str, Any] | None]:
    """The cursor and what is kept with it; none if the source was pulled in another way before."""
    row = await pool.fetchrow("SELECT kind, cursor, state FROM ingest.cursors WHERE source = $1", source)
    if row is None or row["kind"] != kind:
        return None, None
    return row["cursor"], row["state"]


async def set_standing(
    pool: asyncpg.Pool,
    source: str,
    kind: str,
    cursor: str | None,
    state: dict[str, Any] | None,
    now: datetime,
) -> None:
    """After the records up to the cursor were accepted."""
    await pool.execute(
        "INSERT INTO ingest.cursors (source, kind, cursor, state, polled_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (source) DO UPDATE SET kind = $2, cursor = $3, state = $4, polled_at = $5, error = NULL",
        source, kind, cursor, state, now,
    )  # fmt: skip


async def note_error(pool: asyncpg.Pool, source: str, error: str, now: datetime) -> None:
    await pool.execute(
        "INSERT INTO ingest.cursors (source, polled_at, error) VALUES ($1, $2, $3)"
        " ON CONFLICT (source) DO UPDATE SET polled_at = $2, error = $3",
        source, now, error,
    )  # fmt: skip


async def pull_state(pool: asyncpg.Pool, source: str) -> asyncpg.Record | None:
    return await pool.fetchrow(
        "SELECT kind, cursor, polled_at, error, state -> 'overlap' AS overlap FROM ingest.cursors WHERE source = $1",
        source,
    )


async def seen_files(pool: asyncpg.Pool, source: str) -> dict[str, Seen]:
    """By path."""
    rows = await pool.fetch(
        "SELECT path, tag, taken, head, records, done FROM ingest.files WHERE source = $1", source
    )
    return {row["path"]: Seen(*(row[name] for name in Seen.__dataclass_fields__)) for row in rows}


async def note_file(pool: asyncpg.Pool, source: str, path: str, seen: Seen, now: datetime) -> None:
    """After the records up to there were accepted."""
    await pool.execute(
        "INSERT INTO ingest.files (source, path, tag, taken, head, records, done, seen_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (source, path) DO UPDATE"
        " SET tag = $3, taken = $4, head = $5, records = $6, done = $7, seen_at = $8",
        source, path, seen.tag, seen.taken, seen.head, seen.records, seen.done, now,
    )  # fmt: skip


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
