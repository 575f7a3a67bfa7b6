"""One run: a contender, the job's backlog behind a gate, and what came out."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bench.broker import Admin, Gate, Records, Tail, producer, write
from bench.contenders import Contender, Place, Program
from bench.job import Job, Verdict, judge
from bench.meter import Meter, cpu_seconds
from local.places import ROOT
from local.process import Process

START_SECONDS = 300.0
RESTING_CORES = 0.3
REST_SECONDS = 2
IDLE_SECONDS = 60.0
"""A run without any output for so long has failed."""
QUIET_SECONDS = 0.3


class Broken(Exception):
    """A contender that ended, or did not get ready."""


@dataclass
class Running:
    """A contender's processes."""

    contender: Program
    place: Place
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        with (self.place.folder / "log").open("ab") as log:
            self.processes = [
                subprocess.Popen(
                    command.arguments,
                    env={**os.environ, **command.environment},
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for command in self.contender.commands(self.place)
            ]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def check(self) -> None:
        """Raises Broken, with its last words, if a process has ended."""
        if any(process.poll() is not None for process in self.processes):
            lines = (self.place.folder / "log").read_text(errors="replace").strip().splitlines()
            raise Broken(f"{self.contender.title} ended: {lines[-1][:300] if lines else 'it said nothing'}")

    def kill(self) -> None:
        """-9, children included."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self, seconds: float = 20) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        self.kill()


@dataclass(frozen=True)
class Bench:
    """Servers that run, and where runs keep their files."""

    addresses: Mapping[str, str]
    home: Path
    runs: int
    overload: int
    """Seconds of it, where a benchmark overloads somebody."""

    @property
    def servers(self) -> list[int]:
        """Pids whose CPU is not others'."""
        names = ("kafka", "postgres", "redis", "registry")
        return [pid for name in names if (pid := Process(name, self.home).pid) is not None]

    @asynccontextmanager
    async def place(self, contender: Program, commit_ms: int = 0) -> AsyncGenerator[Running]:
        """A place for one run; its processes and topics are gone afterwards."""
        prefix = f"{contender.name}-{os.urandom(3).hex()}."
        folder = self.home / "runs" / prefix.rstrip(".")
        folder.mkdir(parents=True)
        place = Place(self.addresses, prefix, folder, commit_ms)
        running = Running(contender, place)
        try:
            await contender.arrange(place)
            yield running
        finally:
            running.stop()
            async with Admin(place.bootstrap) as admin:
                await admin.drop(prefix)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Throughput:
    """A backlog worked through: from the gate's opening to the last window readable."""

    events: int
    seconds: float
    cpu: float
    peak: int
    others: float
    """CPU seconds that others took of the machine meanwhile."""
    verdict: Verdict

    @property
    def rate(self) -> float:
        return self.events / self.seconds


async def publish(place: Place, records: Records) -> None:
    client = producer(place.bootstrap)
    await client.start()
    try:
        await write(client, place.input, records)
    finally:
        await client.stop()


async def until_ready(running: Running) -> None:
    """Until the contender has been given every partition (or says it is ready), and then rests."""
    place = running.place
    deadline = time.monotonic() + START_SECONDS
    async with Admin(place.bootstrap) as admin:
        partitions = await admin.partitions(place.input)
        while not place.ready.exists() and len(await admin.assigned(place.prefix, place.input)) < partitions:
            running.check()
            if time.monotonic() > deadline:
                raise Broken(f"{running.contender.title} was not ready within {START_SECONDS:.0f} s")
            await asyncio.sleep(0.1)
    await until_idle(running)


async def until_idle(running: Running) -> None:
    """Until its processes have rested for a while."""
    rested, before = 0, cpu_seconds(running.pids)
    while rested < REST_SECONDS:
        await asyncio.sleep(1)
        running.check()
        now = cpu_seconds(running.pids)
        rested = rested + 1 if now - before < RESTING_CORES else 0
        before = now


async def until_complete(running: Running, contender: Contender, tail: Tail, windows: int) -> pl.DataFrame:
    """The closed windows once there are `windows` of them, or nothing came for long.

    Decoded only when the topic is quiet: the reader must not take the contender's CPU.
    """
    begin = time.monotonic()
    seen, results = -1, pl.DataFrame()
    while True:
        await asyncio.sleep(0.05)
        running.check()
        enough = len(tail.values) >= windows and len(tail.values) != seen
        if enough and tail.quiet(QUIET_SECONDS):
            seen, results = len(tail.values), contender.decode(tail.values)
            if results.height >= windows:
                return results
        if time.monotonic() - max([begin, *tail.times[-1:]]) > IDLE_SECONDS:
            return contender.decode(tail.values) if tail.values else results


def complete_at(results: pl.DataFrame, tail: Tail) -> float:
    """When the last window came that had not come before (monotonic)."""
    if results.is_empty():
        return time.monotonic()
    first = results.unique(
        [name for name in ("kpi", "series", "start") if name in results.columns], keep="first"
    )
    return max(tail.times[index] for index in first["index"].to_list())


async def throughput(bench: Bench, contender: Contender, job: Job, expected: pl.DataFrame) -> Throughput:
    """One run over the whole backlog."""
    async with bench.place(contender, commit_ms=1000) as running:
        place = running.place
        records = contender.records(job)
        gate = Gate(place.bootstrap, place.input)
        try:
            await gate.fill(records)
            running.start()
            await until_ready(running)
            tail = Tail(place.bootstrap, contender.output(place))
            async with tail, Meter(running.pids, bench.servers) as meter:
                begin = await gate.open()
                results = await until_complete(running, contender, tail, expected.height)
                meter.sample()
        finally:
            await gate.close()
    end = complete_at(results, tail)
    cpu, others = meter.spent(begin, end)
    return Throughput(len(records), end - begin, cpu, meter.peak, others, judge(expected, results))
