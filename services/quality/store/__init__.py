"""The SQL of quality. Every function runs in the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from libs.common.stream.stored import Connection


async def add_rule_results(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(rule, version, source, bucket, assessed, violations)"""
    await connection.executemany(
        "INSERT INTO quality.rule_results VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (rule, version, bucket) DO UPDATE SET"
        " assessed = rule_results.assessed + excluded.assessed,"
        " violations = rule_results.violations + excluded.violations",
        rows,
    )


async def add_hours(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(source, bucket, events, assessed, good)"""
    await connection.executemany(
        "INSERT INTO quality.source_hours VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (source, bucket) DO UPDATE SET events = source_hours.events + excluded.events,"
        " assessed = source_hours.assessed + excluded.assessed, good = source_hours.good + excluded.good",
        rows,
    )


async def note_arrival(connection: Connection, source: str, event_at: datetime, arrival_at: datetime) -> None:
    await connection.execute(
        "INSERT INTO quality.arrivals VALUES ($1, $2, $3) ON CONFLICT (source) DO UPDATE SET"
        " last_event_at = greatest(arrivals.last_event_at, excluded.last_event_at),"
        " last_arrival_at = greatest(arrivals.last_arrival_at, excluded.last_arrival_at)",
        source, event_at, arrival_at,
    )  # fmt: skip


async def set_rules(connection: Connection, rows: Sequence[tuple[str, int]]) -> None:
    """The rules in force and their versions."""
    await connection.execute(
        "DELETE FROM quality.rules_in_force WHERE rule <> ALL($1)", [rule for rule, _ in rows]
    )
    await connection.executemany(
        "INSERT INTO quality.rules_in_force VALUES ($1, $2) ON CONFLICT (rule) DO UPDATE SET version = $2",
        rows,
    )


async def counts_over(
    connection: Connection, rule: str, version: int, until: datetime, over: timedelta
) -> tuple[int, int]:
    """Assessed and violations in the hours from `until` - over to `until`."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(assessed), 0)::bigint AS assessed, coalesce(sum(violations), 0)::bigint AS violations"
        " FROM quality.rule_results WHERE rule = $1 AND version = $2 AND bucket > $3::timestamptz - $4::interval"
        " AND bucket <= $3",
        rule, version, until, over,
    )  # fmt: skip
    assert row is not None
    return row["assessed"], row["violations"]


async def open_incident(
    connection: Connection, source: str, kind: str, rule: str | None
) -> asyncpg.Record | None:
    return await connection.fetchrow(
        "SELECT * FROM quality.incidents WHERE source = $1 AND kind = $2 AND rule IS NOT DISTINCT FROM $3"
        " AND state <> 'resolved' FOR UPDATE",
        source, kind, rule,
    )  # fmt: skip


async def incident(connection: Connection, id: str) -> asyncpg.Record | None:
    return await connection.fetchrow("SELECT * FROM quality.incidents WHERE id = $1 FOR UPDATE", id)


INCIDENT_COLUMNS = (
    "id", "source", "rule", "kind", "severity", "state", "owner", "assignee", "cause", "violations", "assessed",
    "opened_at", "last_seen_at", "resolved_at", "summary", "recorded_at", "by", "note", "missing",
)  # fmt: skip


async def put_incident(connection: Connection, row: tuple[Any, ...]) -> None:
    """Values in the order of INCIDENT_COLUMNS."""
    names = ", ".join(INCIDENT_COLUMNS)
    places = ", ".join(f"${number}" for number in range(1, len(INCIDENT_COLUMNS) + 1))
    update = ", ".join(f"{name} = excluded.{name}" for name in INCIDENT_COLUMNS[1:])
    await connection.execute(
        f"INSERT INTO quality.incidents ({names}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {update}",
        *row,
    )


