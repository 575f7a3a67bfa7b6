"""The SQL of governance."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from libs.common.events import ErasedSeries
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
    note: str,
) -> None:
    await connection.execute(
        "UPDATE governance.receipts"
        " SET state = $2, rows_before = $3, rows_deleted = $4, rows_after = $5, done_at = $6, note = $7"
        " WHERE id = $1 AND state = 'ordered'",
        id, state, before, deleted, after, at, note,
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


# --- erasure -----------------------------------------------------------------------------------------------


async def lock_erasures(connection: Connection) -> None:
    """One order at a time: the same subject is not erased twice at once."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sextant erasures'))")


async def open_erasure(connection: Connection, source: str, field: str, pseudonym: str) -> str | None:
    return await connection.fetchval(
        "SELECT id FROM governance.erasures WHERE source = $1 AND field = $2 AND pseudonym = $3 AND done_at IS NULL",
        source, field, pseudonym,
    )  # fmt: skip


async def add_erasure(connection: Connection, row: tuple[Any, ...]) -> None:
    """(id, source, field, pseudonym, reason, what is unclear, by, ordered at)"""
    await connection.execute("INSERT INTO governance.erasures VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", *row)


async def add_lines(
    connection: Connection, id: str, source: str, by: str, at: datetime,
    lines: Sequence[tuple[str, str, datetime | None, str]],
) -> None:  # fmt: skip
    """A receipt for each store: (store, state, gone by, note)."""
    await connection.executemany(
        "INSERT INTO governance.receipts"
        " (id, policy, store, source, before, state, by, ordered_at, erasure, gone_by, note) VALUES"
        " ($1, 'erasure', $2, $3, $4, $5, $6, $4, $7, $8, $9)",
        [
            (f"{id}/{name}", name, source, at, state, by, id, gone_by, note)
            for name, state, gone_by, note in lines
        ],
    )


async def kpi_versions(pool: asyncpg.Pool) -> list[Any]:
    """The definition of every version of every KPI."""
    if await pool.fetchval("SELECT to_regclass('read.catalog')") is None:
        return []
    rows = await pool.fetch("SELECT definition FROM read.catalog WHERE kind = 'kpi' AND NOT removed")
    return [row["definition"] for row in rows]


async def subject_rows(
    pool: asyncpg.Pool, source: str, field: str, value: str, series: Sequence[ErasedSeries]
) -> dict[str, int]:
    """How many rows of the archive name the subject now."""
    if await pool.fetchval("SELECT to_regclass('read.events')") is None:
        return {}
    given = [[getattr(each, name) for each in series] for name in ("kpi", "dimension", "value")]
    named = (
        "SELECT count(*) FROM read.{} t, unnest($1::text[], $2::text[], $3::text[]) AS n(kpi, dimension, value)"
        " WHERE t.kpi = n.kpi AND t.series->>n.dimension = n.value"
    )
    events = "SELECT count(*) FROM read.events WHERE source = $1 AND data->>$2 = $3"
    return {
        "archive.events": await pool.fetchval(events, source, field, value),
        **{
            f"archive.{table}": await pool.fetchval(named.format(table), *given)
            for table in ("observations", "latest", "signals")
        },
    }


async def erasure(pool: asyncpg.Pool, id: str) -> dict[str, Any] | None:
    found = await pool.fetchrow("SELECT * FROM governance.erasures WHERE id = $1", id)
    if found is None:
        return None
    lines = await pool.fetch(
        "SELECT store, state, rows_before, rows_deleted, rows_after, gone_by, done_at, note FROM governance.receipts"
        " WHERE erasure = $1 ORDER BY state, store",
        id,
    )
    state = "in_progress" if found["done_at"] is None else "done"
    return {**dict(found), "state": state, "lines": [dict(line) for line in lines]}


async def answered_erasures(pool: asyncpg.Pool, own: str) -> list[str]:
    """Open erasures of which only the line of `own`, the order itself, is open."""
    rows = await pool.fetch(
        "SELECT id FROM governance.erasures e WHERE done_at IS NULL AND NOT EXISTS (SELECT FROM governance.receipts r"
        " WHERE r.erasure = e.id AND r.state = 'ordered' AND r.store <> $1)",
        own,
    )
    return [row["id"] for row in rows]


async def is_done(pool: asyncpg.Pool, id: str) -> bool:
    return bool(await pool.fetchval("SELECT done_at IS NOT NULL FROM governance.erasures WHERE id = $1", id))


async def close_erasure(connection: Connection, id: str, own: str, at: datetime) -> None:
    await connection.execute(
        "UPDATE governance.receipts SET state = 'done', rows_before = 1, rows_deleted = 1, rows_after = 0, done_at = $3"
        " WHERE erasure = $1 AND store = $2 AND state = 'ordered'",
        id, own, at,
    )  # fmt: skip
    await connection.execute("UPDATE governance.erasures SET done_at = $2 WHERE id = $1", id, at)
