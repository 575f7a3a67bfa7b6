"""Decisions, annotations, objectives."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

_DECISION = """
    id::text as id, signal::text as signal, kpi, title, choice, rationale, expected, as_of, evidence_hash, decided_by,
    decided_at, recorded_at
"""


async def decisions(
    pool: asyncpg.Pool, kpis: Sequence[str], signal: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Decisions on `kpis`, newest first, beyond `after` = [decided_at, id]."""
    decided = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_DECISION} from read.decisions
         where (kpi is null or kpi = any($1::text[])) and ($2::text is null or signal::text = $2)
           and ($3::timestamptz is null or (decided_at, id::text) < ($3, $4))
         order by decided_at desc, id::text desc limit $5
        """,
        list(kpis), signal, decided, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def decision(pool: asyncpg.Pool, id: str) -> Mapping[str, Any] | None:
    """One decision with its evidence."""
    row: Mapping[str, Any] | None = await pool.fetchrow(
        f"select {_DECISION}, evidence from read.decisions where id::text = $1", id
    )
    return row


async def on_signals(pool: asyncpg.Pool, signals: Sequence[str]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = await pool.fetch(
        f"""
        select {_DECISION} from read.decisions
         where signal::text = any($1::text[]) order by decided_at limit 100
        """,
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
        select id::text as id, kpi, series_key, at, until, text, author, recorded_at from read.annotations
         where kpi = any($1::text[]) and ($2::timestamptz is null or (at, id::text) < ($2, $3))
         order by at desc, id::text desc limit $4
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