async def source_state(connection: Connection, source: str, hours: int) -> asyncpg.Record:
    """Sums over the last `hours` of event time, arrivals, and the worst open incident: parity is the engine's fault, and
    data that is personal may be right."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(assessed), 0)::bigint AS assessed,"
        " coalesce(sum(good), 0)::float8 AS good, a.last_event_at, a.last_arrival_at,"
        " (SELECT severity FROM quality.incidents WHERE source = $1 AND state <> 'resolved'"
        "  AND kind NOT IN ('parity', 'personal')"
        "  ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity) LIMIT 1) AS worst"
        " FROM (SELECT 1) one LEFT JOIN quality.arrivals a ON a.source = $1"
        " LEFT JOIN quality.source_hours h ON h.source = $1"
        "  AND h.bucket > a.last_event_at - make_interval(hours => $2)"
        " GROUP BY a.last_event_at, a.last_arrival_at",
        source, hours,
    )  # fmt: skip
    assert row is not None
    return row


async def health_of(connection: Connection, source: str) -> asyncpg.Record | None:
    return await connection.fetchrow("SELECT * FROM quality.health WHERE source = $1", source)


async def put_health(connection: Connection, row: tuple[Any, ...]) -> None:
    """(source, score, assessed share, worst, fresh, last event at, last arrival at, events, recorded at)"""
    await connection.execute(
        "INSERT INTO quality.health VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source) DO UPDATE SET"
        " score = $2, assessed_share = $3, worst = $4, fresh = $5, last_event_at = $6, last_arrival_at = $7,"
        " events = $8, recorded_at = $9",
        *row,
    )


# --- parity: what others own is read from schema `read` ----------------------------------------------------


async def parity_of(pool: asyncpg.Pool, kpi: str, version: int) -> asyncpg.Record | None:
    return await pool.fetchrow(
        "SELECT * FROM quality.parity WHERE kpi = $1 AND kpi_version = $2", kpi, version
    )


async def put_parity(connection: Connection, row: tuple[Any, ...]) -> None:
    """(kpi, version, checked to, windows, differing, first difference, note, checked at, left out by reason), in the
    place of all before."""
    await connection.execute(
        "INSERT INTO quality.parity VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (kpi) DO UPDATE SET"
        " kpi_version = $2, checked_to = $3, windows = $4, differing = $5, first_difference = $6, note = $7,"
        " checked_at = $8, left_out = $9",
        *row,
    )


async def add_parity(connection: Connection, row: tuple[Any, ...]) -> asyncpg.Record:
    """As `put_parity`, but windows are added to those of the same version, whose first difference stays."""
    total = await connection.fetchrow(
        "INSERT INTO quality.parity AS p VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (kpi) DO UPDATE SET"
        " kpi_version = $2, checked_to = $3, note = $7, checked_at = $8,"
        " windows = $4 + CASE WHEN p.kpi_version = $2 THEN p.windows ELSE 0 END,"
        " differing = $5 + CASE WHEN p.kpi_version = $2 THEN p.differing ELSE 0 END,"
        " first_difference = coalesce(CASE WHEN p.kpi_version = $2 THEN p.first_difference END, $6),"
        " left_out = CASE WHEN p.kpi_version = $2 THEN (SELECT coalesce(jsonb_object_agg(reason, count), '{}') FROM"
        "  (SELECT key AS reason, sum(value::bigint) AS count FROM (SELECT * FROM jsonb_each_text(p.left_out)"
        "   UNION ALL SELECT * FROM jsonb_each_text($9)) AS each GROUP BY key) AS sums) ELSE $9 END"
        " RETURNING windows, differing",
        *row,
    )
    assert total is not None
    return total


async def settled(pool: asyncpg.Pool, kpi: str, version: int) -> asyncpg.Record | None:
    """The KPI's watermark as published, the end of its newest window (what single events have), and of its first."""
    return await pool.fetchrow(
        "SELECT watermark, newest, (SELECT window_end FROM read.observations WHERE kpi = $1 AND kpi_version = $2"
        "  ORDER BY window_start LIMIT 1) AS first_end"
        " FROM (SELECT max(watermark) AS watermark, max(window_end) AS newest FROM read.latest"
        "  WHERE kpi = $1 AND kpi_version = $2) AS known",
        kpi, version,
    )  # fmt: skip


async def published(
    pool: asyncpg.Pool, kpi: str, version: int, lower: datetime, upper: datetime, reach: timedelta
) -> list[asyncpg.Record]:
    """The newest revision of each window with lower < end <= upper, of `reach` at most; retracted ones are none."""
    return await pool.fetch(
        "SELECT * FROM (SELECT DISTINCT ON (series_key, window_start) series_key, window_start, window_end, value, count,"
        "  measures, status, recorded_at FROM read.observations WHERE kpi = $1 AND kpi_version = $2"
        "  AND window_start > $3::timestamptz - $5::interval AND window_start < $4"
        "  ORDER BY series_key, window_start, revision DESC, recorded_at DESC) newest"
        " WHERE status <> 'retracted' AND window_end > $3 AND window_end <= $4",
        kpi, version, lower, upper, reach,
    )  # fmt: skip


