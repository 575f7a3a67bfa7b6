"""What is erased from the archive: all of the subject from before the order, and the books go on as they were."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from libs.common.database import pool
from libs.common.events import ErasedSeries, ErasureSubject
from libs.common.migrate import migrate
from libs.common.settings import ServiceSettings
from services.archive import store

ORDERED = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
MINUTE = datetime(2026, 11, 24, 10, 2, tzinfo=UTC)
BEFORE, AFTER = ORDERED - timedelta(minutes=5), ORDERED + timedelta(minutes=5)
SUBJECT = ErasureSubject.build(
    id="e1", source="cards", field="holder", value="Ann", upto={"0": 10}, stores=[], ordered_at=ORDERED, rounds=1,
    series=[ErasedSeries(kpi="spent", dimension="holder", value="Ann")],
)  # fmt: skip


@pytest.fixture
async def archive(servers: dict[str, str], database: str) -> AsyncGenerator[asyncpg.Pool]:
    migrate(database, "archive")
    connections = await pool(
        ServiceSettings(kafka="", database=database, redis="", registry="", prefix="", port=0), "archive"
    )
    yield connections
    await connections.close()


def event(offset: int, holder: str, ingested_at: datetime, receipt: str | None = "r") -> tuple[Any, ...]:
    data = {"holder": holder}
    return ("cards", 0, offset, MINUTE, f"i{offset}", None, 1, receipt, ingested_at, AFTER, None, data)


def observation(window: int, *spans: tuple[int, int]) -> tuple[Any, ...]:
    start = MINUTE + timedelta(hours=window)
    offsets = [{"partition": 0, "first": first, "last": last} for first, last in spans]
    return (
        "spent", 1, "holder=Ann", {"holder": "Ann"}, start, start + timedelta(hours=1), 1, "final", 1.0, 1, None, None,
        0, 0, None, offsets, [1], None, AFTER, {},
    )  # fmt: skip


def letter(id: str, payload: bytes) -> tuple[Any, ...]:
    return (
        id, "cards", "validate", "BadMessage", "no time", None, None, None, None, None, None, payload, {}, 1, BEFORE,
        BEFORE, "ingest", "r", MINUTE, AFTER, None, [1], "", None,
    )  # fmt: skip


async def erase(archive: asyncpg.Pool) -> dict[str, list[int]]:
    async with archive.acquire() as connection, connection.transaction():
        return await store.erase(connection, SUBJECT)


async def test_an_event_that_was_parked_before_the_order_goes_though_it_lies_behind_the_boundary(
    archive: asyncpg.Pool,
) -> None:
    events = [
        event(9, "Ann", BEFORE, None), event(10, "Ann", BEFORE), event(11, "Ann", AFTER), event(12, "Bob", BEFORE),
        event(13, "Ann", BEFORE, None),
    ]  # fmt: skip
    observations = [
        observation(0, (9, 9)), observation(1, (10, 10)), observation(2, (11, 11)), observation(3, (8, 12))
    ]  # fmt: skip
    async with archive.acquire() as connection:
        await store.copy(connection, "events", store.EVENT_COLUMNS, events)
        await store.copy(connection, "observations", store.OBSERVATION_COLUMNS, observations)
    found = await erase(archive)
    assert (found["archive.events"], found["archive.observations"]) == ([2, 2, 0], [3, 3, 0])
    assert [row["offset"] for row in await archive.fetch('SELECT "offset" FROM read.events ORDER BY 1')] == [
        11,
        12,
        13,
    ]
    places = await archive.fetch('SELECT "offset" FROM read.erased_events ORDER BY 1')
    assert [row["offset"] for row in places] == [9, 10]
    windows = await archive.fetch("SELECT window_start FROM read.observations")
    assert [row["window_start"] for row in windows] == [MINUTE + timedelta(hours=2)]


async def test_erased_letters_and_events_that_were_parked_stay_in_the_books(archive: asyncpg.Pool) -> None:
    letters = [letter("x/0", b'{"holder": "Ann"}'), letter("x/1", b'{"holder": "Bob"}')]
    async with archive.acquire() as connection:
        await store.add_dead_letters(connection, letters)
        await store.add_landed(connection, "cards", {MINUTE: 3})
        await store.add_ledger(connection, [("cards", MINUTE, 10, 3, 1, 2, 4, 0)])
        await store.add_ledger(connection, [("cards", MINUTE, 0, 0, 0, 0, -2, 2)])
    names = "accepted, landed, dead_lettered, duplicate, parked, erased"
    books = (10, 3, 2, 1, 2, 2)
    assert await archive.fetchrow(f"SELECT {names} FROM read.ledger") == books
    assert (await erase(archive))["archive.dead_letters"] == [1, 1, 0]
    assert [row["id"] for row in await archive.fetch("SELECT id FROM read.dead_letters")] == ["x/1"]
    assert await archive.fetchrow(f"SELECT {names} FROM read.ledger") == books
    totals = await archive.fetchrow(f"SELECT {names}, in_flight, imbalance FROM read.ledger_totals")
    assert totals == (*books, 0, 0)
    async with archive.acquire() as connection:
        assert await store.erased_letters(connection, ["x/0", "x/1"]) == {"x/0"}
