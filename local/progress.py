"""What the person at the terminal sees: a line per step, with the seconds it took."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
_lock = threading.Lock()


class Failed(Exception):
    """A step that cannot go on; the message is one line and says what mends it."""


def say(text: str, style: str = "") -> None:
    with _lock:
        console.print(text, style=style, markup=False)


@contextmanager
def step(what: str, announce: bool = False) -> Generator[None]:
    """Time a step and say so when it is done; announce those that may take long."""
    began = time.monotonic()
    if announce:
        say(f"   ...   {what}", "dim")
    yield
    say(f"{time.monotonic() - began:6.1f} s  {what}")
