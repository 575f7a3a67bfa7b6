"""The SQL of strategy. Every function runs in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from libs.common.stream.stored import Connection
from services.strategy.core.escalation import Escalation

CATALOG_LOCK = "SELECT pg_advisory_xact_lock(hashtext('sextant catalog'))"


async def lock_catalog(connection: Connection) -> None:
    """One apply at a time."""
    await connection.execute(CATALOG_LOCK)


async def catalog_in_force(connection: Connection) -> list[asyncpg.Record]:
    """The last version of everything ever defined; a null definition is a removal."""
    return await connection.fetch(
        "SELECT DISTINCT ON (kind, id) kind, id, version, definition, schema_id, applied_at, applied_by"
        " FROM strategy.catalog ORDER BY kind, id, version DESC"
    )


async def source_versions(connection: Connection, ids: Sequence[str]) -> list[asyncpg.Record]:
    """Every definition that these sources ever had, the oldest first."""
    return await connection.fetch(
        "SELECT id, version, definition FROM strategy.catalog"
        " WHERE kind = 'source' AND id = ANY($1) AND definition IS NOT NULL ORDER BY id, version",
        list(ids),
    )


async def add_version(
    connection: Connection, kind: str, id: str, version: int, definition: Any, schema_id: int | None,
    now: datetime, by: str,
) -> None:  # fmt: skip
    await connection.execute(
        "INSERT INTO strategy.catalog VALUES ($1, $2, $3, $4, $5, $6, $7)",
        kind, id, version, definition, schema_id, now, by,
    )  # fmt: skip


# --- objectives ------------------------------------------------------------------------------------------


async def put_windows(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(kpi, version, series key, start, end, value, count, revision): a higher revision replaces a lower one."""
    await connection.executemany(
        "INSERT INTO strategy.windows VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        " ON CONFLICT (kpi, kpi_version, series_key, window_start) DO UPDATE SET"
        " window_end = excluded.window_end, value = excluded.value, count = excluded.count,"
        " revision = excluded.revision"
        " WHERE excluded.revision > windows.revision",
        rows,
    )


