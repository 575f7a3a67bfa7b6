"""Signals, their history, escalations, playbook runs and stamps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from services.gateway.store.kpis import OBSERVATION

_SIGNAL = """
    id, kpi, kpi_version, series_key, series, rule, kind, severity, change, verdict, first_window, last_window,
    event_at, windows, value, peak, low, high, revision, suspect_share, reason, detected_at, recorded_at
"""
_RUN = "r.id, r.playbook, r.signal, r.state, r.opened_at, r.closed_at, r.steps, s.kpi, s.series"
_MOST_WINDOWS = 500
"""A signal may stay open for months; its newest windows are shown."""


async def signals(
    pool: asyncpg.Pool,
    kpis: Sequence[str],
    state: str | None,
    verdict: str | None,
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Signals of `kpis`, newest first, beyond `after` = [detected_at, id]."""
    detected = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_SIGNAL} from read.signals
         where kpi = any($1::text[])
           and ($2::text is null or (change = 'closed') = ($2 = 'closed'))
           and ($3::text is null or verdict = $3)
           and ($4::timestamptz is null or (detected_at, id) < ($4, $5))
         order by detected_at desc, id desc limit $6
        """,
        list(kpis), state, verdict, detected, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def signal(pool: asyncpg.Pool, id: str) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"select {_SIGNAL} from read.signals where id = $1", id
    )
    return row


async def signal_as_of(pool: asyncpg.Pool, id: str, as_of: datetime) -> Mapping[str, Any] | None:
    """The signal as it was known at `as_of`; None if it was not yet."""
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"""
        select {_SIGNAL} from read.signal_history
         where id = $1 and recorded_at <= $2 order by "offset" desc limit 1
        """,
        id, as_of,
    )  # fmt: skip
    return row


async def history(pool: asyncpg.Pool, id: str) -> list[Mapping[str, Any]]:
    """Every change, oldest first."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f'select {_SIGNAL} from read.signal_history where id = $1 order by "offset"', id
    )
    return rows


async def windows_of(
    pool: asyncpg.Pool, signal: Mapping[str, Any], as_of: datetime
) -> list[Mapping[str, Any]]:
    """The observations of the signal's windows as known at `as_of`, by window; the newest if there are many."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select * from (
            select distinct on (window_start) {OBSERVATION} from read.observations
             where kpi = $1 and kpi_version = $2 and series_key = $3
               and window_start between $4 and $5 and recorded_at <= $6
             order by window_start desc, revision desc limit {_MOST_WINDOWS}
        ) known order by window_start
        """,
        signal["kpi"], signal["kpi_version"], signal["series_key"], signal["first_window"],
        signal["last_window"], as_of,
    )  # fmt: skip
    return rows


async def change_at(pool: asyncpg.Pool, id: str, recorded_at: datetime) -> Mapping[str, Any] | None:
    """One change of a signal, by when it was recorded; the last of that moment."""
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"""
        select {_SIGNAL} from read.signal_history
         where id = $1 and recorded_at = $2 order by "offset" desc limit 1
        """,
        id, recorded_at,
    )  # fmt: skip
    return row


async def revisions_named(
    pool: asyncpg.Pool, signal: Mapping[str, Any], names: Sequence[tuple[datetime, int]]
) -> list[Mapping[str, Any]]:
    """Observations of the signal's series by window start and revision; those that there are."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {OBSERVATION} from read.observations
          join unnest($4::timestamptz[], $5::int[]) as named(window_start, revision) using (window_start, revision)
         where kpi = $1 and kpi_version = $2 and series_key = $3
        """,
        signal["kpi"], signal["kpi_version"], signal["series_key"], [name[0] for name in names],
        [name[1] for name in names],
    )  # fmt: skip
    return rows


async def resting_on(pool: asyncpg.Pool, observation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Signals that speak of the observation's window."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_SIGNAL} from read.signals
         where kpi = $1 and kpi_version = $2 and series_key = $3 and $4 between first_window and last_window
         order by detected_at limit 100
        """,
        observation["kpi"], observation["kpi_version"], observation["series_key"], observation["window_start"],
    )  # fmt: skip
    return rows


async def loops(pool: asyncpg.Pool, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Signal → its stamps."""
    rows = await pool.fetch(
        """
        select signal, owner, event_at, detected_at, notified_at, acknowledged_at, decided_at,
               dispatched_at, executed_at, effect_seen_at
          from read.loop where signal = any($1::text[])
        """,
        list(ids),
    )
    return {row["signal"]: row for row in rows}


async def escalations(pool: asyncpg.Pool, signal: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, team, step, state, next_at, started_at, acknowledged_at, acknowledged_by, stopped_at
          from read.escalations where signal = $1 order by started_at
        """,
        signal,
    )
    return rows


async def playbook_runs(
    pool: asyncpg.Pool, kpis: Sequence[str], state: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Runs on signals of `kpis`, with their KPI and series, newest first, beyond `after` = [opened_at, id]."""
    opened = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_RUN} from read.playbook_runs r join read.signals s on s.id = r.signal
         where s.kpi = any($1::text[]) and ($2::text is null or r.state = $2)
           and ($3::timestamptz is null or (r.opened_at, r.id) < ($3, $4))
         order by r.opened_at desc, r.id desc limit $5
        """,
        list(kpis), state, opened, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def playbook_runs_of(pool: asyncpg.Pool, signal: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_RUN} from read.playbook_runs r join read.signals s on s.id = r.signal
         where r.signal = $1 order by r.opened_at, r.id
        """,
        signal,
    )
    return rows


async def playbook_run(pool: asyncpg.Pool, id: str) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"select {_RUN} from read.playbook_runs r join read.signals s on s.id = r.signal where r.id = $1", id
    )
    return row


async def decisions_on(pool: asyncpg.Pool, signal: str) -> list[str]:
    rows = await pool.fetch("select id from read.decisions where signal = $1 order by decided_at", signal)
    return [row["id"] for row in rows]


async def changes_held(
    pool: asyncpg.Pool, facts: Sequence[tuple[str, datetime]]
) -> set[tuple[str, datetime]]:
    """Which changes (signal, recorded_at) the archive holds already."""
    rows = await pool.fetch(
        """
        select h.id, h.recorded_at from unnest($1::text[], $2::timestamptz[]) as wanted(id, recorded_at)
          join read.signal_history h on h.id = wanted.id and h.recorded_at = wanted.recorded_at
        """,
        [fact[0] for fact in facts], [fact[1] for fact in facts],
    )  # fmt: skip
    return {(row["id"], row["recorded_at"]) for row in rows}


async def kpi_and_series(pool: asyncpg.Pool, id: str | None) -> dict[str, Any]:
    """The KPI and series of a signal, for facts that name only the signal; nulls where there is none."""
    row = await pool.fetchrow("select kpi, series from read.signals where id = $1", id) if id else None
    return dict(row) if row else {"kpi": None, "series": None}
