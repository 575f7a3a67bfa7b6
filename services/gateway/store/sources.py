"""Sources: health, books, arrivals."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg


@dataclass(frozen=True)
class States:
    """Present state by source."""

    health: dict[str, Mapping[str, Any]]
    books: dict[str, Mapping[str, Any]]
    incidents: dict[str, int]


async def states(pool: asyncpg.Pool) -> States:
    """Health, books and open incidents of every source."""
    async with pool.acquire() as connection:
        health = await connection.fetch(
            """
            select source, score, assessed_share, worst, fresh, last_event_at, last_arrival_at, events, recorded_at
              from read.health
            """
        )
        books = await connection.fetch(
            """
            select source, accepted, published, duplicate, dead_lettered, landed, in_flight, parked, imbalance
              from read.ledger_totals
            """
        )
        incidents = await connection.fetch(
            "select source, count(*) as open from read.incidents where state <> 'resolved' group by source"
        )
    return States(
        {row["source"]: _without_source(row) for row in health},
        {row["source"]: _without_source(row) for row in books},
        {row["source"]: row["open"] for row in incidents},
    )


def _without_source(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "source"}


async def rule_totals(pool: asyncpg.Pool, source: str) -> dict[str, tuple[int, int]]:
    """Rule → (assessed, violations), over all time."""
    rows = await pool.fetch(
        """
        select rule, sum(assessed)::bigint as assessed, sum(violations)::bigint as violations
          from read.rule_results where source = $1 group by rule
        """,
        source,
    )
    return {row["rule"]: (row["assessed"], row["violations"]) for row in rows}


async def ledger(
    pool: asyncpg.Pool, source: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Minutes of the books, newest first, beyond `after` = [minute, source]."""
    minute = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select source, minute, accepted, published, duplicate, dead_lettered, landed, parked
          from read.ledger
         where ($1::text is null or source = $1)
           and ($2::timestamptz is null or (minute, source) < ($2, $3))
         order by minute desc, source desc limit $4
        """,
        source, minute, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


ARRIVALS = 5_000
"""Events that a cadence is measured on."""


async def arrivals(pool: asyncpg.Pool, source: str) -> list[tuple[datetime, datetime]]:
    """(event time, arrival) of the latest events."""
    found = await pool.fetch(
        """
        select event_time, ingested_at from read.events
         where source = $1 order by event_time desc limit $2
        """,
        source, ARRIVALS,
    )  # fmt: skip
    return [(row["event_time"], row["ingested_at"]) for row in found]
