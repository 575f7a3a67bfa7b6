"""What a re-drive had published and was undone goes from the archive: those events alone, when all before is stored."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from libs.common.database import pool
from libs.common.events import ErasureSubject, EventsWithdrawn
from libs.common.kafka import ensure_topics, producer
from libs.common.migrate import READER, migrate
from libs.common.settings import ServiceSettings
from libs.common.topics import EVENTS
from services.archive import store
from services.archive.handlers.withdrawing import Withdrawer
from services.archive.store import withdrawals

MINUTE = datetime(2026, 11, 24, 10, 2, tzinfo=UTC)
RECEIPTS = ["step-1", "step-2"]
GONE = [(0, 2), (0, 4), (1, 2)]


@pytest.fixture
def settings(servers: dict[str, str], namespace: str, database: str) -> ServiceSettings:
    return ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis="", registry="", prefix=namespace, port=0
    )


@pytest.fixture
async def archive(settings: ServiceSettings) -> AsyncGenerator[asyncpg.Pool]:
    migrate(settings.database, "archive")
    connections = await pool(settings, "archive")
    yield connections
    await connections.close()


def told(part: int = 0, receipts: list[str] = RECEIPTS, source: str = "cards") -> EventsWithdrawn:
    return EventsWithdrawn.build(
        id=f"d1/{part}", source=source, redrive="d1", receipts=receipts, since={"0": 2}, upto={"0": 6, "1": 4},
        by="operator", withdrawn_at=MINUTE,
    )  # fmt: skip


def event(partition: int, offset: int, receipt: str | None, source: str = "cards") -> tuple[Any, ...]:
    at, data = MINUTE + timedelta(minutes=offset), {"holder": "Ann"}
    return (source, partition, offset, at, f"i{offset}", None, 1, receipt, MINUTE, MINUTE, None, data)


EVENTS_STORED = [
    event(0, 1, "step-1"), event(0, 2, "step-1"), event(0, 3, "else"), event(0, 4, "step-2"), event(0, 5, None),
    event(0, 6, "step-2"), event(1, 2, "step-2"), event(1, 4, "step-1"), event(0, 2, "step-1", "other"),
]  # fmt: skip


async def note(archive: asyncpg.Pool, *what: EventsWithdrawn) -> None:
    async with archive.acquire() as connection, connection.transaction():
        await withdrawals.add(connection, what)


async def archived_to(archive: asyncpg.Pool, *next_offsets: int) -> None:
    await archive.executemany(
        "INSERT INTO archive.offsets VALUES ('events.cards', $1, $2)"
        " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = $2",
        list(enumerate(next_offsets)),
    )


@pytest.fixture
async def stored(archive: asyncpg.Pool) -> asyncpg.Pool:
    """The archive with all events, of which it knows that they are all."""
    async with archive.acquire() as connection:
        await store.copy(connection, "events", store.EVENT_COLUMNS, EVENTS_STORED)
    await archived_to(archive, 7, 5)
    return archive


async def places(archive: asyncpg.Pool, view: str) -> list[tuple[int, int]]:
    rows = await archive.fetch(
        f"SELECT partition, \"offset\" FROM {view} WHERE source = 'cards' ORDER BY 1, 2"
    )
    return [(row["partition"], row["offset"]) for row in rows]


async def state(archive: asyncpg.Pool) -> list[tuple[Any, ...]]:
    names = "id, source, redrive, events, first_time, last_time, done_at IS NOT NULL"
    return [tuple(row) for row in await archive.fetch(f"SELECT {names} FROM read.withdrawals ORDER BY id")]


async def test_events_of_the_receipts_within_the_bounds_go_and_no_others(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    await note(stored, told())
    assert await state(stored) == [("d1/0", "cards", "d1", None, None, None, False)]
    await Withdrawer(settings, stored).round()
    assert await places(stored, "read.withdrawn_events") == GONE
    assert await places(stored, "read.events") == [(0, 1), (0, 3), (0, 5), (0, 6), (1, 4)]
    assert await stored.fetchval("SELECT count(*) FROM read.events WHERE source = 'other'") == 1
    first, last = MINUTE + timedelta(minutes=2), MINUTE + timedelta(minutes=4)
    assert await state(stored) == [("d1/0", "cards", "d1", 3, first, last, True)]
    rows = await stored.fetch("SELECT event_time, redrive FROM read.withdrawn_events ORDER BY 1")
    assert [tuple(row) for row in rows] == [(first, "d1"), (first, "d1"), (last, "d1")]
    assert await stored.fetchval("SELECT body FROM archive.withdrawals") is None


async def test_what_is_told_twice_is_done_once_and_what_comes_later_at_its_places_stays(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    await note(stored, told())
    await Withdrawer(settings, stored).round()
    before = await state(stored), await stored.fetchval("SELECT done_at FROM read.withdrawals")
    async with stored.acquire() as connection:
        await store.copy(connection, "events", store.EVENT_COLUMNS, [event(0, 3, "step-1")])
    await note(stored, told(), told())
    await Withdrawer(settings, stored).round()
    assert (await state(stored), await stored.fetchval("SELECT done_at FROM read.withdrawals")) == before
    assert (0, 3) not in await places(stored, "read.withdrawn_events")


async def test_parts_of_one_re_drive_are_done_by_themselves(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    await note(stored, told(0, ["step-1"]))
    await Withdrawer(settings, stored).round()
    assert await places(stored, "read.withdrawn_events") == GONE[:1]
    await note(stored, told(1, ["step-2"]), told(2, ["never published"]))
    await Withdrawer(settings, stored).round()
    assert await places(stored, "read.withdrawn_events") == GONE
    assert [(row[3], row[-1]) for row in await state(stored)] == [(1, True), (2, True), (0, True)]


async def test_nothing_is_withdrawn_until_all_before_the_end_is_stored(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    await ensure_topics(settings, [("events.cards", EVENTS, 2)])
    writer = producer(settings)
    await writer.start()
    for number in range(6):
        for partition in range(2):
            await writer.send_and_wait(f"{settings.prefix}events.cards", b"%d" % number, partition=partition)
    await writer.stop()
    await note(stored, told())
    for next_offsets in ((5, 4), (6, 3), (2, 2)):
        await archived_to(stored, *next_offsets)
        await Withdrawer(settings, stored).round()
        assert [row[-1] for row in await state(stored)] == [False]
        assert await places(stored, "read.withdrawn_events") == []
    await archived_to(stored, 6, 4)
    await Withdrawer(settings, stored).round()
    assert [row[-1] for row in await state(stored)] == [True]


async def test_an_event_that_was_withdrawn_did_land_and_the_books_balance(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    count = sum(row[0] == "cards" for row in EVENTS_STORED)
    async with stored.acquire() as connection:
        await store.add_landed(connection, "cards", {MINUTE: count})
        await store.add_ledger(connection, [("cards", MINUTE, count, count, 0, 0, 0, 0)])
        await store.note_end(connection, "events.cards", 0, 7)
    books = "SELECT accepted, landed, in_flight, imbalance FROM read.ledger_totals"
    assert tuple(await stored.fetchrow(books) or ()) == (count, count, 0, 0)
    await note(stored, told())
    await Withdrawer(settings, stored).round()
    assert await places(stored, "read.withdrawn_events") == GONE
    assert tuple(await stored.fetchrow(books) or ()) == (count, count, 0, 0)


async def test_erasure_and_retention_take_what_is_left_and_the_places_stay(
    settings: ServiceSettings, stored: asyncpg.Pool
) -> None:
    await note(stored, told())
    await Withdrawer(settings, stored).round()
    subject = ErasureSubject.build(
        id="e1", source="cards", field="holder", value="Ann", upto={"0": 6, "1": 4}, stores=[], rounds=1, series=[],
        ordered_at=MINUTE - timedelta(minutes=1),
    )  # fmt: skip
    async with stored.acquire() as connection, connection.transaction():
        assert (await store.erase(connection, subject))["archive.events"] == [3, 3, 0]
        later = MINUTE + timedelta(minutes=1)
        assert await store.dispose(connection, "r1", "cards", later, later) == (2, 2, 0)
    assert await places(stored, "read.withdrawn_events") == GONE
    assert await places(stored, "read.erased_events") == [(0, 1), (0, 3), (0, 5)]


async def test_readers_may_read_both_views(stored: asyncpg.Pool) -> None:
    async with stored.acquire() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL ROLE {READER}")
        for view in ("read.withdrawals", "read.withdrawn_events"):
            assert await connection.fetch(f"SELECT * FROM {view}") == []
