"""Large requests are worked on in turns: the loop is never held for all of one."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from libs.common import clock
from libs.common.catalog import Catalog
from services.ingest.core.admission import Admission
from services.ingest.core.records import Good, Validator
from services.ingest.handlers.batch import MANY, Batch
from services.ingest.handlers.known import Known
from services.ingest.handlers.layout import Layout
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.turns import TURN, in_turns, listed
from services.ingest.handlers.writer import Writer
from services.ingest.settings import Settings
from tests.unit.ingest.test_records import GOOD, source

SETTINGS = Settings(
    kafka="", database="", redis="", registry="", receipt_secret=SecretStr("of these tests alone")
)
BROKEN = b"{broken"
UTC = GOOD.replace(b"-05:00", b"Z")


def good(count: int) -> list[bytes]:
    return [UTC.replace(b'"1"', b'"%d"' % number) for number in range(count)]


def writer(policy: str = "refuse") -> Writer:
    defined = source(on_malformed=policy)
    none: Any = None
    catalog = Catalog.of([defined])
    layout = Layout(SETTINGS, none, catalog, defined)
    layout.lay(defined.partitions)
    return Writer(SETTINGS, Admission(10**9, 10**9), layout, Known(SETTINGS, catalog), none, defined, 1, 1)


async def turns_of(work: Any) -> tuple[Any, int]:
    """What it gives, and how often others had their turn meanwhile."""
    counted = 0

    async def other() -> None:
        nonlocal counted
        while True:
            counted += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    try:
        return await work, counted
    finally:
        task.cancel()


async def test_others_have_their_turn_between_so_many_items_and_none_is_left_out() -> None:
    async def all_of(count: int) -> list[int]:
        return [each async for each in in_turns(range(count), 10)]

    found, turns = await turns_of(all_of(100))
    assert found == list(range(100))
    assert turns == 9
    assert await turns_of(all_of(10)) == (list(range(10)), 0)


@pytest.mark.parametrize(
    ("lines", "expected"), [(good(3 * TURN), 0), ([BROKEN] * 3 * TURN, 2), ([*good(3 * TURN), BROKEN], 3)]
)
async def test_lines_that_must_be_looked_at_one_by_one_are_in_turns(
    lines: list[bytes], expected: int
) -> None:
    records, turns = await turns_of(listed(Validator(source()).lines(b"\n".join(lines))))
    assert [isinstance(each, Good) for each in records] == [line != BROKEN for line in lines]
    assert turns == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (good(1), 0),
        (good(MANY), 0),
        (good(3 * MANY), 2),
        ([*good(TURN), *good(TURN)], 1),
        ([BROKEN] * 3 * TURN, 2),
    ],
)
async def test_a_large_request_is_decided_on_in_turns_and_a_small_one_at_once(
    lines: list[bytes], expected: int
) -> None:
    made = writer("dead_letter")
    batch = Batch(made, clock.now())
    records = list(made.contract.validator.lines(b"\n".join(lines)))
    submission = Submission(made.contract, records, sha256="0" * 64)
    _, turns = await turns_of(batch.take(submission))
    assert turns == expected
    assert sum(submission.counts.values()) == len(lines)
    assert submission.counts["dead_lettered"] == lines.count(BROKEN)
    assert sum(map(len, batch.events)) == len(set(lines) - {BROKEN})
