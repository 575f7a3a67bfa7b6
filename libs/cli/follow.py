"""An order that takes its time, shown while it goes on."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from libs.cli.server import Server

LOOK_SECONDS = 0.5
Found = dict[str, Any]


def followed(
    gateway: Server,
    path: str,
    console: Console,
    share: Callable[[Found], float],
    line: Callable[[Found], str],
    is_over: Callable[[str], bool],
) -> Found:
    """What `path` says once it is in a state that is over. `share`: how much is done, 0 to 1; `line`: in words."""
    columns = (
        TextColumn("{task.fields[state]:>9}"),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0, state="")
        while True:
            found = gateway.get(path)
            bar.update(task, completed=share(found), state=found["state"], description=line(found))
            if is_over(found["state"]):
                return found
            time.sleep(LOOK_SECONDS)
