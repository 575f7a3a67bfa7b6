"""The seven services as local processes, kept running by one supervisor."""

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx

from . import places
from . import ports as numbers
from .ports import Ports
from .process import POLL_SECONDS, Process
from .progress import Failed, step

SERVICES = ("ingest", "detector", "quality", "archive", "governance", "strategy", "gateway")
SUPERVISOR = "supervisor"
REPLAY = "replay"  # the demonstration's live replay, where there is one
HOPELESS = 3  # so many restarts while `up` waits mean that it will not come


def url(name: str, ports: Ports) -> str:
    return f"http://127.0.0.1:{ports[name]}"


def environment(home: Path, ports: Ports) -> dict[str, str]:
    """What every service is told: the servers, its peers, and where keys and people are kept."""
    return {
        "SEXTANT_LOCAL": str(home),
        "SEXTANT_HOST": "127.0.0.1",
        **places.read_env(home / "env"),
        **{f"SEXTANT_{name.upper()}_URL": url(name, ports) for name in SERVICES},
        "SEXTANT_PEOPLE": str(home / "keys" / "people.json"),
        "SEXTANT_SIGNING_KEY": str(home / "keys" / "signing-key.pem"),
        "SEXTANT_PSEUDONYM_KEY": str(home / "keys" / "pseudonym-key"),
        "SEXTANT_RECEIPT_SECRET": _kept(home / "keys" / "receipt-secret"),
        "SEXTANT_ANCHORS": str(home / "anchors"),
    }


def _kept(path: Path) -> str:
    """A secret that is made once, for the owner's eyes only."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text()


def command(name: str) -> list[str]:
    return [sys.executable, "-m", f"services.{name}"]


def up(home: Path, ports: Ports, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Start the supervisor unless it runs, wait until every service is ready, return their environment."""
    supervisor = Process(SUPERVISOR, home)
    with places.locked(home / "lock"):
        if supervisor.pid is None:
            _start(supervisor, ports, extra or {})
        ports = numbers.remembered(home) or ports
    env = environment(home, ports)
    places.note_env(home / "env", env)
    before = restarts(home)

    def alive(name: str) -> bool:
        return supervisor.pid is not None and restarts(home).get(name, 0) - before.get(name, 0) < HOPELESS

    for name in SERVICES:
        with step(f"{name} is ready on {url(name, ports)}"):
            Process(name, home).wait_until(partial(is_ready, name, ports), alive=partial(alive, name))
    return env


def _start(supervisor: Process, ports: Ports, extra: Mapping[str, str]) -> None:
    home = supervisor.home
    stop_services(home)  # left behind by a supervisor that was killed
    numbers.refuse_taken(ports, SERVICES)
    numbers.remember(home, ports)
    for folder in ("keys", "anchors"):
        (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "run" / "restarts.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "local.supervise", str(home)]
    supervisor.start(command, {**environment(home, ports), **extra}, places.ROOT)


def restarts(home: Path) -> dict[str, int]:
    """How often each service was started again since `up`."""
    path = home / "run" / "restarts.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def is_ready(name: str, ports: Ports) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url(name, ports)}/health/ready", timeout=5, trust_env=False).status_code == 200
    return False


def kill(home: Path, name: str) -> int:
    """Kill -9, as a test or a demonstration does; the supervisor starts it again."""
    pid = Process(name, home).pid
    if pid is None:
        raise Failed(f"{name} is not running: make up")
    os.kill(pid, signal.SIGKILL)
    return pid


def tell(home: Path, name: str) -> bool:
    """Let a service start again, so that it reads what has been noted since; false where it does not run."""
    return Process(SUPERVISOR, home).pid is not None and Process(name, home).send(signal.SIGTERM)


def down(home: Path) -> None:
    """End the supervisor, which ends its services; then any that are left."""
    Process(REPLAY, home).stop()
    supervisor = Process(SUPERVISOR, home)
    if supervisor.pid is not None:
        with step("services stopped"):
            supervisor.stop(seconds=50)
    stop_services(home)


def stop_services(home: Path, seconds: float = 40) -> None:
    """Ask all at once, wait, and kill what does not end."""
    processes = [Process(name, home) for name in SERVICES]
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(process.pid for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for process in processes:
        process.stop(signal.SIGKILL)
