"""The SQL of ingest: pull cursors, orders of re-drive, what was driven again, what is stored of a source, and the
vault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from libs.common.catalog import Source
from libs.common.migrate import READER
from services.ingest.core.redrives import Letter, Order, State, Verdict
from services.ingest.core.replay import Stored


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a file was taken."""

    tag: str = ""
    taken: int = 0
    head: str = ""
    records: int = 0
    done: bool = False


Connection = asyncpg.Pool | asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
UNREACHED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What is raised while the database is away."""


async def standing(pool: asyncpg.Pool, source: str, kind: str) -> tuple[str | None, dict[str, Any] | None]:
    """The cursor and what is kept with it; none if the source was pulled in another way before."""
    row = await pool.fetchrow("SELECT kind, cursor, state FROM ingest.cursors WHERE source = $1", source)
    if row is None or row["kind"] != kind:
        return None, None
    return row["cursor"], row["state"]


async def set_standing(
    pool: asyncpg.Pool,
    source: str,
    kind: str,
    cursor: str | None,
    state: dict[str, Any] | None,
    now: datetime,
) -> None:
    """After the records up to the cursor were accepted."""
    await pool.execute(
        "INSERT INTO ingest.cursors (source, kind, cursor, state, polled_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (source) DO UPDATE SET kind = $2, cursor = $3, state = $4, polled_at = $5, error = NULL",
        source, kind, cursor, state, now,
    )  # fmt: skip


async def note_error(pool: asyncpg.Pool, source: str, error: str, now: datetime) -> None:
    await pool.execute(
        "INSERT INTO ingest.cursors (source, polled_at, error) VALUES ($1, $2, $3)"
        " ON CONFLICT (source) DO UPDATE SET polled_at = $2, error = $3",
        source, now, error,
    )  # fmt: skip


async def pull_state(pool: asyncpg.Pool, source: str) -> asyncpg.Record | None:
    return await pool.fetchrow(
        "SELECT kind, cursor, polled_at, error, state -> 'overlap' AS overlap FROM ingest.cursors WHERE source = $1",
        source,
    )


async def reached(pool: asyncpg.Pool, view: str, topic: str) -> dict[int, int]:
    """Partition → the offset up to which the reader of a topic behind a view (`read.archived`, `read.assessed`) has it;
    nothing if there is no such reader."""
    try:
        rows = await pool.fetch(f"SELECT partition, next_offset FROM {view} WHERE topic = $1", topic)
    except asyncpg.UndefinedTableError:
        return {}
    return {row["partition"]: row["next_offset"] for row in rows}


async def seen_files(pool: asyncpg.Pool, source: str) -> dict[str, Seen]:
    """By path."""
    rows = await pool.fetch(
        "SELECT path, tag, taken, head, records, done FROM ingest.files WHERE source = $1", source
    )
    return {row["path"]: Seen(*(row[name] for name in Seen.__dataclass_fields__)) for row in rows}


async def note_file(pool: asyncpg.Pool, source: str, path: str, seen: Seen, now: datetime) -> None:
    """After the records up to there were accepted."""
    await pool.execute(
        "INSERT INTO ingest.files (source, path, tag, taken, head, records, done, seen_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (source, path) DO UPDATE"
        " SET tag = $3, taken = $4, head = $5, records = $6, done = $7, seen_at = $8",
        source, path, seen.tag, seen.taken, seen.head, seen.records, seen.done, now,
    )  # fmt: skip


SHOWN = 200
"""Re-drives in a list."""
_ORDER = ", ".join(Order.__struct_fields__)


async def add_redrive(connection: Connection, order: Order) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(Order.__struct_fields__) + 1))
    values = (getattr(order, name) for name in Order.__struct_fields__)
    await connection.execute(f"INSERT INTO ingest.redrives ({_ORDER}) VALUES ({places})", *values)


async def choose_letters(connection: Connection, order: Order, ids: Sequence[str] | None, limit: int) -> int:
    """The order's letters, in the order of their arrival; how many they are."""
    done = await connection.execute(
        "INSERT INTO ingest.redrive_letters (redrive, place, letter)"
        " SELECT $1, row_number() OVER (ORDER BY first_seen, id), id FROM read.dead_letters"
        " WHERE source = $2 AND ($3::text IS NULL OR cause = $3) AND ($4::text[] IS NULL OR id = ANY($4)) LIMIT $5",
        order.id, order.source, order.cause, None if ids is None else list(ids), limit,
    )  # fmt: skip
    return int(done.split()[-1])


