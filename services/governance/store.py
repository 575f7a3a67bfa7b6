"""The SQL of governance."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from libs.common.stream.stored import Connection
from services.governance.core.chain import GENESIS, Head, Row


async def head(connection: Connection) -> Head:
    """The last entry; seq 0 before the first."""
    row = await connection.fetchrow("SELECT seq, hash FROM governance.audit ORDER BY seq DESC LIMIT 1")
    return Head(row["seq"], row["hash"]) if row else Head(0, GENESIS)


async def known(connection: Connection, ids: Sequence[str]) -> set[str]:
    rows = await connection.fetch("SELECT id FROM governance.audit WHERE id = ANY($1)", list(ids))
    return {row["id"] for row in rows}


async def append(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(seq, id, entry, canonical text, previous hash, hash, recorded at)"""
    await connection.executemany("INSERT INTO governance.audit VALUES ($1, $2, $3, $4, $5, $6, $7)", rows)


async def lock_chain(connection: Connection) -> None:
    """One appender at a time."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sextant audit chain'))")


async def rows(connection: Connection) -> AsyncIterator[Row]:
    """The whole chain in its order; the caller holds a transaction."""
    query = "SELECT seq, entry, canonical, previous_hash, hash FROM governance.audit ORDER BY seq"
    async for row in connection.cursor(query, prefetch=1000):
        yield Row(row["seq"], row["entry"], row["canonical"], row["previous_hash"], row["hash"])


async def order_receipt(connection: Connection, row: tuple[Any, ...]) -> bool:
    """(id, policy, store, source, before, by, ordered at); whether it is new."""
    done = await connection.execute(
        "INSERT INTO governance.receipts (id, policy, store, source, before, state, by, ordered_at)"
        " VALUES ($1, $2, $3, $4, $5, 'ordered', $6, $7) ON CONFLICT (id) DO NOTHING",
        *row,
    )
    return done == "INSERT 0 1"


async def close_receipt(
    connection: Connection,
    id: str,
    state: str,
    before: int | None,
    deleted: int | None,
    after: int | None,
    at: datetime,
) -> None:
    await connection.execute(
        "UPDATE governance.receipts"
        " SET state = $2, rows_before = $3, rows_deleted = $4, rows_after = $5, done_at = $6"
        " WHERE id = $1 AND state = 'ordered'",
        id, state, before, deleted, after, at,
    )  # fmt: skip


async def would_delete(pool: asyncpg.Pool, source: str, before: datetime) -> int:
    if await pool.fetchval("SELECT to_regclass('read.events')") is None:
        return 0  # the archive has not been there yet
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM read.events WHERE source = $1 AND recorded_at < $2", source, before
        )
        or 0
    )
