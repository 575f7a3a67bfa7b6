"""The SQL of the archive. Every function runs on a connection whose transaction also moves the offset."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg

from libs.common.events import ErasureSubject
from libs.common.stream.stored import Connection
from services.archive.core.letters import mentions

EVENT_COLUMNS = (
    "source", "partition", "offset", "event_time", "event_id", "key", "schema_id", "receipt", "ingested_at",
    "recorded_at", "trace_id", "data",
)  # fmt: skip
OBSERVATION_COLUMNS = (
    "kpi", "kpi_version", "series_key", "series", "window_start", "window_end", "revision", "status", "value", "count",
    "watermark", "completeness", "assessed", "suspect", "worst", "offsets", "schema_ids", "traceparent", "recorded_at",
    "measures",
)  # fmt: skip
EXPECTATION_COLUMNS = (
    "kpi", "kpi_version", "series_key", "rule", "window_start", "window_end", "low", "middle", "high", "recorded_at",
)  # fmt: skip
LATE_COLUMNS = (
    "kpi", "kpi_version", "source", "series_key", "window_start", "partition", "first", "last", "count", "recorded_at",
    "closed_to",
)  # fmt: skip
BACKFILL_COLUMNS = (
    "id", "kpi", "kpi_version", "start", "stop", "state", "dry_run", "reason", "by", "note", "ordered_at", "started_at",
    "ended_at", "closed_to", "done_to", "ends", "events", "windows", "new", "revised", "retracted", "left", "recorded_at",
)  # fmt: skip
SIGNAL_COLUMNS = (
    "kpi", "kpi_version", "series_key", "series", "rule", "kind", "severity", "change", "verdict", "first_window",
    "last_window", "event_at", "windows", "value", "peak", "low", "high", "revision", "suspect_share", "reason",
    "detected_at", "recorded_at",
)  # fmt: skip


async def copy(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Binary COPY."""
    await connection.copy_records_to_table(
        table, schema_name="archive", columns=list(columns), records=list(rows)
    )


async def add_landed(connection: Connection, source: str, minutes: Mapping[datetime, int]) -> None:
    await connection.executemany(
        "INSERT INTO archive.landed VALUES ($1, $2, $3)"
        " ON CONFLICT (source, minute) DO UPDATE SET rows = landed.rows + excluded.rows",
        [(source, minute, count) for minute, count in sorted(minutes.items())],
    )


async def note_end(connection: Connection, topic: str, partition: int, end: int) -> None:
    """How far the topic was known to go when this batch was read."""
    await connection.execute(
        'INSERT INTO archive.ends VALUES ($1, $2, $3) ON CONFLICT (topic, partition) DO UPDATE SET "end" = $3',
        topic, partition, end,
    )  # fmt: skip


async def note_read(pool: asyncpg.Pool, topic: str, partition: int, next_offset: int) -> None:
    """Nothing is left of the topic behind its last record: it goes no further than it is archived."""
    await pool.execute(
        'UPDATE archive.ends SET "end" = $3 WHERE topic = $1 AND partition = $2 AND "end" > $3',
        topic, partition, next_offset,
    )  # fmt: skip