async def published_singly(
    pool: asyncpg.Pool, kpi: str, version: int, lower: datetime, upper: datetime
) -> list[asyncpg.Record]:
    """The values of single events with lower < time + 1 ms <= upper, and where the events lie. One that was retracted, by
    the revision after its own, is none."""
    mine = (
        "kpi = $1 AND kpi_version = $2 AND window_start > $3::timestamptz - interval '1 ms' AND window_start < $4"
        " AND window_end <= $4"
    )
    return await pool.fetch(
        "SELECT series_key, window_start, window_end, value, count, recorded_at,"
        " (offsets->0->>'partition')::int AS partition, (offsets->0->>'first')::bigint AS place"
        f" FROM read.observations WHERE {mine} AND status <> 'retracted'"
        " AND (series_key, window_start, revision) NOT IN (SELECT series_key, window_start, revision - 1"
        f"  FROM read.observations WHERE {mine} AND status = 'retracted')",
        kpi, version, lower, upper,
    )  # fmt: skip


async def published_since(
    pool: asyncpg.Pool, kpi: str, version: int, lower: datetime, upper: datetime, since: datetime
) -> int:
    """How many values of windows that begin in a stretch of time were published after a moment."""
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM read.observations WHERE kpi = $1 AND kpi_version = $2 AND window_start >= $3"
            " AND window_start < $4 AND recorded_at > $5 AND status <> 'retracted'",
            kpi, version, lower, upper, since,
        )
    )  # fmt: skip


async def values(
    pool: asyncpg.Pool, kpis: Sequence[str], lower: datetime, upper: datetime, reach: timedelta, limit: int
) -> list[asyncpg.Record]:
    """Of KPIs, all versions: the newest final revision of each window with lower < end <= upper, retracted ones too."""
    return await pool.fetch(
        "SELECT DISTINCT ON (kpi, kpi_version, series_key, window_start) kpi, kpi_version, series_key, window_start,"
        " window_end, revision, status, value, count, recorded_at FROM read.observations WHERE kpi = ANY($1)"
        " AND window_start > $2::timestamptz - $4::interval AND window_start < $3 AND window_end > $2"
        " AND window_end <= $3 AND status <> 'provisional'"
        " ORDER BY kpi, kpi_version, series_key, window_start, revision DESC, recorded_at DESC LIMIT $5",
        kpis, lower, upper, reach, limit,
    )  # fmt: skip


async def caught_up(pool: asyncpg.Pool, kpis: Sequence[str]) -> list[asyncpg.Record]:
    """(kpi, version, since) of the versions that had caught up, and when."""
    return await pool.fetch("SELECT kpi, kpi_version, since FROM read.caught_up WHERE kpi = ANY($1)", kpis)


async def reference_rows(pool: asyncpg.Pool, source: str, limit: int) -> list[asyncpg.Record]:
    """The rows of a reference as they are now, and when they were recorded."""
    return await pool.fetch(
        "SELECT data::text AS data, recorded_at FROM read.reference_rows WHERE source = $1 LIMIT $2",
        source,
        limit,
    )


async def ranges(
    connection: Connection | asyncpg.Pool, kpi: str, version: int, series: str, start: datetime
) -> Any:
    """The offset ranges of a window's newest revision."""
    return await connection.fetchval(
        "SELECT offsets FROM read.observations WHERE kpi = $1 AND kpi_version = $2 AND series_key = $3"
        " AND window_start = $4 ORDER BY revision DESC, recorded_at DESC LIMIT 1",
        kpi, version, series, start,
    )  # fmt: skip


async def ranges_of(
    pool: asyncpg.Pool, kpi: str, version: int, windows: Sequence[tuple[str, datetime]]
) -> list[asyncpg.Record]:
    """The offset ranges of the newest revision of each of these windows (series key, start)."""
    return await pool.fetch(
        "SELECT DISTINCT ON (series_key, window_start) series_key, window_start, offsets FROM read.observations"
        " JOIN unnest($3::text[], $4::timestamptz[]) AS wanted(series_key, window_start)"
        "  USING (series_key, window_start) WHERE kpi = $1 AND kpi_version = $2"
        " ORDER BY series_key, window_start, revision DESC, recorded_at DESC",
        kpi, version, [series for series, _ in windows], [start for _, start in windows],
    )  # fmt: skip


async def begins(pool: asyncpg.Pool, source: str) -> dict[int, int]:
    """Partition → offset before which the archive's events were disposed of, if any were."""
    rows = await pool.fetch(
        'SELECT partition, min("offset") AS first FROM read.events WHERE source = $1 AND EXISTS (SELECT 1'
        " FROM read.receipts WHERE source = $1 AND state = 'done' AND rows_deleted > 0 AND erasure IS NULL) GROUP BY 1",
        source,
    )
    return {row["partition"]: row["first"] for row in rows}


