"""The SQL of the archive. Every function runs on a connection whose transaction also moves the offset."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from libs.common.stream.stored import Connection

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
    """(source, minute, accepted, published, duplicate, dead-lettered)"""
    await connection.executemany(
        "INSERT INTO archive.ledger VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source, minute) DO UPDATE SET"
        " accepted = ledger.accepted + excluded.accepted, published = ledger.published + excluded.published,"
        " duplicate = ledger.duplicate + excluded.duplicate,"
        " dead_lettered = ledger.dead_lettered + excluded.dead_lettered",
        rows,
    )


async def add_dead_letters(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same letter again counts an attempt and the time."""
    places = ", ".join(f"${number}" for number in range(1, 21))
    await connection.executemany(
        f"INSERT INTO archive.dead_letters VALUES ({places}) ON CONFLICT (id) DO UPDATE SET"
        " attempts = greatest(dead_letters.attempts, excluded.attempts), last_seen = excluded.last_seen",
        rows,
    )


async def add_ready(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(kpi, version, merge partition, merge partitions, recorded at)"""
    await connection.executemany(
        "INSERT INTO archive.ready VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", rows
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