async def unchosen(connection: Connection, id: str, ids: Sequence[str]) -> list[str]:
    """Those of the ids that are no letters of the order."""
    rows = await connection.fetch("SELECT letter FROM ingest.redrive_letters WHERE redrive = $1", id)
    chosen = {row["letter"] for row in rows}
    return [each for each in dict.fromkeys(ids) if each not in chosen]


async def redrive(pool: asyncpg.Pool, id: str) -> Order | None:
    row = await pool.fetchrow(f"SELECT {_ORDER} FROM ingest.redrives WHERE id = $1", id)
    return None if row is None else Order(**row)


async def redrives_in(pool: asyncpg.Pool, states: Sequence[State]) -> list[str]:
    """Their ids, the oldest first."""
    query = "SELECT id FROM ingest.redrives WHERE state = ANY($1) ORDER BY ordered_at, id"
    return [row["id"] for row in await pool.fetch(query, list(states))]


async def newest_redrives(pool: asyncpg.Pool) -> list[Order]:
    query = f"SELECT {_ORDER} FROM ingest.redrives ORDER BY ordered_at DESC, id LIMIT {SHOWN}"
    return [Order(**row) for row in await pool.fetch(query)]


async def set_redrive(pool: asyncpg.Pool, id: str, state: State, note: str, now: datetime) -> None:
    await pool.execute(
        "UPDATE ingest.redrives SET state = $2, note = $3, changed_at = $4 WHERE id = $1", id, state, note, now,
    )  # fmt: skip


async def set_undoing(pool: asyncpg.Pool, id: str, by: str, now: datetime) -> None:
    await pool.execute(
        "UPDATE ingest.redrives SET state = 'undoing', note = '', undone_by = $2, changed_at = $3 WHERE id = $1",
        id, by, now,
    )  # fmt: skip


async def receipts_of(pool: asyncpg.Pool, id: str) -> list[str]:
    """Those under which an order has published letters."""
    rows = await pool.fetch(
        "SELECT DISTINCT receipt FROM ingest.redrive_letters l JOIN ingest.redriven ON dead_letter = letter"
        " WHERE redrive = $1 AND outcome = 'published' ORDER BY receipt",
        id,
    )
    return [row["receipt"] for row in rows]


async def note_undone(pool: asyncpg.Pool, id: str, note: str, now: datetime) -> None:
    """What the order has published is a dead letter again, which another may drive."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM ingest.redriven USING ingest.redrive_letters"
            " WHERE dead_letter = letter AND redrive = $1 AND outcome = 'published'",
            id,
        )
        await connection.execute(
            "UPDATE ingest.redrive_letters SET outcome = 'undone' WHERE redrive = $1 AND outcome = 'published'",
            id,
        )
        await connection.execute(
            "UPDATE ingest.redrives SET state = 'undone', note = $2, changed_at = $3 WHERE id = $1",
            id, note, now,
        )  # fmt: skip


async def redrive_counts(pool: asyncpg.Pool, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each order: its letters, those that were checked and those that pass, were driven, and what became of them."""
    rows = await pool.fetch(
        "SELECT redrive, count(*) AS letters, count(*) FILTER (WHERE checked) AS checked,"
        " count(*) FILTER (WHERE checked AND outcome IS NULL) AS waiting, count(driven_at) AS driven,"
        " count(*) FILTER (WHERE outcome = 'published') AS published,"
        " count(*) FILTER (WHERE outcome = 'duplicate') AS duplicate,"
        " count(*) FILTER (WHERE outcome = 'fails') AS failing, count(*) FILTER (WHERE outcome = 'before') AS before,"
        " count(*) FILTER (WHERE outcome = 'exhausted') AS exhausted, count(*) FILTER (WHERE outcome = 'gone') AS gone,"
        " count(*) FILTER (WHERE outcome = 'undone') AS undone"
        " FROM ingest.redrive_letters WHERE redrive = ANY($1) GROUP BY redrive",
        list(ids),
    )
    return {row["redrive"]: {name: row[name] for name in list(row.keys())[1:]} for row in rows}


