"""What a process and its children take: CPU seconds and peak memory, from /proc."""

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
EVERY_SECONDS = 0.05


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found, ahead = [], [pid]
    while ahead:
        one = ahead.pop()
        found.append(one)
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):
                ahead += map(int, path.read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes, their ended children included."""
    total = 0
    for pid in {each for one in pids for each in family(one)}:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def memory(pids: Iterable[int], line: str = "VmRSS") -> int:
    """Bytes resident (`VmHWM`: at their peak)."""
    total = 0
    for pid in {each for one in pids for each in family(one)}:
        with suppress(OSError):
            for text in Path(f"/proc/{pid}/status").read_text().splitlines():
                if text.startswith(f"{line}:"):
                    total += int(text.split()[1]) * 1024
    return total


def machine_seconds() -> float:
    """CPU time that all processes of the machine have had."""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS


@dataclass
class Meter:
    """Samples the processes in the background, so that the CPU at any moment can be asked for afterwards."""

    pids: Sequence[int]
    known: Sequence[int]
    """Those whose CPU is not "others'": the servers."""
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    """(monotonic time, CPU of `pids`, CPU of all that is neither `pids`, `known` nor ourselves)"""
    peak: int = 0
    task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.sample()
        self.task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.sample()

    def sample(self) -> None:
        own = cpu_seconds(self.pids)
        others = machine_seconds() - own - cpu_seconds(self.known) - time.process_time()
        self.samples.append((time.monotonic(), own, others))
        self.peak = max(self.peak, memory(self.pids, "VmHWM"))

    def spent(self, begin: float, end: float) -> tuple[float, float]:
        """CPU seconds between two moments: of the processes, and of others on the machine."""
        times = [at for at, _, _ in self.samples]
        first = self.samples[max(0, bisect_left(times, begin) - 1)]
        last = self.samples[min(len(times) - 1, bisect_left(times, end))]
        return last[1] - first[1], max(0.0, last[2] - first[2])
