"""`make bench-recovery`: from kill -9 to the first output of the process started in its place, and what an open key
takes of memory.

The process is started again at once, on the same state. Every output is compared with a recompute.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.broker import Admin, Gate, Tail
from bench.command import main
from bench.contenders import Contender
from bench.contenders.sextant import Sextant
from bench.contest import (
    START_SECONDS,
    Bench,
    Broken,
    Running,
    publish,
    until_complete,
    until_idle,
    until_ready,
)
from bench.job import Job, Verdict, judge
from bench.meter import memory
from bench.open_keys import OpenKeys
from bench.report import Figure, console, middle, spread, table

JOB = Job(events=1_000_000)
"""The peer job, twice as long: the fastest must still be at it when it is killed."""
KILL_AT = 0.1
"""Share of the windows that are out when it is killed."""
DELAYS_SECONDS = (0.0, 0.15, 0.3)
"""Added to that in turn, so that a kill does not always follow a commit."""
KEYS = 1_000_000


@dataclass(frozen=True)
class Recovery:
    """One kill."""

    seconds: float
    """To the first output of the successor."""
    verdict: Verdict
    bytes_per_key: float = 0.0
    """Resident memory, with the keys open less without any."""
    state_per_key: float = 0.0
    """As the engine counts its state."""


@dataclass(frozen=True)
class Kill:
    """A kill -9 and the start of a successor."""

    at: float
    """Monotonic."""
    ends: dict[int, int]
    """Where the output ended: what lies beyond is the successor's, whatever of the dead process is still to be read."""

    def recovered(self, tail: Tail) -> float:
        """Seconds to the first output of the successor; Broken if there was none."""
        places = zip(tail.places, tail.times, strict=True)
        later = [at for (partition, offset), at in places if offset >= self.ends[partition]]
        if not later:
            raise Broken("no output after the kill: all of it had been out before")
        return min(later) - self.at


async def revive(running: Running, tail: Tail) -> Kill:
    """Kill -9 and start again at once; the output's end is asked for while the successor still starts."""
    running.kill()
    at = time.monotonic()
    running.start()
    async with Admin(running.place.bootstrap) as admin:
        return Kill(at, await admin.ends(tail.topic))


async def until_out(running: Running, tail: Tail, records: int) -> None:
    """Until so many records are readable."""
    deadline = time.monotonic() + START_SECONDS
    while len(tail.values) < records:
        running.check()
        if time.monotonic() > deadline:
            raise Broken(f"{running.contender.title} gave {len(tail.values):,} of {records:,} records")
        await asyncio.sleep(0.01)


async def mid_backlog(bench: Bench, contender: Contender, delay: float) -> Recovery:
    """Killed while it works through a backlog of the peer job."""
    expected = JOB.expected()
    async with bench.place(contender, commit_ms=500) as running:
        place = running.place
        gate = Gate(place.bootstrap, place.input)
        try:
            await gate.fill(contender.records(JOB))
            running.start()
            await until_ready(running)
            async with Tail(place.bootstrap, contender.output(place)) as tail:
                await gate.open()
                await until_out(running, tail, int(KILL_AT * expected.height))
                await asyncio.sleep(delay)
                kill = await revive(running, tail)
                results = await until_complete(running, contender, tail, expected.height)
        finally:
            await gate.close()
    return Recovery(kill.recovered(tail), judge(expected, results))


async def with_open_keys(bench: Bench, own: Sextant, job: OpenKeys) -> Recovery:
    """Killed with many windows open, and events waiting that close some of them."""
    async with bench.place(own, commit_ms=500) as running:
        place, records = running.place, own.records(job)
        running.start()
        await until_ready(running)
        before = memory(running.pids)
        await publish(place, records[: job.opening])
        await until_consumed(running)
        await until_idle(running)
        resident = memory(running.pids) - before
        state = sum(kpi.get("state_bytes", 0) for kpi in await own.state())
        async with Tail(place.bootstrap, own.output(place)) as tail:
            kill = await revive(running, tail)
            await publish(place, records[job.opening : job.events])
            await until_out(running, tail, job.first)
            await publish(place, records[job.events :])
            results = await until_complete(running, own, tail, job.first + job.series)
    verdict = judge(job.expected(), results)
    return Recovery(kill.recovered(tail), verdict, resident / job.series, state / job.series)


async def until_consumed(running: Running) -> None:
    """Until all that is on the input topic has been committed."""
    place, deadline = running.place, time.monotonic() + START_SECONDS
    async with Admin(place.bootstrap) as admin:
        ends = await admin.ends(place.input)
        while left := await admin.behind(place.prefix, place.input, ends):
            running.check()
            if time.monotonic() > deadline:
                raise Broken(f"{left:,} events were not consumed within {START_SECONDS:.0f} s")
            await asyncio.sleep(0.2)


async def backlog(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """The peer job, killed on the way."""
    own = Sextant()
    found: dict[str, list[Recovery]] = {each.title: [] for each in (own, *peers)}
    for number in range(bench.runs):
        for contender in (own, *peers):
            try:
                one = await mid_backlog(bench, contender, DELAYS_SECONDS[number % len(DELAYS_SECONDS)])
            except Broken as broken:
                console.print(f"failed: {broken}", style="red")
                continue
            found[contender.title].append(one)
            line = f"{contender.title}: first output after {one.seconds:.2f} s, {one.verdict}"
            console.print(f"  kill {number + 1} of {bench.runs}  {line}", style="dim")
    rows = [[name, spread([one.seconds for one in runs], 2), _verdict(runs)] for name, runs in found.items()]
    table("kill -9 in mid-backlog, started again at once", ["", "to first output s", "output"], rows)
    medians = {name: middle(one.seconds for one in runs) for name, runs in found.items()}
    value = medians.pop(own.title)
    return [Figure("kill -9 to first output, peer job", value, "s", "lower", 2.0, medians)]


async def open_keys(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """A million open keys."""
    own, job = Sextant(), OpenKeys(series=KEYS)
    runs: list[Recovery] = []
    for number in range(bench.runs):
        try:
            runs.append(await with_open_keys(bench, own, job))
        except Broken as broken:
            console.print(f"failed: {broken}", style="red")
            continue
        one = runs[-1]
        line = f"first output after {one.seconds:.2f} s, {one.bytes_per_key:.0f} bytes a key, {one.verdict}"
        console.print(f"  kill {number + 1} of {bench.runs}  {line}", style="dim")
    columns = ["", "to first output s", "resident bytes per key", "state bytes per key", "output"]
    numbers = (
        spread([one.seconds for one in runs], 2),
        spread([one.bytes_per_key for one in runs]),
        spread([one.state_per_key for one in runs]),
    )
    table(f"kill -9 with {KEYS:,} open keys", columns, [[own.title, *numbers, _verdict(runs)]])
    resident, state = middle(one.bytes_per_key for one in runs), middle(one.state_per_key for one in runs)
    seconds = middle(one.seconds for one in runs)
    return [
        Figure("kill -9 to first output, 1,000,000 open keys", seconds, "s", "lower", 5.0),
        Figure("memory per open key and window, resident", resident, "bytes", "lower", 200.0),
        Figure("memory per open key and window, state", state, "bytes", "lower", 200.0),
    ]


def _verdict(runs: Sequence[Recovery]) -> str:
    wrong = [one.verdict for one in runs if not one.verdict.exact]
    if wrong:
        return f"{len(wrong)} of {len(runs)} {wrong[0]}"
    return str(runs[-1].verdict) if runs else "–"


if __name__ == "__main__":
    main("recovery", __doc__, {"backlog": backlog, "open-keys": open_keys})
