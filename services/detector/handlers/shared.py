"""A read that takes a while, done once for all who ask for it at about the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Whoever asks gets what was read after that: those who ask while a read is under way share the next one."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self.read = read
        self.running: asyncio.Task[T] | None = None
        self.next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Raises what the read raises. Who asks may be cancelled; the read goes on for the others."""
        if self.next is None:
            self.next = asyncio.create_task(self._after(self.running))
        return await asyncio.shield(self.next)

    async def _after(self, former: asyncio.Task[T] | None) -> T:
        if former is not None:
            await asyncio.wait({former})
        self.running, self.next = self.next, None
        return await self.read()
