"""The loops of a process share one thread: what is waited for goes before what is not."""

from collections.abc import Generator
from contextlib import contextmanager


class Urgency:
    """How many steps of what is urgent are under way in a process."""

    def __init__(self) -> None:
        self.steps = 0

    @contextmanager
    def step(self) -> Generator[None]:
        self.steps += 1
        try:
            yield
        finally:
            self.steps -= 1
