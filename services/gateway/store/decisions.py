"""Decisions, annotations, objectives."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

_DECISION = """
    d.id, d.signal, d.kpi, d.title, d.choice, d.rationale, d.expected, d.as_of, d.evidence_hash, d.decided_by,
    d.decided_at, d.recorded_at, s.kpi as signal_kpi, s.series
"""
_FROM = "from read.decisions d left join read.signals s on s.id = d.signal"
"""With the series of the signal, which the maker's words may name."""


async def decisions(
    pool: asyncpg.Pool, kpis: Sequence[str], signal: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Decisions on `kpis`, newest first, beyond `after` = [decided_at, id]."""
    decided = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_DECISION} {_FROM}
         where (d.kpi is null or d.kpi = any($1::text[])) and ($2::text is null or d.signal = $2)
           and ($3::timestamptz is null or (d.decided_at, d.id) < ($3, $4))
         order by d.decided_at desc, d.id desc limit $5
        """,
        list(kpis), signal, decided, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def decision(pool: asyncpg.Pool, id: str) -> Mapping[str, Any] | None:
    """One decision with its evidence."""
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"select {_DECISION}, d.evidence {_FROM} where d.id = $1", id
    )
    return row


async def on_signals(pool: asyncpg.Pool, signals: Sequence[str]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"select {_DECISION} {_FROM} where d.signal = any($1::text[]) order by d.decided_at limit 100",
        list(signals),
    )
    return rows


async def annotations(
    pool: asyncpg.Pool, kpis: Sequence[str], after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Annotations on `kpis`, by what they speak of, newest first, beyond `after` = [at, id]."""
    at = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, kpi, series_key, at, until, text, author, recorded_at from read.annotations
         where kpi = any($1::text[]) and ($2::timestamptz is null or (at, id) < ($2, $3))
         order by at desc, id desc limit $4
        """,
        list(kpis), at, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def objectives(pool: asyncpg.Pool) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, title, owner, framework, perspective, progress, key_results, as_of, recorded_at
          from read.objectives order by id
        """
    )
    return rows
