"""A transactional outbox in PostgreSQL.

There is no cursor: what is there is not yet accepted. Ids are given before transactions commit, so a row waits until
every transaction that began before its own has ended; then nothing with a smaller id can appear any more.
"""

from collections.abc import AsyncGenerator

from libs.common.catalog import Source
from libs.common.catalog.pulls import OutboxPull
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.sql import connected


async def outbox(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    pull = source.pull
    assert isinstance(pull, OutboxPull)
    id, payload = f'"{pull.id}"', f'"{pull.payload}"'
    waiting = f'"{pull.mark}" IS NULL' if pull.mark else "true"
    # age() compares transaction ids across their wraparound: the older one is further from the present.
    read = (
        f"SELECT {id} AS id, {payload} AS payload FROM {pull.table} AS kept WHERE {waiting}"
        " AND age(kept.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)"
        f" ORDER BY {id} LIMIT {pull.page_size}"
    )
    taken = f'UPDATE {pull.table} SET "{pull.mark}" = now()' if pull.mark else f"DELETE FROM {pull.table}"
    async with connected(desk, pull) as connection:
        while rows := await connection.fetch(read):
            yield Page([_bytes(each["payload"]) for each in rows], str(rows[-1]["id"]))
            await connection.execute(f"{taken} WHERE {id} = ANY($1)", [each["id"] for each in rows])


def _bytes(payload: str | bytes | None) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload or b"null")
