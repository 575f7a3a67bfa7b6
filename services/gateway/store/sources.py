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
            select source, accepted, published, duplicate, dead_lettered, landed, in_flight, parked, erased, imbalance
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
        select source, minute, accepted, published, duplicate, dead_lettered, landed, parked, erased
          from read.ledger
         where ($1::text is null or source = $1)
           and ($2::timestamptz is null or (minute, source) < ($2, $3))
         order by minute desc, source desc limit $4
        """,
        source, minute, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Flow:
    """How a source arrives."""

    minutes: list[Mapping[str, Any]]
    partitions: list[Mapping[str, Any]]
    rhythm: Mapping[str, Any] | None


async def flow(pool: asyncpg.Pool, source: str, topic: str, since: datetime, now: datetime) -> Flow:
    """Minutes of arrival from `since` on in which there was anything, partitions, and what is to be expected."""
    async with pool.acquire() as connection:
        minutes = await connection.fetch(
            """
            select minute, greatest(published, landed) as events,
                   greatest(dead_lettered, accepted - published - duplicate - parked - erased) as errors
              from read.ledger where source = $1 and minute >= $2 order by minute
            """,
            source, since,
        )  # fmt: skip
        partitions = await connection.fetch(
            """
            select p.partition, p.last_event_at, p.last_arrival_at,
                   greatest(p.last_arrival_at, p.heartbeat_at) as heartbeat_at,
                   greatest(0, p.next_offset - coalesce(a.next_offset, 0)) as lag,
                   case when p.minute = date_trunc('minute', $3::timestamptz) then p.in_minute_before
                        when p.minute = date_trunc('minute', $3::timestamptz) - interval '1 minute' then p.in_minute
                        else 0 end as events_per_minute
              from read.partitions p left join read.archived a on a.topic = $2 and a.partition = p.partition
             where p.source = $1 order by p.partition
            """,
            source, topic, now,
        )  # fmt: skip
        rhythm = await connection.fetchrow(
            """
            select minute, minutes, events, expected, low, quiet_minutes, allowed_minutes
              from read.rhythm where source = $1
            """,
            source,
        )
    return Flow(minutes, partitions, rhythm)


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
