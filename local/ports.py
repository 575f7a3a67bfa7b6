"""The ports of one stack: the usual ones, those the environment names, or any that are free."""

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from .progress import Failed

DEFAULTS = {
    "kafka": 9092,
    "kafka_controller": 9093,
    "database": 5432,
    "redis": 6379,
    "registry": 8081,
    "flink": 8082,
    "flink_rpc": 6123,
    "flink_gateway": 8083,
    "ingest": 8101,
    "detector": 8102,
    "quality": 8103,
    "archive": 8104,
    "governance": 8105,
    "strategy": 8106,
    "gateway": 8080,
}
Ports = dict[str, int]


def from_environment() -> Ports:
    """KAFKA_PORT, DATABASE_PORT, GATEWAY_PORT ... where given, the usual ones otherwise."""
    return {name: int(os.environ.get(f"{name.upper()}_PORT", usual)) for name, usual in DEFAULTS.items()}


def free() -> Ports:
    """A port that nobody uses for each, all different."""
    sockets = {name: socket.socket() for name in DEFAULTS}
    try:
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in sockets.items()}
    finally:
        for each in sockets.values():
            each.close()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def refuse_taken(ports: Ports, names: Iterable[str]) -> None:
    taken = [name for name in names if not is_free(ports[name])]
    if taken:
        which = ", ".join(f"{ports[name]} ({name.upper()}_PORT)" for name in taken)
        raise Failed(f"ports in use by other programs: {which}; set those variables, or use --ports auto")


def remember(home: Path, ports: Ports) -> None:
    (home / "ports.json").write_text(json.dumps(ports, indent=1))


def remembered(home: Path) -> Ports | None:
    """The ports this stack was last started with."""
    path = home / "ports.json"
    return json.loads(path.read_text()) if path.exists() else None
