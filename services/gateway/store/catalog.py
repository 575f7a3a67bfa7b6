"""Every version of every definition."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg


async def history(pool: asyncpg.Pool, kind: str, id: str) -> list[Mapping[str, Any]]:
    """Versions, newest first."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select kind, id, version, definition, applied_at, applied_by, removed from read.catalog
         where kind = $1 and id = $2 order by version desc limit 1000
        """,
        kind, id,
    )  # fmt: skip
    return rows


async def version(pool: asyncpg.Pool, kind: str, id: str, number: int) -> Mapping[str, Any] | None:
    """One version; None if there is none, or it is a removal."""
    row: Mapping[str, Any] | None = await pool.fetchrow(
        """
        select definition, applied_at, applied_by from read.catalog
         where kind = $1 and id = $2 and version = $3 and not removed
        """,
        kind, id, number,
    )  # fmt: skip
    return row


async def versions_at(pool: asyncpg.Pool, kind: str, id: str, at: datetime) -> list[Mapping[str, Any]]:
    """The versions that were applied by a moment, newest first, removals left out; at least the first one."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select version, definition, schema_id, applied_at from read.catalog
         where kind = $1 and id = $2 and not removed order by version desc
        """,
        kind, id,
    )  # fmt: skip
    return [row for row in rows if row["applied_at"] <= at] or rows[-1:]
