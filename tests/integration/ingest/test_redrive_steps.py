"""A step of a re-drive takes no more letters than are let in at once, however large they are."""

import asyncpg

from libs.common import clock
from libs.common.database import pool
from libs.common.migrate import migrate
from services.ingest import store
from services.ingest.core.redrives import Order, Verdict
from tests.ingests import settings

LETTER = (
    "INSERT INTO archive.dead_letters (id, source, stage, error, reason, payload, headers, attempts, first_seen,"
    " last_seen, service, recorded_at) VALUES ($1, 'large', 'validate', 'BadMessage', 'no number', $2, '{}', 1,"
    " $3, $3, 'ingest', $3)"
)


async def orders(connections: asyncpg.Pool, sizes: list[int]) -> str:
    """An order over letters of these sizes."""
    now = clock.now()
    for number, size in enumerate(sizes):
        await connections.execute(LETTER, f"{number}", bytes(size), now)
    order = Order(
        id="o", source="large", cause=None, fix=[], dry_run=False, canary=None, rate=1.0, reason="", by="ops",
        state="checking", note="", ordered_at=now, changed_at=now,
    )  # fmt: skip
    await store.add_redrive(connections, order)
    assert await store.choose_letters(connections, order, None, 100) == len(sizes)
    return order.id


async def test_letters_are_taken_up_to_so_many_or_so_many_bytes_and_one_at_least(database: str) -> None:
    for service in ("archive", "ingest"):
        migrate(database, service)
    connections = await pool(settings(database), "ingest")
    try:
        id = await orders(connections, [600, 600, 5_000, 10, 10, 10])
        assert await store.next_letters(connections, id, 10, 1_000, checked=True) == {}
        for wanted in ([1, 2], [3], [4, 5], [6]):
            places = await store.next_letters(connections, id, 2, 1_000, checked=False)
            assert list(places) == wanted
            await store.note_checked(connections, id, dict.fromkeys(places, Verdict()))
        assert list(await store.next_letters(connections, id, 10, 1_000, checked=True)) == [1, 2]
        await connections.execute("DELETE FROM archive.dead_letters WHERE id IN ('0', '1', '2')")
        assert list(await store.next_letters(connections, id, 4, 1_000, checked=True)) == [1, 2, 3, 4]
    finally:
        await connections.close()
