"""The SQL of quality. Every function runs in the caller's transaction."""

from collections.abc import Sequence
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
    "opened_at", "last_seen_at", "resolved_at", "summary", "recorded_at", "by",
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
    """Sums over the last `hours` of event time, arrivals, and the worst open incident."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(assessed), 0)::bigint AS assessed,"
        " coalesce(sum(good), 0)::float8 AS good, a.last_event_at, a.last_arrival_at,"
        " (SELECT severity FROM quality.incidents WHERE source = $1 AND state <> 'resolved'"
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
