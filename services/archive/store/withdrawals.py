"""Withdrawal of what a re-drive had published."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from libs.common.events import EventsWithdrawn
from libs.common.stream.stored import Connection


async def add(connection: Connection, told: Sequence[EventsWithdrawn]) -> None:
    """Those that are known already stay as they are."""
    await connection.executemany(
        "INSERT INTO archive.withdrawals (id, source, redrive, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [(each.id, each.source, each.redrive, each.model_dump(mode="json")) for each in told],
    )


async def open_ids(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT id FROM archive.withdrawals WHERE done_at IS NULL ORDER BY id")
    return [row["id"] for row in rows]


async def lock(connection: Connection, id: str) -> EventsWithdrawn | None:
    """The withdrawal, for this transaction alone; None if another has it, or it is done."""
    body = await connection.fetchval(
        "SELECT body FROM archive.withdrawals WHERE id = $1 AND done_at IS NULL FOR UPDATE SKIP LOCKED", id
    )
    return None if body is None else EventsWithdrawn.model_validate(body)


_GONE = (
    'WITH gone AS (DELETE FROM archive.events WHERE source = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4'
    ' AND receipt = ANY($5) RETURNING partition, "offset", event_time),'
    " kept AS (INSERT INTO archive.withdrawn_events"
    ' SELECT $1, partition, "offset", event_time, $6, $7 FROM gone ON CONFLICT DO NOTHING)'
    " SELECT count(*) AS events, min(event_time) AS first, max(event_time) AS last FROM gone"
)


async def withdraw(connection: Connection, told: EventsWithdrawn, now: datetime) -> int:
    """Delete the events, keep their places, and note what they were; how many."""
    found: list[asyncpg.Record] = []
    for partition, upto in told.upto.items():
        since = told.since.get(partition, 0)  # a partition that was added meanwhile has no earlier events
        row = await connection.fetchrow(
            _GONE, told.source, int(partition), since, upto, told.receipts, told.redrive, now
        )
        if row is not None and row["events"]:
            found.append(row)
    events = sum(row["events"] for row in found)
    await connection.execute(
        "UPDATE archive.withdrawals SET body = NULL, events = $2, first_time = $3, last_time = $4, done_at = $5"
        " WHERE id = $1",
        told.id, events, min((row["first"] for row in found), default=None),
        max((row["last"] for row in found), default=None), now,
    )  # fmt: skip
    return events
