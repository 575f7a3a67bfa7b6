"""The events of a window, as archived, and what was known about them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg


async def events(
    pool: asyncpg.Pool,
    source: str,
    offsets: Sequence[Mapping[str, int]],
    start: datetime,
    end: datetime,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Events in the offset ranges whose time lies in [start, end), by partition and offset."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select e.partition, e."offset", e.event_time, e.event_id, e.key, e.schema_id, e.receipt, e.ingested_at,
               e.trace_id, e.data
          from unnest($2::int[], $3::bigint[], $4::bigint[]) as span(partition, first, last)
          join read.events e
            on e.source = $1 and e.partition = span.partition and e."offset" between span.first and span.last
         where e.source = $1 and e.event_time >= $5 and e.event_time < $6
         order by e.partition, e."offset" limit $7
        """,
        source, [span["partition"] for span in offsets], [span["first"] for span in offsets],
        [span["last"] for span in offsets], start, end, limit,
    )  # fmt: skip
    return rows


async def late(
    pool: asyncpg.Pool, kpi: str, version: int, source: str, start: datetime, end: datetime
) -> set[tuple[int, int]]:
    """(partition, offset) of the events with a time in [start, end) that came too late for the KPI."""
    rows = await pool.fetch(
        """
        select partition, "offset" from read.late_events
         where kpi = $1 and kpi_version = $2 and source = $3 and event_time >= $4 and event_time < $5
        """,
        kpi, version, source, start, end,
    )  # fmt: skip
    return {(row["partition"], row["offset"]) for row in rows}


async def rule_results(
    pool: asyncpg.Pool, source: str, start: datetime, end: datetime
) -> dict[str, tuple[int, int]]:
    """Rule → (assessed, violations) in the hours of event time that [start, end) touches."""
    rows = await pool.fetch(
        """
        select rule, sum(assessed)::bigint as assessed, sum(violations)::bigint as violations from read.rule_results
         where source = $1 and bucket >= date_trunc('hour', $2::timestamptz) and bucket < $3 group by rule order by rule
        """,
        source, start, end,
    )  # fmt: skip
    return {row["rule"]: (row["assessed"], row["violations"]) for row in rows}


async def incidents_at(pool: asyncpg.Pool, source: str, at: datetime) -> list[str]:
    """Ids of the source's incidents that were open at a moment."""
    rows = await pool.fetch(
        """
        select id::text as id from read.incidents
         where source = $1 and opened_at <= $2 and (resolved_at is null or resolved_at > $2)
         order by opened_at limit 100
        """,
        source, at,
    )  # fmt: skip
    return [row["id"] for row in rows]
