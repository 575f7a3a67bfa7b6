"""Long work in turns: what else the process does, other requests and the answer that it lives, goes on in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

TURN = 200
"""Records, of which a malformed one takes up to a tenth of a millisecond."""

T = TypeVar("T")


async def in_turns(items: Iterable[T], turn: int = TURN) -> AsyncIterator[T]:
    """Each of them; between `turn` of them and the next ones others go on."""
    for number, item in enumerate(items):
        if number and number % turn == 0:
            await asyncio.sleep(0)
        yield item


async def listed(items: Iterable[T]) -> list[T]:
    """All of them, which may have to be worked out yet."""
    return items if isinstance(items, list) else [item async for item in in_turns(items)]