async def drop_windows(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(kpi, version, series key, start) that no longer hold."""
    await connection.executemany(
        "DELETE FROM strategy.windows WHERE kpi = $1 AND kpi_version = $2 AND series_key = $3 AND window_start = $4",
        rows,
    )


async def served_version(connection: Connection, kpi: str) -> int:
    """The version with the newest window; of several the newest: one that has just begun has to catch up first."""
    version: int | None = await connection.fetchval(
        "SELECT kpi_version FROM strategy.windows WHERE kpi = $1"
        " GROUP BY kpi_version ORDER BY max(window_end) DESC, kpi_version DESC LIMIT 1",
        kpi,
    )
    return version or 0


async def windows_since(connection: Connection, kpi: str, version: int, over: Any) -> list[asyncpg.Record]:
    """The windows that end within `over` of the newest one."""
    return await connection.fetch(
        "SELECT series_key, window_end, value, count FROM strategy.windows WHERE kpi = $1 AND kpi_version = $2"
        " AND window_end > $3::interval * -1"
        " + (SELECT max(window_end) FROM strategy.windows WHERE kpi = $1 AND kpi_version = $2)",
        kpi, version, over,
    )  # fmt: skip


async def forget_windows(connection: Connection, kpi: str, over: Any) -> None:
    await connection.execute(
        "DELETE FROM strategy.windows WHERE kpi = $1 AND window_end <"
        " (SELECT max(window_end) FROM strategy.windows WHERE kpi = $1) - $2::interval",
        kpi, over,
    )  # fmt: skip


async def put_objective(connection: Connection, row: tuple[Any, ...]) -> None:
    await connection.execute(
        "INSERT INTO strategy.objectives VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET"
        " title = $2, owner = $3, framework = $4, perspective = $5, progress = $6, key_results = $7, as_of = $8,"
        " recorded_at = $9",
        *row,
    )


async def keep_objectives(connection: Connection, ids: Sequence[str]) -> None:
    await connection.execute("DELETE FROM strategy.objectives WHERE id <> ALL($1)", list(ids))


# --- the loop --------------------------------------------------------------------------------------------


async def put_loop(connection: Connection, row: tuple[Any, ...]) -> None:
    """(signal, kpi, series key, owner, verdict, event at, detected at)"""
    await connection.execute(
        "INSERT INTO strategy.loop (signal, kpi, series_key, owner, verdict, event_at, detected_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (signal) DO UPDATE SET verdict = $5",
        *row,
    )


STAMPS = ("notified_at", "acknowledged_at", "decided_at", "dispatched_at", "executed_at", "effect_seen_at")


async def stamp(connection: Connection, signal: str, name: str, now: datetime) -> bool:
    """The first time counts; whether this was it."""
    assert name in STAMPS
    done = await connection.execute(
        f"UPDATE strategy.loop SET {name} = $2 WHERE signal = $1 AND {name} IS NULL", signal, now
    )
    return done == "UPDATE 1"


async def loop_of(connection: Connection, signal: str) -> asyncpg.Record | None:
    return await connection.fetchrow("SELECT * FROM strategy.loop WHERE signal = $1 FOR UPDATE", signal)


# --- escalations -----------------------------------------------------------------------------------------


async def start_escalation(connection: Connection, row: tuple[Any, ...]) -> bool:
    """(id, signal, team, steps, next at, started at); whether it is new."""
    done = await connection.execute(
        "INSERT INTO strategy.escalations (id, signal, team, steps, step, state, next_at, started_at)"
        " VALUES ($1, $2, $3, $4, 0, 'running', $5, $6) ON CONFLICT (id) DO NOTHING",
        *row,
    )
    return done == "INSERT 0 1"


async def due_escalation(connection: Connection, now: datetime) -> asyncpg.Record | None:
    """One whose next step is due, locked; others work on others."""
    return await connection.fetchrow(
        "SELECT * FROM strategy.escalations WHERE state = 'running' AND next_at <= $1"
        " ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        now,
    )


async def set_escalation(
    connection: Connection, id: str, after: Escalation, next_at: datetime | None, now: datetime
) -> None:
    await connection.execute(
        "UPDATE strategy.escalations SET step = $2, state = $3, next_at = $4, ends_at = $5,"
        " stopped_at = CASE WHEN $3 = 'stopped' THEN $6 ELSE stopped_at END WHERE id = $1",
        id, after.step, after.state, next_at, after.ends_at, now,
    )  # fmt: skip


async def acknowledge(connection: Connection, signal: str, now: datetime, by: str) -> None:
    await connection.execute(
        "UPDATE strategy.escalations SET state = 'acknowledged', next_at = NULL, acknowledged_at = $2,"
        " acknowledged_by = $3 WHERE signal = $1 AND state IN ('running', 'exhausted')",
        signal, now, by,
    )  # fmt: skip


async def escalations_of(connection: Connection, signal: str) -> list[asyncpg.Record]:
    return await connection.fetch("SELECT * FROM strategy.escalations WHERE signal = $1 FOR UPDATE", signal)


async def add_notification(connection: Connection, row: tuple[Any, ...]) -> None:
    """(escalation, step, to whom, via, outcome, detail, at)"""
    await connection.execute(
        "INSERT INTO strategy.notifications VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING", *row
    )


# --- playbooks, decisions, annotations -------------------------------------------------------------------


async def open_run(connection: Connection, row: tuple[Any, ...]) -> bool:
    """(id, playbook, title, signal, opened at, steps); whether it is new."""
    done = await connection.execute(
        "INSERT INTO strategy.playbook_runs (id, playbook, title, signal, state, opened_at, steps)"
        " VALUES ($1, $2, $3, $4, 'open', $5, $6) ON CONFLICT (id) DO NOTHING",
        *row,
    )
    return done == "INSERT 0 1"


async def run_of(connection: Connection, id: str) -> asyncpg.Record | None:
    return await connection.fetchrow("SELECT * FROM strategy.playbook_runs WHERE id = $1 FOR UPDATE", id)


async def set_run(
    connection: Connection, id: str, steps: Any, state: str, closed_at: datetime | None
) -> None:
    await connection.execute(
        "UPDATE strategy.playbook_runs SET steps = $2, state = $3, closed_at = $4 WHERE id = $1",
        id, steps, state, closed_at,
    )  # fmt: skip


async def add_decision(connection: Connection, row: tuple[Any, ...]) -> None:
    await connection.execute(
        "INSERT INTO strategy.decisions VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)", *row
    )


async def decision_of(connection: Connection, id: str) -> asyncpg.Record | None:
    return await connection.fetchrow("SELECT * FROM strategy.decisions WHERE id = $1", id)


async def add_annotation(connection: Connection, row: tuple[Any, ...]) -> None:
    await connection.execute("INSERT INTO strategy.annotations VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", *row)