async def upsert_references(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    await connection.executemany(
        "INSERT INTO archive.reference_rows VALUES ($1, $2, $3, $4, $5, $6)"
        ' ON CONFLICT (source, key) DO UPDATE SET "offset" = $3, schema_id = $4, recorded_at = $5, data = $6',
        rows,
    )


async def delete_references(connection: Connection, source: str, keys: Sequence[str]) -> None:
    await connection.execute(
        "DELETE FROM archive.reference_rows WHERE source = $1 AND key = ANY($2)", source, list(keys)
    )


async def add_ledger(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(source, minute, accepted, published, duplicate, dead-lettered, parked, erased)"""
    await connection.executemany(
        "INSERT INTO archive.ledger VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (source, minute) DO UPDATE SET"
        " accepted = ledger.accepted + excluded.accepted, published = ledger.published + excluded.published,"
        " duplicate = ledger.duplicate + excluded.duplicate,"
        " dead_lettered = ledger.dead_lettered + excluded.dead_lettered, parked = ledger.parked + excluded.parked,"
        " erased = ledger.erased + excluded.erased",
        rows,
    )


async def add_dead_letters(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same letter again counts an attempt and the time."""
    places = ", ".join(f"${number}" for number in range(1, 25))
    await connection.executemany(
        f"INSERT INTO archive.dead_letters VALUES ({places}) ON CONFLICT (id) DO UPDATE SET"
        " attempts = greatest(dead_letters.attempts, excluded.attempts), last_seen = excluded.last_seen",
        rows,
    )


async def erased_letters(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Of these dead letters those that were erased: one that is told of again stays so."""
    rows = await connection.fetch("SELECT id FROM archive.erased_letters WHERE id = ANY($1)", list(ids))
    return {row["id"] for row in rows}


async def add_ready(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(kpi, version, merge partition, merge partitions, recorded at)"""
    await connection.executemany(
        "INSERT INTO archive.ready VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", rows
    )


async def put_backfills(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """In the order of BACKFILL_COLUMNS, the newest of each last."""
    names = ", ".join(f'"{name}"' for name in BACKFILL_COLUMNS)
    places = ", ".join(f"${number}" for number in range(1, len(BACKFILL_COLUMNS) + 1))
    update = ", ".join(f'"{name}" = excluded."{name}"' for name in BACKFILL_COLUMNS[1:])
    await connection.executemany(
        f"INSERT INTO archive.backfills ({names}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {update}",
        rows,
    )


async def upsert_latest(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """The newest window's newest revision per series; `rows` in the order of OBSERVATION_COLUMNS."""
    names = ", ".join(OBSERVATION_COLUMNS)
    places = ", ".join(f"${number}" for number in range(1, len(OBSERVATION_COLUMNS) + 1))
    update = ", ".join(f"{name} = excluded.{name}" for name in OBSERVATION_COLUMNS)
    await connection.executemany(
        f"INSERT INTO archive.latest ({names}) VALUES ({places})"
        f" ON CONFLICT (kpi, kpi_version, series_key) DO UPDATE SET {update}"
        " WHERE (excluded.window_start, excluded.revision) > (latest.window_start, latest.revision)",
        rows,
    )


async def forget_latest(connection: Connection, kpi: str, version: int, keep: timedelta) -> None:
    """Series whose newest window ended longer than `keep` before the KPI's newest; their history stays."""
    await connection.execute(
        "DELETE FROM archive.latest WHERE kpi = $1 AND kpi_version = $2 AND window_end <"
        " (SELECT max(window_end) FROM archive.latest WHERE kpi = $1 AND kpi_version = $2) - $3::interval",
        kpi, version, keep,
    )  # fmt: skip


async def withdraw_latest(
    connection: Connection, retracted: Sequence[tuple[str, int, str, datetime]]
) -> None:
    """Where the latest value was withdrawn, the newest that still holds takes its place.

    `retracted`: (kpi, version, series key, window start); the withdrawals themselves are stored already.
    """
    names = ", ".join(OBSERVATION_COLUMNS)
    for kpi, version, series_key, start in retracted:
        gone = await connection.execute(
            "DELETE FROM archive.latest"
            " WHERE kpi = $1 AND kpi_version = $2 AND series_key = $3 AND window_start = $4",
            kpi, version, series_key, start,
        )  # fmt: skip
        if gone == "DELETE 0":
            continue
        await connection.execute(
            f"INSERT INTO archive.latest ({names}) SELECT {names} FROM ("
            f" SELECT DISTINCT ON (window_start) {names} FROM archive.observations"
            "  WHERE kpi = $1 AND kpi_version = $2 AND series_key = $3"
            "  ORDER BY window_start DESC, revision DESC LIMIT 50"
            ") newest WHERE status <> 'retracted' ORDER BY window_start DESC LIMIT 1 ON CONFLICT DO NOTHING",
            kpi, version, series_key,
        )  # fmt: skip


async def add_signals(
    connection: Connection, rows: Sequence[tuple[int, str, dict[str, Any], tuple[Any, ...]]]
) -> None:
    """(offset, id, the whole event, values of SIGNAL_COLUMNS) in the order of the topic."""
    await connection.executemany(
        "INSERT INTO archive.signal_history VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        [(offset, id, body["change"], values[-1], body) for offset, id, body, values in rows],
    )
    names = ", ".join(SIGNAL_COLUMNS)
    places = ", ".join(f"${number}" for number in range(3, len(SIGNAL_COLUMNS) + 3))
    update = ", ".join(f"{name} = excluded.{name}" for name in SIGNAL_COLUMNS)
    await connection.executemany(
        f'INSERT INTO archive.signals (id, "offset", {names}) VALUES ($1, $2, {places})'
        f' ON CONFLICT (id) DO UPDATE SET "offset" = excluded."offset", {update}',
        [(id, offset, *values) for offset, id, _, values in rows],
    )


async def dispose(
    connection: Connection, id: str, source: str, before: datetime, now: datetime
) -> tuple[int, int, int]:
    """Delete a source's events recorded before `before`, once per order: rows before, deleted, after."""
    done = await connection.fetchrow(
        "SELECT rows_before, rows_deleted, rows_after FROM archive.disposals WHERE id = $1", id
    )
    if done is not None:
        return done["rows_before"], done["rows_deleted"], done["rows_after"]
    rows = int(
        await connection.fetchval("SELECT count(*) FROM archive.events WHERE source = $1", source) or 0
    )
    gone = await connection.execute(
        "DELETE FROM archive.events WHERE source = $1 AND recorded_at < $2", source, before
    )
    deleted = int(gone.rpartition(" ")[2])
    await connection.execute(
        "INSERT INTO archive.disposals VALUES ($1, $2, $3, $4, $5, $6)",
        id, source, rows, deleted, rows - deleted, now,
    )  # fmt: skip
    return rows, deleted, rows - deleted


# --- erasure of one subject --------------------------------------------------------------------------------


async def add_erasure(connection: Connection, id: str, body: dict[str, Any]) -> None:
    await connection.execute(
        "INSERT INTO archive.erasures (id, body) VALUES ($1, $2) ON CONFLICT DO NOTHING", id, body
    )


async def note_answer(connection: Connection, erasure: str, name: str) -> None:
    """A store of another service is rid of the subject."""
    await connection.execute(
        "INSERT INTO archive.erasure_answers VALUES ($1, $2) ON CONFLICT DO NOTHING", erasure, name
    )


async def open_erasures(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT id FROM archive.erasures WHERE NOT told ORDER BY id")
    return [row["id"] for row in rows]


async def lock_erasure(connection: Connection, id: str) -> asyncpg.Record | None:
    """The erasure, for this transaction alone; None if another has it, or it is over."""
    return await connection.fetchrow(
        "SELECT body, ends, results FROM archive.erasures WHERE id = $1 AND NOT told FOR UPDATE SKIP LOCKED",
        id,
    )


async def answers(connection: Connection, erasure: str) -> set[str]:
    rows = await connection.fetch("SELECT store FROM archive.erasure_answers WHERE erasure = $1", erasure)
    return {row["store"] for row in rows}


async def note_ends(connection: Connection, id: str, ends: Mapping[str, int]) -> None:
    await connection.execute("UPDATE archive.erasures SET ends = $2 WHERE id = $1", id, dict(ends))


async def offsets(connection: Connection) -> dict[str, int]:
    """`topic/partition` → next offset."""
    rows = await connection.fetch("SELECT topic, partition, next_offset FROM archive.offsets")
    return {f"{row['topic']}/{row['partition']}": row["next_offset"] for row in rows}


async def note_told(connection: Connection, id: str) -> None:
    await connection.execute("UPDATE archive.erasures SET told = true WHERE id = $1", id)


_SUBJECT = "unnest($1::text[], $2::text[], $3::text[]) AS n(kpi, dimension, value)"
_IN_KEY = "position(',' || n.dimension || '=' || n.value || ',' in ',' || t.series_key || ',') > 0"
_OF_THEN = (
    "(jsonb_array_length(t.offsets) = 0 OR EXISTS (SELECT FROM jsonb_to_recordset(t.offsets)"
    " AS r(partition int, first bigint, last bigint)"
    "  WHERE r.first < coalesce(($4::jsonb->>r.partition::text)::bigint, 0)"
    "   OR EXISTS (SELECT FROM archive.erased_events e WHERE e.source = $5 AND e.partition = r.partition"
    '    AND e."offset" BETWEEN r.first AND r.last AND e.erasure = $6)))'
)
"""A value that is made of events from after the erasure alone, none of which was erased with it, is a new fact."""
_BY_SERIES: dict[str, str] = {
    "observations": f"t.kpi = n.kpi AND t.series->>n.dimension = n.value AND {_OF_THEN}",
    "latest": f"t.kpi = n.kpi AND t.series->>n.dimension = n.value AND {_OF_THEN}",
    "expectations": f"t.kpi = n.kpi AND {_IN_KEY} AND $4::jsonb IS NOT NULL",
    "late_events": f"t.kpi = n.kpi AND {_IN_KEY} AND $4::jsonb IS NOT NULL",
    "signals": "t.kpi = n.kpi AND t.series->>n.dimension = n.value AND $4::jsonb IS NOT NULL",
    "signal_history": "t.body->>'kpi' = n.kpi AND t.body->'series'->>n.dimension = n.value AND $4::jsonb IS NOT NULL",
}
_EVENTS = (
    'source = $1 AND data->>$2 = $3 AND ("offset" < coalesce(($4::jsonb->>partition::text)::bigint, 0)'
    " OR receipt IS NOT NULL AND ingested_at <= $5)"
)
"""Of what ingest accepted before the order some may have been published later: it was parked."""


async def erase(connection: Connection, subject: ErasureSubject) -> dict[str, list[int]]:
    """Delete what names the subject, and the subject's own name; store → rows that named it, deleted, after."""
    found: dict[str, list[int]] = {}
    of_events = (subject.source, subject.field, subject.value, subject.upto, subject.ordered_at)
    kept = await connection.execute(
        f"WITH gone AS (DELETE FROM archive.events WHERE {_EVENTS} RETURNING partition, \"offset\", event_time)"
        " INSERT INTO archive.erased_events SELECT $1, partition, \"offset\", event_time, $6 FROM gone"
        " ON CONFLICT DO NOTHING",
        *of_events, subject.id,
    )  # fmt: skip
    left = await connection.fetchval(f"SELECT count(*) FROM archive.events WHERE {_EVENTS}", *of_events)
    found["archive.events"] = _counts(kept, left)
    letters = await _letters(connection, subject)
    gone = await connection.execute(
        "WITH gone AS (DELETE FROM archive.dead_letters WHERE id = ANY($1) RETURNING id, source, minute)"
        " INSERT INTO archive.erased_letters SELECT id, source, minute, $2 FROM gone",
        letters, subject.id,
    )  # fmt: skip
    found["archive.dead_letters"] = _counts(gone, len(await _letters(connection, subject)))
    for table, condition in _BY_SERIES.items():
        # In the canonical name of a series values are percent-encoded.
        values = [
            quote(each.value, safe=" ") if "series_key" in condition else each.value
            for each in subject.series
        ]
        given = (
            [each.kpi for each in subject.series],
            [each.dimension for each in subject.series],
            values,
            subject.upto,
            *((subject.source, subject.id) if _OF_THEN in condition else ()),
        )
        gone = await connection.execute(
            f"DELETE FROM archive.{table} t USING {_SUBJECT} WHERE {condition}", *given
        )
        left = await connection.fetchval(
            f"SELECT count(*) FROM archive.{table} t, {_SUBJECT} WHERE {condition}", *given
        )
        found[f"archive.{table}"] = _counts(gone, left)
    results = {"rows": found, "source": subject.source, "ordered_at": subject.ordered_at.isoformat()}
    await connection.execute(
        "UPDATE archive.erasures SET body = NULL, results = $2 WHERE id = $1", subject.id, results
    )
    return found


async def _letters(connection: Connection, subject: ErasureSubject) -> list[str]:
    """Ids of the source's dead letters from before the order that name the subject."""
    query = (
        "SELECT id, payload, error, reason, value, headers::text AS headers FROM archive.dead_letters"
        " WHERE source = $1 AND first_seen <= $2"
    )
    return [
        row["id"]
        async for row in connection.cursor(query, subject.source, subject.ordered_at, prefetch=1_000)
        if mentions(
            row["payload"] or b"", (row["error"], row["reason"], row["value"], row["headers"]), subject.field,
            subject.value,
        )
    ]  # fmt: skip


def _counts(done: str, left: int | None) -> list[int]:
    """Rows before, deleted, after; `done`: the command's tag."""
    deleted = int(done.rpartition(" ")[2])
    return [deleted + (left or 0), deleted, left or 0]
