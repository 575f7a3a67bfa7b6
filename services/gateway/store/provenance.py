"""The events of a window, as archived, and what was known about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg


@dataclass(frozen=True)
class Asked:
    """Which events of a source: by event time in [start, end) or at start, and by what text fields hold."""

    source: str
    start: datetime
    end: datetime
    texts: Mapping[str, str | None]


_EVENT = """
    partition, "offset", event_time, event_id, key, schema_id, receipt, ingested_at, trace_id, data::text as data
"""
_ASKED = """
    source = $1 and event_time >= $2 and (event_time < $3 or event_time = $2) and not exists (
        select from unnest($4::text[], $5::text[]) as wanted(name, value)
         where data->>wanted.name is distinct from wanted.value
    )
"""


def _given(asked: Asked) -> tuple[Any, ...]:
    return asked.source, asked.start, asked.end, list(asked.texts), list(asked.texts.values())


async def events(pool: asyncpg.Pool, asked: Asked, most: int) -> list[Mapping[str, Any]] | None:
    """All events asked for, by partition and offset; None if there are more than `most`. `data` is JSON text."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"select {_EVENT} from read.events where {_ASKED} limit $6", *_given(asked), most + 1
    )
    return sorted(rows, key=_place) if len(rows) <= most else None


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["partition"], row["offset"]


async def events_after(
    pool: asyncpg.Pool, asked: Asked, span: Mapping[str, int], after: int, limit: int
) -> list[Mapping[str, Any]]:
    """Events asked for in one offset range beyond the offset `after`, in order."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_EVENT} from read.events
         where {_ASKED} and partition = $6 and "offset" > $7 and "offset" between $8 and $9
         order by "offset" limit $10
        """,
        *_given(asked), span["partition"], after, span["first"], span["last"], limit,
    )  # fmt: skip
    return rows


async def late(pool: asyncpg.Pool, observation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Records of the events of the observation's series that were set aside as too late, up to its end.

    Those that began in its window, and those whose offsets overlap its ranges; of sliding windows those for which
    this one had closed. What a backfill has counted since is not late: of a record that tells of more than that, `partly`
    is set, `first` is the first offset that is late, and `count` still counts all.
    """
    spans = observation["offsets"]
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select l.window_start, l.partition, greatest(l.first, b.before) as first, l.last, l.count,
               coalesce(l.first < b.before, false) as partly
          from read.late_events l
          left join (
            select partition, max(before) as before from read.backfilled
             where kpi = $1 and kpi_version = $2 and start <= $4 and stop > $4 and closed_to >= $5 and started_at <= $9
             group by partition
          ) b on b.partition = l.partition
         where l.kpi = $1 and l.kpi_version = $2 and l.series_key = $3 and l.window_start < $5
           and (b.before is null or l.last >= b.before)
           and (l.closed_to is null or l.closed_to >= $5)
           and (l.window_start >= $4 or exists (
             select from unnest($6::int[], $7::bigint[], $8::bigint[]) as span(partition, first, last)
              where span.partition = l.partition and l.first <= span.last and l.last >= span.first
           ))
         order by l.window_start, l.partition, l.first
        """,
        observation["kpi"], observation["kpi_version"], observation["series_key"], observation["window_start"],
        observation["window_end"], [span["partition"] for span in spans], [span["first"] for span in spans],
        [span["last"] for span in spans], observation["recorded_at"],
    )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Gone:
    """How many events are archived no more, and why."""

    erased: int
    """With their subject."""
    withdrawn: int
    """With the re-drive that had published them."""


async def gone(pool: asyncpg.Pool, asked: Asked, spans: Sequence[Mapping[str, int]]) -> Gone:
    """Of the events of the window and the offset ranges."""
    row = await pool.fetchrow(
        """
        select count(*) filter (where not withdrawn) as erased, count(*) filter (where withdrawn) as withdrawn
          from (
            select partition, "offset", event_time, false as withdrawn from read.erased_events where source = $1
            union all
            select partition, "offset", event_time, true from read.withdrawn_events where source = $1
          ) e
         where event_time >= $2 and (event_time < $3 or event_time = $2) and exists (
           select from unnest($4::int[], $5::bigint[], $6::bigint[]) as span(partition, first, last)
            where span.partition = e.partition and e."offset" between span.first and span.last
         )
        """,
        asked.source,
        asked.start,
        asked.end,
        [span["partition"] for span in spans],
        [span["first"] for span in spans],
        [span["last"] for span in spans],
    )
    assert row is not None
    return Gone(**row)


async def rule_results(
    pool: asyncpg.Pool, sources: Sequence[str], start: datetime, end: datetime
) -> dict[str, tuple[int, int]]:
    """Rule → (assessed, violations) in the hours of event time that [start, end) touches."""
    rows = await pool.fetch(
        """
        select rule, sum(assessed)::bigint as assessed, sum(violations)::bigint as violations from read.rule_results
         where source = any($1::text[]) and bucket >= date_trunc('hour', $2::timestamptz) and bucket < $3
         group by rule order by rule
        """,
        list(sources), start, end,
    )  # fmt: skip
    return {row["rule"]: (row["assessed"], row["violations"]) for row in rows}


async def incidents_at(pool: asyncpg.Pool, sources: Sequence[str], at: datetime) -> list[str]:
    """Ids of the sources' incidents that were open at a moment."""
    rows = await pool.fetch(
        """
        select id from read.incidents
         where source = any($1::text[]) and opened_at <= $2 and (resolved_at is null or resolved_at > $2)
         order by opened_at limit 100
        """,
        list(sources), at,
    )  # fmt: skip
    return [row["id"] for row in rows]
