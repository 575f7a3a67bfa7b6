"""A detached process with a log and a pid file, found again by any later command."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .progress import Failed

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """One named process of the stack that lives in `home`."""

    name: str
    home: Path

    @property
    def log(self) -> Path:
        return self.home / "log" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.home / "run" / f"{self.name}.pid"

    @property
    def pid(self) -> int | None:
        """The pid while the process lives; a recycled pid has another start time and does not count."""
        try:
            pid, started = map(int, self.pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if started_at(pid) == started else None

    def start(
        self, command: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> int:
        """Start it in a session of its own, so that it outlives the terminal."""
        for folder in (self.log.parent, self.pid_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{child.pid} {started_at(child.pid) or 0}\n")
        child.returncode = 0  # it is on its own from here: the pid file knows it, not this object
        return child.pid

    def wait_until(
        self, ready: Callable[[], object], seconds: float = 240, alive: Callable[[], bool] | None = None
    ) -> None:
        """Ask until it answers; say what its log says when it ends or is silent for too long.

        Patient: on a busy machine a JVM takes minutes, and one that ended is seen at once.
        """
        alive = alive or (lambda: self.pid is not None)
        deadline = time.monotonic() + seconds
        while True:
            with suppress(Exception):
                if ready():
                    return
            said = None
            if not alive():
                said = "ended while starting"
            elif time.monotonic() > deadline:
                said = f"does not answer after {seconds:.0f} s"
            if said:
                raise Failed(f"{self.name} {said}: {self.last_words()} (all of it: {self.log})")
            time.sleep(POLL_SECONDS)

    def last_words(self) -> str:
        if not self.log.exists():
            return "it said nothing"
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines[-40:] if any(word in line for word in ("ERROR", "FATAL", "Error"))]
        return (telling or lines or ["it said nothing"])[-1][:300]

    def send(self, number: signal.Signals) -> bool:
        pid = self.pid
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def stop(self, gently: signal.Signals = signal.SIGTERM, seconds: float = 30) -> bool:
        """Ask it to end, and end it when it does not; false when it was not running."""
        if not self.send(gently):
            self.pid_file.unlink(missing_ok=True)
            return False
        deadline = time.monotonic() + seconds
        while self.pid is not None:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        self.pid_file.unlink(missing_ok=True)
        return True


def started_at(pid: int) -> int | None:
    """The start time in ticks since boot, or nothing when the process is gone or a zombie."""
    with suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that ended is reaped here
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def memory(pid: int, family: bool = True) -> int:
    """Bytes of the process and its children, shared pages counted once."""
    total = 0
    for one in (pid, *(children(pid) if family else ())):
        with suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found
