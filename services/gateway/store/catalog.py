"""Every version of every definition."""

from collections.abc import Mapping
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
    row: Mapping[str, Any] | None = await pool.fetchrow(
        "select definition, applied_at, applied_by from read.catalog where kind = $1 and id = $2 and version = $3",
        kind, id, number,
    )  # fmt: skip
    return row
