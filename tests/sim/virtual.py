"""An event loop whose clock all but stands still while anything can run, and then jumps to the next timer.

A minute takes as long as what happens in it, and the same seed runs the same steps in the same order.
"""

import asyncio
import contextvars
import selectors
from collections.abc import Coroutine
from typing import Any


class Stuck(Exception):
    """Everything waits and no timer is set: nothing will ever happen again."""


TURN_SECONDS = 1e-9
"""What a turn of the loop takes: else who waits for what is left of a time, too little to add to it, waits forever."""


class _Jump(selectors.SelectSelector):
    """Waits for nothing: moves the clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("every task waits and no timer is set")
        self.now += max(0.0, timeout) + TURN_SECONDS
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0. A task belongs to the `Host` that made it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.set_task_factory(_hosted)

    def time(self) -> float:
        return self._jump.now


class Host:
    """A machine that processes run on: it dies with all its tasks, or stands still for a while."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: set[asyncio.Task[Any]] = set()
        self.dead = False
        self.thaws_at = 0.0
        """Until then it hears and says nothing."""
        self.calls = 0
        """Requests to the broker and answers from it so far: where its faults strike."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine on this host."""
        context = contextvars.copy_context()
        context.run(HOST.set, self)
        return context.run(asyncio.get_running_loop().create_task, work)

    def kill(self) -> None:
        """As kill -9: what its tasks still do while they unwind reaches nobody."""
        self.dead = True
        for task in self.tasks:
            task.cancel()


HOST: contextvars.ContextVar[Host] = contextvars.ContextVar("HOST")
HOST_OF_NOBODY = Host("outside")


def host() -> Host:
    """The one that the running task belongs to."""
    return HOST.get(HOST_OF_NOBODY)


def _hosted(
    loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context | None = None, **more: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(coroutine, loop=loop, context=context, **more)
    tasks = host().tasks
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
