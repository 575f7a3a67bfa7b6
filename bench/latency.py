"""`make bench-latency`: from the event that closes a window to its record being readable (read_committed).

Events come at 5,000 a second; commits (checkpoints) every 100 ms. The first seconds are not counted, nor is a run that
comes before all others.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.broker import Tail
from bench.command import main
from bench.contenders import Contender
from bench.contenders.sextant import Sextant
from bench.contest import Bench, Broken, publish, until_complete, until_ready
from bench.job import Job, Verdict, judge
from bench.meter import cpu_seconds
from bench.pace import closers, paced
from bench.report import Figure, console, middle, spread, table

RATE = 5_000
SECONDS = 35
WARM = 10_000
"""Events that are there before the pace begins."""
UNCOUNTED_SECONDS = 5
COMMIT_MS = 100
JOB = Job(events=WARM + RATE * SECONDS)


@dataclass(frozen=True)
class Latencies:
    """One run."""

    milliseconds: npt.NDArray[np.float64]
    """Of each window that an event of the counted seconds closed."""
    cores: float
    """CPU of the contender, in cores."""
    verdict: Verdict

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.milliseconds, percentile))


async def run(bench: Bench, contender: Contender, expected: pl.DataFrame) -> Latencies:
    """One run at the pace; raises Broken."""
    async with bench.place(contender, COMMIT_MS) as running:
        place = running.place
        records = contender.records(JOB)
        await publish(place, records[:WARM])
        running.start()
        await until_ready(running)
        async with Tail(place.bootstrap, contender.output(place)) as tail:
            before = cpu_seconds(running.pids)
            sending = asyncio.create_task(
                paced(place.bootstrap, place.input, records[WARM : JOB.events], RATE)
            )
            times = await sending
            cores = (cpu_seconds(running.pids) - before) / SECONDS
            await publish(place, records[JOB.events :])
            results = await until_complete(running, contender, tail, expected.height)
    if results.is_empty():
        raise Broken(f"{contender.title} brought nothing")
    first = results.unique(["series", "start"], keep="first")
    closed = first.join(closers(JOB, contender.closing, contender.delay_ms), on=["series", "start"])
    closed = closed.filter(pl.col("closer").is_between(WARM + RATE * UNCOUNTED_SECONDS, JOB.events - 1))
    if closed.is_empty():
        raise Broken(f"{contender.title} closed no window while events came")
    readable = np.array(tail.times)[closed["index"].to_numpy()]
    handed = times[closed["closer"].to_numpy() - WARM]
    return Latencies((readable - handed) * 1000, cores, judge(expected, results))


async def latency(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """Medians over runs of each run's percentiles."""
    own, expected = Sextant(), JOB.expected()
    await run(bench, own, expected)  # not counted: in its first minute the broker's JVM compiles itself
    found: dict[str, list[Latencies]] = {each.title: [] for each in (own, *peers)}
    for number in range(bench.runs):
        for contender in (own, *peers):
            try:
                one = await run(bench, contender, expected)
            except Broken as broken:
                console.print(f"failed: {broken}", style="red")
                continue
            found[contender.title].append(one)
            line = f"{contender.title}: p50 {one.at(50):.0f} ms, p99 {one.at(99):.0f} ms, {one.verdict}"
            console.print(f"  run {number + 1} of {bench.runs}  {line}", style="dim")
    rows = [
        [name, spread([one.at(50) for one in runs]), spread([one.at(99) for one in runs]),
         spread([one.at(100) for one in runs]), spread([one.cores for one in runs], 2),
         str(runs[-1].verdict) if runs else "–"]
        for name, runs in found.items()
    ]  # fmt: skip
    title = f"Closing event to record readable, {RATE:,} events/s, commits of {COMMIT_MS} ms"
    table(title, ["", "p50 ms", "p99 ms", "max ms", "CPU, cores", "output"], rows)
    figures: list[Figure] = []
    for percentile, target in ((50, None), (99, 115.0)):
        medians = {
            name: middle(one.at(percentile) for one in runs if one.verdict.exact)
            for name, runs in found.items()
        }
        value = medians.pop(own.title)
        name = f"closing event to record readable, p{percentile}"
        figures.append(Figure(name, value, "ms", "lower", target, medians))
    return figures


if __name__ == "__main__":
    main("latency", __doc__, {"latency": latency})
