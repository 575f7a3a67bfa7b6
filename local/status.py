"""The table of `make status`."""

import os
from pathlib import Path

from . import flink, places, ports, servers, services
from .process import Process, memory

Row = tuple[str, str, str, str, str, str, str]


def rows(home: Path) -> list[Row]:
    numbers = ports.remembered(home) or ports.from_environment()
    restarts = services.restarts(home)
    table = [
        _row(
            process,
            str(numbers[servers.PORTS_OF[name][0]]),
            servers.state(home, name),
            megabytes(size(home / name)),
        )
        for name, process in servers.processes(home).items()
    ]
    noted = places.read_env(home / "env")
    cluster = [name for name in flink.MAINS if Process(name, home).pid is not None]
    table += [_row(Process(name, home), flink.port(noted, name), flink.state(home, name)) for name in cluster]
    table.append(_row(Process(services.SUPERVISOR, home), "", "up"))
    replay = Process(services.REPLAY, home)
    if replay.pid is not None:
        table.append(_row(replay, "", "up"))
    for name in services.SERVICES:
        state = "ready" if services.is_ready(name, numbers) else "not ready"
        table.append(_row(Process(name, home), str(numbers[name]), state, restarts=restarts.get(name)))
    return table


def _row(process: Process, port: str, state: str, data: str = "", restarts: int | None = None) -> Row:
    pid = process.pid
    if pid is None:
        return (process.name, "down", "", port, "", data, "")
    again = "" if restarts is None else str(restarts)
    return (
        process.name,
        state,
        str(pid),
        port,
        megabytes(memory(pid, family=process.name != services.SUPERVISOR)),
        data,
        again,
    )


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
