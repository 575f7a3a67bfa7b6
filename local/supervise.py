"""`python -m local.supervise HOME`: keep the services running, as Kubernetes does in production.

A service that ends is started again, at once the first time and after a growing pause when it keeps ending.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import places, services
from . import ports as numbers
from .process import Process

LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0  # a run this long forgives the failures before it
LOOK_EVERY_SECONDS = 0.1


@dataclass
class Keeper:
    """One service: when it was last started, how often again, when next."""

    process: Process
    command: Sequence[str]
    env: dict[str, str]
    restarts: int = -1
    failures: int = 0
    started: float = 0.0
    due: float = 0.0

    def look(self, now: float) -> bool:
        """Start it when it is down and its pause is over; true when that happened."""
        if self.process.pid is not None:
            return False
        if self.started:
            self.failures = 1 if now - self.started > STEADY_SECONDS else self.failures + 1
            self.due = now + pause(self.failures)
            self.started = 0.0
        if now < self.due:
            return False
        noted = places.read_env(self.process.home / "env")
        self.process.start(self.command, {**noted, **self.env}, places.ROOT)
        self.started = now
        self.restarts += 1
        return True


def pause(failures: int) -> float:
    """Nothing after the first failure, then 0.5 s, doubling."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** (failures - 2))


def keep(
    home: Path, keepers: Sequence[Keeper], stopping: threading.Event, clock: Callable[[], float]
) -> None:
    """Until told to stop; the restarts are noted for the status table."""
    while not stopping.wait(LOOK_EVERY_SECONDS):
        if any([keeper.look(clock()) for keeper in keepers]):
            note = {keeper.process.name: keeper.restarts for keeper in keepers}
            draft = home / "run" / "restarts.new"
            draft.write_text(json.dumps(note))
            draft.replace(home / "run" / "restarts.json")


def main(home: Path) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    ports = numbers.remembered(home) or numbers.from_environment()
    env = services.environment(home, ports)
    keepers = [
        Keeper(Process(name, home), services.command(name), {**env, "SEXTANT_PORT": str(ports[name])})
        for name in services.SERVICES
    ]
    keep(home, keepers, stopping, time.monotonic)
    services.stop_services(home)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
