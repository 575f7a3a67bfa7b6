"""How events arrive: partitions, runs of one value, and what is to be expected."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from libs.common.stream.stored import Connection
from services.quality.core.frozen import Run


async def note_partition(
    connection: Connection,
    source: str,
    partition: int,
    next_offset: int,
    counts: Mapping[datetime, int],
    times: tuple[datetime | None, datetime | None, datetime | None],
) -> None:
    """`counts`: events by minute of arrival. `times`: of the last event, its arrival, and the last heartbeat.

    Of the last minute in which there were events, and of the one before it, it is kept how many.
    """
    await connection.execute(
        "INSERT INTO quality.partitions AS p"
        " (source, partition, next_offset, last_event_at, last_arrival_at, heartbeat_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source, partition) DO UPDATE SET next_offset = $3,"
        " last_event_at = greatest(p.last_event_at, $4), last_arrival_at = greatest(p.last_arrival_at, $5),"
        " heartbeat_at = greatest(p.heartbeat_at, $6)",
        source, partition, next_offset, *times,
    )  # fmt: skip
    for minute, count in sorted(counts.items())[-2:]:
        await connection.execute(
            "UPDATE quality.partitions SET minute = greatest(minute, $3),"
            " in_minute_before = CASE WHEN minute = $3 THEN in_minute_before"
            "  WHEN minute = $3 - interval '1 minute' THEN in_minute WHEN minute > $3 THEN in_minute_before ELSE 0 END,"
            " in_minute = CASE WHEN minute = $3 THEN in_minute + $4 WHEN minute > $3 THEN in_minute ELSE $4 END"
            " WHERE source = $1 AND partition = $2",
            source, partition, minute, count,
        )  # fmt: skip


async def partitions(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    """(source, partition, last arrival, last heartbeat) of all."""
    return await pool.fetch("SELECT source, partition, last_arrival_at, heartbeat_at FROM quality.partitions")


async def runs(connection: Connection, source: str, partition: int) -> dict[str, Run]:
    """By field."""
    rows = await connection.fetch(
        "SELECT field, value, length, since, longest, runs FROM quality.runs WHERE source = $1 AND partition = $2",
        source, partition,
    )  # fmt: skip
    return {
        row["field"]: Run(row["value"], row["length"], row["since"], row["longest"], row["runs"])
        for row in rows
    }


async def put_runs(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(source, partition, field, value, length, since, longest, runs, frozen)"""
    await connection.executemany(
        "INSERT INTO quality.runs VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source, partition, field)"
        " DO UPDATE SET value = $4, length = $5, since = $6, longest = $7, runs = $8, frozen = $9",
        rows,
    )


async def is_frozen(connection: Connection, source: str, field: str) -> bool:
    """In any partition."""
    return bool(
        await connection.fetchval(
            "SELECT bool_or(frozen) FROM quality.runs WHERE source = $1 AND field = $2", source, field
        )
    )


async def minutes(pool: asyncpg.Pool, source: str, since: datetime) -> list[asyncpg.Record]:
    """(minute, events, dead letters) of arrival, by the books and what landed: the archive may be behind with either."""
    return await pool.fetch(
        "SELECT minute, greatest(published, landed) AS events,"
        " greatest(dead_lettered, accepted - published - duplicate - parked - erased) AS errors"
        " FROM read.ledger WHERE source = $1 AND minute >= $2 ORDER BY minute",
        source, since,
    )  # fmt: skip


async def is_behind(pool: asyncpg.Pool, topic: str, source: str) -> bool:
    """Whether the archive has not stored yet what was judged of a source."""
    return bool(
        await pool.fetchval(
            "SELECT bool_or(coalesce(a.next_offset, 0) < p.next_offset) FROM quality.partitions p"
            " LEFT JOIN read.archived a ON a.topic = $1 AND a.partition = p.partition WHERE p.source = $2",
            topic, source,
        )
    )  # fmt: skip


async def put_rhythm(connection: Connection, row: tuple[Any, ...]) -> None:
    """(source, minute, minutes, events, expected, low, quiet minutes, allowed minutes, recorded at)"""
    await connection.execute(
        "INSERT INTO quality.rhythm VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source) DO UPDATE SET"
        " minute = $2, minutes = $3, events = $4, expected = $5, low = $6, quiet_minutes = $7, allowed_minutes = $8,"
        " recorded_at = $9",
        *row,
    )


async def open_incidents(pool: asyncpg.Pool) -> Iterable[asyncpg.Record]:
    """(source, kind, count) of those that are not resolved."""
    return await pool.fetch(
        "SELECT source, kind, count(*) FROM quality.incidents WHERE state <> 'resolved' GROUP BY source, kind"
    )
