"""The table of `make status`."""

import os
from pathlib import Path

from . import ports, servers
from .process import Process, memory

Row = tuple[str, str, str, str, str, str]


def rows(home: Path) -> list[Row]:
    numbers = ports.remembered(home) or ports.from_environment()
    return [
        _row(process, numbers[servers.PORTS_OF[name][0]], megabytes(size(home / name)))
        for name, process in servers.processes(home).items()
    ]


def _row(process: Process, port: int, data: str) -> Row:
    pid = process.pid
    if pid is None:
        return (process.name, "down", "", str(port), "", data)
    return (process.name, "up", str(pid), str(port), megabytes(memory(pid)), data)


def size(folder: Path) -> int:
    """Bytes on the disk below a folder."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # the server just removed it
    return total


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