async def redrive_failures(pool: asyncpg.Pool, id: str) -> list[dict[str, Any]]:
    """Why letters of an order are not driven, the most frequent first."""
    rows = await pool.fetch(
        "SELECT code, field, rule, count(*) AS letters FROM ingest.redrive_letters"
        " WHERE redrive = $1 AND code IS NOT NULL GROUP BY code, field, rule ORDER BY letters DESC, rule LIMIT 50",
        id,
    )
    return [dict(row) for row in rows]


async def driven(pool: asyncpg.Pool, id: str) -> int:
    """How many letters of an order were driven."""
    query = "SELECT count(driven_at) FROM ingest.redrive_letters WHERE redrive = $1"
    return int(await pool.fetchval(query, id))


async def next_letters(
    pool: asyncpg.Pool, id: str, limit: int, size: int, *, checked: bool
) -> dict[int, str]:
    """The next letters to check, or of those that are checked to drive, by place: one at least, up to `limit`, and no
    further than those before it have `size` bytes."""
    rows = await pool.fetch(
        "WITH next AS (SELECT place, letter FROM ingest.redrive_letters"
        "  WHERE redrive = $1 AND checked = $2 AND outcome IS NULL ORDER BY place LIMIT $3),"
        " sized AS (SELECT place, letter, coalesce(octet_length(d.payload), 0) AS size"
        "  FROM next LEFT JOIN read.dead_letters d ON d.id = next.letter),"
        " summed AS (SELECT place, letter, sum(size) OVER (ORDER BY place) - size AS before FROM sized)"
        " SELECT place, letter FROM summed WHERE before < $4 ORDER BY place",
        id, checked, limit, size,
    )  # fmt: skip
    return {row["place"]: row["letter"] for row in rows}


async def letters(pool: asyncpg.Pool, ids: Sequence[str]) -> dict[str, Letter]:
    """Those of the dead letters that are still kept."""
    rows = await pool.fetch(
        "SELECT id, payload, headers, topic FROM read.dead_letters WHERE id = ANY($1)", list(ids)
    )
    return {
        row["id"]: Letter(row["id"], row["payload"] or b"", row["headers"] or {}, row["topic"])
        for row in rows
    }


async def newest_records(pool: asyncpg.Pool, source: Source, most: int) -> list[Stored]:
    """What is stored of a source: its newest events by their time, or the rows of a reference last changed."""
    view, newest = (
        ("read.reference_rows", "recorded_at") if source.reference else ("read.events", "event_time")
    )
    query = f"SELECT schema_id, data::text FROM {view} WHERE source = $1 ORDER BY {newest} DESC LIMIT $2"
    return [
        Stored(row["schema_id"], row["data"].encode()) for row in await _read(pool, query, source.id, most)
    ]


async def newest_letters(pool: asyncpg.Pool, source: str, most: int) -> list[Letter]:
    """The dead letters of a source that were never published, the newest first; those behind a topic are left out."""
    rows = await _read(
        pool,
        "SELECT id, payload, headers, topic FROM read.dead_letters d WHERE source = $1 AND topic IS NULL"
        " AND NOT EXISTS (SELECT FROM read.redriven WHERE dead_letter = d.id)"
        " ORDER BY minute DESC, id LIMIT $2",
        source,
        most,
    )
    return [Letter(row["id"], row["payload"] or b"", row["headers"] or {}, row["topic"]) for row in rows]


