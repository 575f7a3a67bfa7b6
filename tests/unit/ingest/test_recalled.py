"""What was refused before is read back once for all writers that start together."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from aiokafka.record._crecords import DefaultRecord

from libs.common.batches import Record
from services.ingest.handlers.recalled import Letters, published


def letter(source: str, receipt: str, at: int) -> Record:
    return DefaultRecord(at, at, 0, source.encode(), b"{}", [("sx-receipt", receipt.encode())])


@dataclass
class Topic:
    """Dead letters, read a record at a time; each reading goes to the end that there is when it begins."""

    letters: list[Record]
    sinces: list[int] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    passes: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, since: int) -> AsyncIterator[Iterable[Record]]:
        self.sinces.append(since)
        end = len(self.letters)
        self.began.set()
        await asyncio.sleep(0)  # as a broker is waited for
        for each in self.letters[:end]:
            await self.passes.wait()
            if each.timestamp >= since:
                yield [each]


async def recalled(letters: Letters, source: str, since: int = 0) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    await letters.recall(source, since, lambda receipt, at: found.append((receipt, at)))
    return found


async def test_writers_that_start_together_share_two_readings_and_each_is_told_of_its_own() -> None:
    topic = Topic([letter(f"s{number % 20}", f"r{number}", number) for number in range(100)])
    topic.passes.set()
    letters = Letters(topic.read)
    found = await asyncio.gather(*(recalled(letters, f"s{number}") for number in range(20)))
    assert len(topic.sinces) <= 2
    for number, told in enumerate(found):
        assert told == [(f"r{at}", at) for at in range(number, 100, 20)]


async def test_who_asks_while_it_is_read_is_told_what_came_since_that_reading_began() -> None:
    topic = Topic([letter("a", "r0", 0)])
    letters = Letters(topic.read)
    first = asyncio.create_task(recalled(letters, "a"))
    await topic.began.wait()
    topic.letters.append(letter("b", "r1", 1))  # by the predecessor of b, which is fenced then
    second = asyncio.create_task(recalled(letters, "b"))
    await asyncio.sleep(0)
    topic.passes.set()
    assert await first == [("r0", 0)]
    assert await second == [("r1", 1)]


async def test_each_is_told_as_far_back_as_it_asks_and_of_a_body_once() -> None:
    topic = Topic([letter("a", "r", at) for at in (1, 2)] + [letter("b", "r", 3), letter("b", "q", 4)])
    topic.passes.set()
    letters = Letters(topic.read)
    await recalled(letters, "c")
    found = await asyncio.gather(recalled(letters, "a", 2), recalled(letters, "b", 4))
    assert found == [[("r", 2)], [("q", 4)]]


async def test_a_reading_that_fails_is_no_answer_to_the_others() -> None:
    topic = Topic([letter("a", "r", 1)])
    topic.passes.set()
    fails = [True]

    async def read(since: int) -> AsyncIterator[Iterable[Record]]:
        if fails.pop() if fails else False:
            raise OSError
        async for some in topic.read(since):
            yield some

    letters = Letters(read)
    first, second = await asyncio.gather(
        recalled(letters, "b"), recalled(letters, "a"), return_exceptions=True
    )
    assert isinstance(first, OSError)
    assert second == [("r", 1)]


def test_headers_that_others_made_up_are_read_as_far_as_they_go() -> None:
    odd: list[tuple[str, bytes | None]] = [
        ("sx-receipt", b"\xff"),
        ("sx-ingested", b"9" * 5_000),
        ("ce_id", b"\xfe"),
        ("sx-delivery", None),
    ]
    record = DefaultRecord(7, 7, 0, b"a", b"{}", odd)
    assert [(here, list(ids)) for here, ids in published([record])] == [
        (("\ufffd", 7), ["\ufffd", ("delivery", "")])
    ]