async def erased(pool: asyncpg.Pool, source: str, start: datetime, stop: datetime) -> list[Mapping[str, Any]]:
    """Places and times of events of a stretch of time that were erased with their subject."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        'SELECT partition, "offset", event_time FROM read.erased_events WHERE source = $1 AND event_time >= $2'
        " AND event_time < $3",
        source, start, stop,
    )  # fmt: skip
    return rows


async def withdrawn(
    pool: asyncpg.Pool, source: str, start: datetime, stop: datetime
) -> list[Mapping[str, Any]]:
    """Places and times of events of a stretch of time that were withdrawn with their re-drive, and when, by time."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        'SELECT partition, "offset", event_time, withdrawn_at FROM read.withdrawn_events WHERE source = $1'
        " AND event_time >= $2 AND event_time < $3 ORDER BY event_time",
        source, start, stop,
    )  # fmt: skip
    return rows


async def arrived_before(
    pool: asyncpg.Pool, kpi: str, version: int, source: str, kept: timedelta, start: datetime, stop: datetime
) -> set[tuple[int, int]]:
    """Partition and offset of events of a stretch of time that came more than `kept` before the KPI's version did."""
    rows = await pool.fetch(
        'SELECT partition, "offset" FROM read.events WHERE source = $3 AND event_time >= $5 AND event_time < $6'
        " AND ingested_at < (SELECT applied_at FROM read.catalog WHERE kind = 'kpi' AND id = $1 AND version = $2)"
        "  - $4::interval",
        kpi, version, source, kept, start, stop,
    )  # fmt: skip
    return {(row["partition"], row["offset"]) for row in rows}


async def ends(pool: asyncpg.Pool, source: str) -> dict[int, int]:
    """Partition → offset of the last event that was archived, though it was withdrawn since."""
    rows = await pool.fetch(
        "SELECT partition, max(last) AS last FROM ("
        ' SELECT partition, max("offset") AS last FROM read.events WHERE source = $1 GROUP BY 1 UNION ALL'
        ' SELECT partition, max("offset") FROM read.withdrawn_events WHERE source = $1 GROUP BY 1'
        ") AS each GROUP BY 1",
        source,
    )
    return {row["partition"]: row["last"] for row in rows}


async def events(
    pool: asyncpg.Pool, source: str, start: datetime, stop: datetime, limit: int
) -> list[asyncpg.Record]:
    """Events with start <= time < stop, but those that the detector set aside."""
    return await pool.fetch(
        'SELECT e.partition, e."offset", e.event_time, e.ingested_at, e.data::text AS data FROM read.events e'
        " WHERE e.source = $1 AND e.event_time >= $2 AND e.event_time < $3 AND NOT EXISTS (SELECT 1"
        "  FROM read.dead_letters d WHERE d.source = $1 AND d.service = 'detector' AND d.partition = e.partition"
        '  AND d."offset" = e."offset") LIMIT $4',
        source, start, stop, limit,
    )  # fmt: skip


async def late(
    pool: asyncpg.Pool, kpi: str, version: int, start: datetime, stop: datetime
) -> list[asyncpg.Record]:
    """What came too late for windows of a stretch of time."""
    return await pool.fetch(
        "SELECT series_key, window_start, partition, first, last, closed_to FROM read.late_events WHERE kpi = $1"
        " AND kpi_version = $2 AND window_start >= $3 AND window_start < $4",
        kpi, version, start, stop,
    )  # fmt: skip


async def backfilled(pool: asyncpg.Pool, kpi: str, version: int) -> list[Mapping[str, Any]]:
    """Where what came too late counts all the same, and what was withdrawn before it began counts no more."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        "SELECT start, stop, closed_to, started_at, partition, before FROM read.backfilled"
        " WHERE kpi = $1 AND kpi_version = $2",
        kpi, version,
    )  # fmt: skip
    return rows


async def backfills(pool: asyncpg.Pool, kpi: str, version: int) -> list[asyncpg.Record]:
    """(id, ended at) of those that have changed values and ended."""
    return await pool.fetch(
        "SELECT id, ended_at FROM read.backfills WHERE kpi = $1 AND kpi_version = $2 AND NOT dry_run"
        " AND ended_at IS NOT NULL AND new + revised + retracted > 0",
        kpi, version,
    )  # fmt: skip