async def _read(pool: asyncpg.Pool, query: str, *values: Any) -> list[asyncpg.Record]:
    """What a reader of the views may see, and no more."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(f'SET LOCAL ROLE "{READER}"')
        return await connection.fetch(query, *values)


async def redriven(pool: asyncpg.Pool, letters: Sequence[str]) -> set[str]:
    """Those of the dead letters that were published by a re-drive before."""
    rows = await pool.fetch(
        "SELECT dead_letter FROM ingest.redriven WHERE dead_letter = ANY($1)", list(letters)
    )
    return {row["dead_letter"] for row in rows}


async def failed_drives(pool: asyncpg.Pool, letters: Sequence[str]) -> dict[str, int]:
    """How often each of the dead letters was driven without success."""
    rows = await pool.fetch(
        "SELECT letter, count(*) AS times FROM ingest.redrive_letters"
        " WHERE letter = ANY($1) AND driven_at IS NOT NULL AND outcome = 'fails' GROUP BY letter",
        list(letters),
    )
    return {row["letter"]: row["times"] for row in rows}


async def note_checked(pool: asyncpg.Pool, id: str, verdicts: Mapping[int, Verdict]) -> None:
    await _note(pool, id, verdicts, None)


async def note_driven(
    pool: asyncpg.Pool,
    id: str,
    places: Mapping[int, str],
    verdicts: Mapping[int, Verdict],
    receipt: str,
    now: datetime,
) -> None:
    """What became of the letters of a step. What is published, now or before, is not driven again."""
    done = [places[place] for place, each in verdicts.items() if each.outcome in ("published", "duplicate")]
    async with pool.acquire() as connection, connection.transaction():
        await _note(connection, id, verdicts, now)
        await connection.execute(
            "INSERT INTO ingest.redriven SELECT unnest($1::text[]), $2, $3 ON CONFLICT DO NOTHING",
            done, receipt, now,
        )  # fmt: skip


async def _note(
    connection: Connection, id: str, verdicts: Mapping[int, Verdict], driven_at: datetime | None
) -> None:
    said = [(place, each.outcome, each.code, each.field, each.rule) for place, each in verdicts.items()]
    await connection.execute(
        "UPDATE ingest.redrive_letters l SET checked = true, outcome = v.outcome, code = v.code, field = v.field,"
        " rule = v.rule, driven_at = CASE WHEN v.outcome IN ('published', 'duplicate', 'fails') THEN $7::timestamptz END"
        " FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[]) AS v(place, outcome, code, field, rule)"
        " WHERE l.redrive = $1 AND l.place = v.place",
        id, *(list(column) for column in zip(*said, strict=True)), driven_at,
    )  # fmt: skip


# --- the vault ---------------------------------------------------------------------------------------------


class Content(NamedTuple):
    """An entry of the vault."""

    id: str
    scope: str
    secret: str
    sealed: bytes


async def vault_entries(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, tuple[str, bytes]]:
    """Digest → id and sealed content. One that is just being deleted is waited for, and is not there."""
    rows = await connection.fetch(
        "SELECT digest, id, sealed FROM ingest.vault WHERE digest = ANY($1) FOR KEY SHARE", list(digests)
    )
    return {row["digest"]: (row["id"], row["sealed"]) for row in rows}


async def add_vault_entries(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """(scope, digest, id, sealed, secret, made at); one that is there already stays as it is."""
    await connection.execute(
        "INSERT INTO ingest.vault (scope, digest, id, sealed, secret, made_at) SELECT * FROM unnest("
        "$1::text[], $2::bytea[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[]) ON CONFLICT DO NOTHING",
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def vault_contents(connection: Connection, ids: Sequence[str]) -> dict[str, Content]:
    rows = await connection.fetch(
        "SELECT id, scope, secret, sealed FROM ingest.vault WHERE id = ANY($1)", list(ids)
    )
    return {row["id"]: Content(**row) for row in rows}


async def vault_secrets(connection: Connection, scope: str) -> list[str]:
    """The names of those under which entries of a scope are sealed."""
    rows = await connection.fetch("SELECT DISTINCT secret FROM ingest.vault WHERE scope = $1", scope)
    return [row["secret"] for row in rows]


async def delete_vault_entries(connection: Connection, digests: Sequence[bytes]) -> int:
    done = await connection.execute("DELETE FROM ingest.vault WHERE digest = ANY($1)", list(digests))
    return int(done.split()[-1])


async def delete_token(connection: Connection, id: str) -> list[bytes]:
    """The digests of what is deleted: one, or none."""
    rows = await connection.fetch("DELETE FROM ingest.vault WHERE id = $1 RETURNING digest", id)
    return [row["digest"] for row in rows]
