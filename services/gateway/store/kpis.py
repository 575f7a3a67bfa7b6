"""Observations and expectations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

OBSERVATION = """
    kpi, kpi_version, series, series_key, window_start, window_end, value, count, revision, status, watermark,
    completeness, assessed, suspect, worst, measures, recorded_at
"""


@dataclass(frozen=True)
class Range:
    """Which observations of a KPI are asked for. `keys`: clear series keys; None takes all."""

    kpi: str
    version: int
    start: datetime | None
    end: datetime | None
    keys: list[str] | None
    as_of: datetime | None
    every_revision: bool


async def series_of(pool: asyncpg.Pool, kpi: str) -> list[Mapping[str, Any]]:
    """Every series that the KPI ever had, in clear: series_key, series."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        "select distinct on (series_key) series_key, series from read.latest where kpi = $1", kpi
    )
    return rows


async def served(pool: asyncpg.Pool, defined: Mapping[str, int]) -> dict[str, int]:
    """KPI → the version that readers are served. `defined`: the last one of each; it serves where nothing is known."""
    rows = await pool.fetch(
        "select kpi, kpi_version from read.served where kpi = any($1::text[])", list(defined)
    )
    found = {row["kpi"]: row["kpi_version"] for row in rows}
    return {kpi: min(found.get(kpi, version), version) for kpi, version in defined.items()}


async def all_served(pool: asyncpg.Pool) -> dict[str, int]:
    """Of every KPI of which it is known; one that runs on Flink by now is none of them."""
    rows = await pool.fetch(
        """
        select s.kpi, s.kpi_version from read.served s
         where 'flink' is distinct from (
            select definition->>'engine' from read.catalog
             where kind = 'kpi' and id = s.kpi order by version desc limit 1
         )
        """
    )
    return {row["kpi"]: row["kpi_version"] for row in rows}


async def served_at(pool: asyncpg.Pool, kpi: str, at: datetime) -> int | None:
    """The version that had caught up last by then."""
    number: int | None = await pool.fetchval(
        "select max(kpi_version) from read.caught_up where kpi = $1 and since <= $2", kpi, at
    )
    return number


async def latest(pool: asyncpg.Pool, versions: Mapping[str, int], limit: int) -> list[Mapping[str, Any]]:
    """The newest observation per series of each KPI's version, up to `limit` series a KPI, the largest first."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {OBSERVATION} from (
            select {OBSERVATION}, row_number() over (partition by kpi order by count desc, series_key) as place
              from read.latest
              join unnest($1::text[], $2::int[]) as wanted(id, number) on kpi = id and kpi_version = number
        ) ranked
         where place <= $3 order by kpi, place
        """,
        list(versions), list(versions.values()), limit,
    )  # fmt: skip
    return rows


async def series_totals(pool: asyncpg.Pool, versions: Mapping[str, int]) -> dict[str, int]:
    """KPI → number of series."""
    rows = await pool.fetch(
        """
        select kpi, count(*) as series from read.latest
          join unnest($1::text[], $2::int[]) as wanted(id, number) on kpi = id and kpi_version = number
         group by kpi
        """,
        list(versions), list(versions.values()),
    )  # fmt: skip
    return {row["kpi"]: row["series"] for row in rows}


async def trends(
    pool: asyncpg.Pool, latest: Sequence[Mapping[str, Any]], windows: int
) -> dict[tuple[str, str], list[tuple[datetime, float | None]]]:
    """(KPI, clear series key) → the last `windows` windows' start and value, oldest first."""
    rows = await pool.fetch(
        """
        select wanted.kpi, wanted.series_key, points.window_start, points.value
          from unnest($1::text[], $2::int[], $3::text[]) as wanted(kpi, kpi_version, series_key)
          cross join lateral (
            select distinct on (o.window_start) o.window_start, o.value, o.status
              from read.observations o
             where o.kpi = wanted.kpi and o.kpi_version = wanted.kpi_version
               and o.series_key = wanted.series_key
             order by o.window_start desc, o.revision desc limit $4
          ) points
         where points.status <> 'retracted'
         order by 1, 2, 3
        """,
        [row["kpi"] for row in latest], [row["kpi_version"] for row in latest],
        [row["series_key"] for row in latest], windows,
    )  # fmt: skip
    found: dict[tuple[str, str], list[tuple[datetime, float | None]]] = {}
    for row in rows:
        found.setdefault((row["kpi"], row["series_key"]), []).append((row["window_start"], row["value"]))
    return found


