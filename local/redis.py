"""Redis: Debian's, as a process of our own."""

import shutil
from pathlib import Path

import redis

from . import download
from .ports import Ports
from .process import Process
from .progress import step


def start(home: Path, ports: Ports) -> str:
    """Start it and return its address."""
    process = Process("redis", home)
    port = ports["redis"]
    url = f"redis://127.0.0.1:{port}/0"
    binary = _binary()
    if process.pid is None:
        with step(f"Redis answers on 127.0.0.1:{port}"):
            data = home / "redis"
            data.mkdir(parents=True, exist_ok=True)
            settings = {
                "--port": port,
                "--bind": "127.0.0.1",
                "--dir": data,
                "--appendonly": "yes",
                "--save": "",
                "--maxmemory-policy": "noeviction",
            }
            process.start([binary, *(str(part) for pair in settings.items() for part in pair)])
            process.wait_until(lambda: answers(url))
    return url


def _binary() -> str:
    """Debian's package starts a service of its own where systemd runs; that one is not wanted."""
    present = shutil.which("redis-server")
    if present:
        return present
    binary = download.installed("redis-server", "redis-server")
    if Path("/run/systemd/system").exists():
        download.run(["systemctl", "disable", "--now", "redis-server"], "stop Debian's redis-server service")
    return binary


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())
