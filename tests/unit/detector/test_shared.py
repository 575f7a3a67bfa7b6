"""A shared read is done seldom, and never too early for anyone."""

import asyncio

import pytest

from services.detector.handlers.shared import Shared


class Clock:
    """A read that says when it began, and takes until it is let go."""

    def __init__(self) -> None:
        self.began = 0
        self.go = asyncio.Event()

    async def read(self) -> int:
        self.began += 1
        mine = self.began
        await self.go.wait()
        return mine


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_asks_together_shares_a_read_and_who_asks_during_it_shares_the_next() -> None:
    clock = Clock()
    shared = Shared(clock.read)
    first = [asyncio.create_task(shared()) for _ in range(3)]
    await turns()
    late = [asyncio.create_task(shared()) for _ in range(3)]
    await turns()
    assert clock.began == 1
    clock.go.set()
    assert await asyncio.gather(*first) == [1, 1, 1]
    assert await asyncio.gather(*late) == [2, 2, 2]
    assert await shared() == 3


async def test_one_who_gives_up_does_not_end_the_read_of_the_others() -> None:
    clock = Clock()
    shared = Shared(clock.read)
    impatient, patient = asyncio.create_task(shared()), asyncio.create_task(shared())
    await turns()
    impatient.cancel()
    await turns()
    clock.go.set()
    assert await patient == 1


async def test_a_read_that_fails_fails_for_all_who_shared_it_and_not_for_the_next() -> None:
    fails = [True, False]

    async def read() -> str:
        if fails.pop(0):
            raise OSError("away")
        return "read"

    shared = Shared(read)
    found = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert [str(each) for each in found] == ["away", "away"]
    assert await shared() == "read"


@pytest.mark.parametrize("count", [1, 50])
async def test_however_many_ask_over_time_two_reads_are_enough(count: int) -> None:
    clock = Clock()
    shared = Shared(clock.read)
    asking = []
    for _ in range(count):
        asking.append(asyncio.create_task(shared()))
        await turns(2)
    clock.go.set()
    await asyncio.gather(*asking)
    assert clock.began <= 2