async def open_signals(pool: asyncpg.Pool, kpis: Sequence[str]) -> dict[str, int]:
    """KPI → signals that are open."""
    rows = await pool.fetch(
        """
        select kpi, count(*) as open from read.signals
         where kpi = any($1::text[]) and change <> 'closed' group by kpi
        """,
        list(kpis),
    )
    return {row["kpi"]: row["open"] for row in rows}


async def observations(
    pool: asyncpg.Pool, asked: Range, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Observations, newest window first, beyond `after` = [window_start, series_key, revision].

    Without `every_revision`: the newest revision of each window that was recorded by `as_of`, unless retracted.
    """
    window = datetime.fromisoformat(after[0]) if after else None
    newest = """
        select distinct on (window_start, series_key) * from matching
         order by window_start desc, series_key desc, revision desc
    """
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        with matching as (
            select {OBSERVATION} from read.observations
             where kpi = $1 and kpi_version = $2
               and ($3::timestamptz is null or window_start >= $3)
               and ($4::timestamptz is null or window_start < $4)
               and ($5::text[] is null or series_key = any($5))
               and ($6::timestamptz is null or recorded_at <= $6)
               and ($7::timestamptz is null or window_start <= $7)
        ), chosen as ({"select * from matching" if asked.every_revision else newest})
        select * from chosen
         where ($7::timestamptz is null or (window_start, series_key, revision) < ($7, $8, $9))
           and ($11 or status <> 'retracted')
         order by window_start desc, series_key desc, revision desc limit $10
        """,
        asked.kpi, asked.version, asked.start, asked.end, asked.keys, asked.as_of,
        window, after[1] if after else None, after[2] if after else None, limit, asked.every_revision,
    )  # fmt: skip
    return rows


async def expectations(
    pool: asyncpg.Pool, asked: Range, found: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The newest expectation of each rule for the windows found."""
    rows = await pool.fetch(
        """
        select distinct on (e.rule, e.series_key, e.window_start)
               e.series_key, e.rule, e.window_start, e.window_end, e.low, e.middle, e.high
          from read.expectations e
          join unnest($3::text[], $4::timestamptz[]) as wanted(series_key, window_start)
            on e.series_key = wanted.series_key and e.window_start = wanted.window_start
         where e.kpi = $1 and e.kpi_version = $2 and ($5::timestamptz is null or e.recorded_at <= $5)
           and e.window_start between $6 and $7
         order by e.rule, e.series_key, e.window_start, e.recorded_at desc
        """,
        asked.kpi, asked.version, [row["series_key"] for row in found], [row["window_start"] for row in found],
        asked.as_of, min(row["window_start"] for row in found), max(row["window_start"] for row in found),
    )  # fmt: skip
    return [dict(row) for row in rows]


async def revisions(
    pool: asyncpg.Pool, kpi: str, version: int, key: str, window_start: datetime, as_of: datetime | None
) -> list[Mapping[str, Any]]:
    """Every revision of one window, oldest first, with offsets and schemas."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {OBSERVATION}, offsets, schema_ids, traceparent from read.observations
         where kpi = $1 and kpi_version = $2 and series_key = $3 and window_start = $4
           and ($5::timestamptz is null or recorded_at <= $5)
         order by revision
        """,
        kpi, version, key, window_start, as_of,
    )  # fmt: skip
    return rows


async def parts(
    pool: asyncpg.Pool, versions: Mapping[str, int], observation: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The final values of other KPIs for the observation's window and series, as known when it was recorded."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select distinct on (kpi, series_key) {OBSERVATION} from read.observations
          join unnest($1::text[], $2::int[]) as wanted(id, number) on kpi = id and kpi_version = number
         where window_start = $3 and series @> $4 and status = 'final' and recorded_at <= $5
         order by kpi, series_key, revision desc limit 500
        """,
        list(versions), list(versions.values()), observation["window_start"], observation["series"],
        observation["recorded_at"],
    )  # fmt: skip
    return rows


async def held(
    pool: asyncpg.Pool, kpi: str, facts: Sequence[tuple[int, str, datetime, int]]
) -> set[tuple[int, str, datetime, int]]:
    """Which of (version, series key, window start, revision) the archive holds already."""
    rows = await pool.fetch(
        """
        select o.kpi_version, o.series_key, o.window_start, o.revision
          from unnest($2::int[], $3::text[], $4::timestamptz[], $5::int[])
               as wanted(kpi_version, series_key, window_start, revision)
          join read.observations o using (kpi_version, series_key, window_start, revision)
         where o.kpi = $1
        """,
        kpi, [fact[0] for fact in facts], [fact[1] for fact in facts], [fact[2] for fact in facts],
        [fact[3] for fact in facts],
    )  # fmt: skip
    return {(row["kpi_version"], row["series_key"], row["window_start"], row["revision"]) for row in rows}
