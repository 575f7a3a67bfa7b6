"""`make bench-engine`: how fast the engine is, and what it takes of the machine.

Each run works through a backlog that becomes readable at one moment; its time ends when the last window is
readable (read_committed). Every output is compared with a recompute.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from bench import sliding
from bench.command import main
from bench.contenders import Contender
from bench.contenders.sextant import Sextant, kpi
from bench.contest import Bench, Broken, Throughput, throughput
from bench.job import Job
from bench.report import Figure, console, middle, ratio, spread, table

PEER_JOB = Job()
WIDE_JOB = Job(events=2_000_000, series=100_000, per_ms=100.0)
"""As many events per series and window as the peer job has."""
LONG_JOB = Job(events=2_000_000)
VALUES = {
    "total": "sum(value)",
    "mean": "avg(value)",
    "span": "max(value) - min(value)",
    "events": "count(*)",
}
"""Four KPIs over the five aggregates sum, avg, max, min and count."""


async def rounds(
    bench: Bench, title: str, contenders: Sequence[Contender], job: Job, expected: pl.DataFrame
) -> dict[str, list[Throughput]]:
    """Runs of each, in turn, so that a slow minute of the machine falls on all; a table of them."""
    found: dict[str, list[Throughput]] = {each.title: [] for each in contenders}
    failures: dict[str, str] = {}
    for number in range(bench.runs):
        for contender in contenders:
            try:
                run = await throughput(bench, contender, job, expected)
            except Broken as broken:
                failures[contender.title] = str(broken)
                continue
            found[contender.title].append(run)
            line = f"{contender.title}: {run.rate:,.0f} events/s, {run.cpu:.2f} CPU s, {run.verdict}"
            console.print(f"  run {number + 1} of {bench.runs}  {line}", style="dim")
    rows = [
        [name, spread([run.rate for run in runs]), spread([run.cpu for run in runs], 2),
         spread([run.peak / 1e6 for run in runs]), spread([run.others for run in runs], 1), _verdict(runs)]
        for name, runs in found.items()
    ]  # fmt: skip
    table(title, ["", "events/s", "CPU s", "peak RSS MB", "others' CPU s", "output"], rows)
    for name, failure in failures.items():
        console.print(f"failed: {name}: {failure}", style="red")
    return found


def _verdict(runs: Sequence[Throughput]) -> str:
    wrong = [run.verdict for run in runs if not run.verdict.exact]
    if wrong:
        return f"{len(wrong)} of {len(runs)} runs {wrong[0]}"
    return str(runs[-1].verdict) if runs else "–"


def counted(runs: Sequence[Throughput]) -> list[Throughput]:
    """A run whose output is not exact has no speed."""
    return [run for run in runs if run.verdict.exact]


async def peer_job(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """500,000 JSON events, 1,000 series, 10 s windows, 5 s lateness, exactly once."""
    own = Sextant()
    found = await rounds(bench, "The peer job", [own, *peers], PEER_JOB, PEER_JOB.expected())
    rates = {name: middle(run.rate for run in counted(runs)) for name, runs in found.items()}
    cpu = {name: middle(run.cpu for run in counted(runs)) for name, runs in found.items()}
    rate, seconds = rates.pop(own.title), cpu.pop(own.title)
    asked = {"flink": 2.0, "kstreams": 8.0}
    marks = [
        asked[peer.name] * mark
        for peer in peers
        if peer.name in asked and (mark := rates[peer.title]) is not None
    ]
    times = {peer.title: ratio(rate, rates[peer.title]) for peer in peers}
    note = ", ".join(f"{value:.2f} × {name}" for name, value in times.items() if value is not None)
    return [
        Figure("peer job", rate, "events/s", "higher", max(marks, default=None), rates, note),
        Figure("peer job, CPU", seconds, "s", "lower", 1.5, cpu),
    ]


async def wide_job(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """Avro events, 4 KPIs over 5 aggregates, 100,000 series."""
    kpis = tuple(kpi(name, value=value, measures={}) for name, value in VALUES.items())
    own = Sextant("avro", kpis, value_as="value")
    base = WIDE_JOB.expected()
    values = {
        "total": pl.col("sum"), "mean": pl.col("sum") / pl.col("count"), "span": pl.col("max") - pl.col("min"),
        "events": pl.col("count").cast(pl.Float64),
    }  # fmt: skip
    expected = pl.concat(
        base.select(pl.lit(name).alias("kpi"), "series", "start", "count", value.alias("value"))
        for name, value in values.items()
    )
    title = "Avro events, 4 KPIs over 5 aggregates, 100,000 series"
    runs = (await rounds(bench, title, [own], WIDE_JOB, expected))[own.title]
    note = (
        f"{expected.height:,} observations of {WIDE_JOB.events:,} events: one of each series, window and KPI"
    )
    rate = middle(run.rate for run in counted(runs))
    return [Figure("avro, 4 KPIs, 100,000 series", rate, "events/s", "higher", 300_000, note=note)]


async def scale_out(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """Two processes against one, each pinned to a core."""
    name, unit, better, target = "2 processes against 1, pinned", "times", "higher", 1.7
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return [Figure(name, None, unit, better, target, note="this machine has one core")]
    one = Sextant(cores=(cores[0],), title="1 process")
    two = replace(one, cores=(cores[0], cores[1]), title="2 processes")
    found = await rounds(bench, "Processes pinned to a core each", [one, two], LONG_JOB, LONG_JOB.expected())
    single, double = (middle(run.rate for run in counted(found[each.title])) for each in (one, two))
    note = f"Kafka shares the machine's {len(cores)} cores"
    return [Figure(name, ratio(double, single), unit, better, target, {"1 process, events/s": single}, note)]


async def sliding_windows(bench: Bench, peers: Sequence[Contender]) -> list[Figure]:
    """A sliding 24 h window every minute against a tumbling minute, by CPU."""
    seconds: dict[str, float | None] = {}
    for title, window, expected in (
        ("tumbling 1 min", {"tumbling": "1m"}, sliding.JOB.expected().drop("min", "max")),
        ("sliding 24 h every 1 min", {"sliding": "24h", "every": "1m"}, sliding.expected()),
    ):
        own = Sextant(kpis=(kpi(window=window, measures={}),), title=title)
        runs = (await rounds(bench, f"Windows: {title}", [own], sliding.JOB, expected))[title]
        seconds[title] = middle(run.cpu for run in counted(runs))
    tumbling, slid = seconds.values()
    note = f"{slid or 0:.2f} s against {tumbling or 0:.2f} s"
    return [
        Figure(
            "sliding 24 h every 1 min, CPU against tumbling",
            ratio(slid, tumbling),
            "times",
            "lower",
            2.0,
            note=note,
        )
    ]


PARTS = {"peer-job": peer_job, "wide": wide_job, "scale": scale_out, "sliding": sliding_windows}

if __name__ == "__main__":
    main("engine", __doc__, PARTS)
