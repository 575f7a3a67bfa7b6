"""Incidents, the audit's chain, receipts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg


async def incidents(
    pool: asyncpg.Pool, state: str | None, source: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Incidents, newest first, beyond `after` = [opened_at, id]."""
    opened = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, source, rule, kind, severity, state, owner, assignee, cause, violations, assessed,
               opened_at, last_seen_at, resolved_at, summary, by, note, missing, recorded_at
          from read.incidents
         where ($1::text is null or state = $1) and ($2::text is null or source = $2)
           and ($3::timestamptz is null or (opened_at, id) < ($3, $4))
         order by opened_at desc, id desc limit $5
        """,
        state, source, opened, after[1] if after else None, limit,
    )  # fmt: skip
    return rows


async def parity(pool: asyncpg.Pool) -> list[Mapping[str, Any]]:
    """Of each KPI how far it was compared with plain SQL."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        "select kpi, kpi_version, checked_to, windows, differing, left_out, first_difference, note, checked_at"
        " from read.parity order by kpi"
    )
    return rows


async def audit(
    pool: asyncpg.Pool,
    actor: str | None,
    action: str | None,
    resource: str | None,
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Links of the chain, newest first, beyond `after` = [seq]. `resource` is a beginning."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select seq, id, at, actor, roles, action, resource, outcome, classifications, masked, details, trace_id,
               previous_hash, hash
          from read.audit
         where ($1::text is null or actor = $1) and ($2::text is null or action = $2)
           and ($3::text is null or starts_with(resource, $3)) and ($4::bigint is null or seq < $4)
         order by seq desc limit $5
        """,
        actor, action, resource, after[0] if after else None, limit,
    )  # fmt: skip
    return rows


async def receipts(
    pool: asyncpg.Pool, source: str | None, after: list[Any] | None, limit: int
) -> list[Mapping[str, Any]]:
    """Receipts, newest first, beyond `after` = [ordered_at, id]."""
    ordered = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, policy, store, source, before, rows_before, rows_deleted, rows_after, state, by, ordered_at, done_at,
               erasure, gone_by, note
          from read.receipts
         where ($1::text is null or source = $1) and ($2::timestamptz is null or (ordered_at, id) < ($2, $3))
         order by ordered_at desc, id desc limit $4
        """,
        source, ordered, after[1] if after else None, limit,
    )  # fmt: skip
    return rows
