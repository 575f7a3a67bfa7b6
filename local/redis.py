"""Redis: Debian's, as a process of our own."""

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
    binary = download.installed("redis-server", "redis-server")
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


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())
