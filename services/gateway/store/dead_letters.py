"""Dead letters, alone and by their cause."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg


async def dead_letters(
    pool: asyncpg.Pool,
    source: str | None,
    stage: str | None,
    cause: str | None,
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Dead letters, newest first, beyond `after` = [recorded_at, id]."""
    recorded = datetime.fromisoformat(after[0]) if after else None
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select id, source, stage, error, code, cause, reason, field, value, rule, topic, partition, "offset", payload,
               headers, attempts, first_seen, last_seen, service, schema_ids, code_version, trace_id, receipt,
               recorded_at
          from read.dead_letters
         where ($1::text is null or source = $1) and ($2::text is null or stage = $2)
           and ($3::timestamptz is null or (recorded_at, id) < ($3, $4)) and ($6::text is null or cause = $6)
         order by recorded_at desc, id desc limit $5
        """,
        source, stage, recorded, after[1] if after else None, limit, cause,
    )  # fmt: skip
    return rows


async def groups(pool: asyncpg.Pool, source: str | None, limit: int) -> list[Mapping[str, Any]]:
    """By cause, the most frequent first; each with how many there are in all (`all_groups`), and letters in them."""
    rows: list[Mapping[str, Any]] = await pool.fetch(
        """
        select source, cause, min(stage) as stage, min(error) as error, min(code) as code, min(field) as field,
               min(rule) as rule, count(*) as letters, count(dead_letter) as driven, min(first_seen) as first_seen,
               max(last_seen) as last_seen,
               (array_agg(id order by last_seen desc, id))[:3] as examples,
               count(*) over () as all_groups, (sum(count(*)) over ())::bigint as all_letters
          from read.dead_letters left join read.redriven on dead_letter = id
         where $1::text is null or source = $1
         group by source, cause order by letters desc, source, cause limit $2
        """,
        source, limit,
    )  # fmt: skip
    return rows
