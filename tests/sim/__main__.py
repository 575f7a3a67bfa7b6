"""`make sim seeds=N`: so many scenarios, side by side on the machine's cores; `make sim seed=K`: one, and its story."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # small frames, and several workers: threads would only wait

from rich.console import Console
from rich.progress import Progress

from tests.sim.crashes import crashes
from tests.sim.scenario import Scenario
from tests.sim.world import Failed, fault_of, simulate

console = Console(highlight=False)
Case = tuple[str, Scenario]
"""How to run it again, and what to run."""


def replay(seed: int) -> int:
    try:
        story = simulate(Scenario.of(seed))
    except Failed as failed:
        console.print("\n".join(getattr(failed, "__notes__", [])), style="dim")
        console.print(str(failed), style="red")
        return 1
    console.print("\n".join(story), style="dim")
    console.print(f"seed {seed}: committed output = batch", style="green")
    return 0


def cases(first: int, seeds: int, every: int) -> Iterator[Case]:
    yield from ((f"make sim seed={seed}", Scenario.of(seed)) for seed in range(first, first + seeds))
    yield from crashes(every)


def run(first: int, seeds: int, every: int) -> int:
    wanted = list(cases(first, seeds, every))
    failed = 0
    with (
        ProcessPoolExecutor(
            os.cpu_count(), get_context("spawn"), logging.disable, (logging.CRITICAL,)
        ) as pool,
        Progress(console=console) as progress,
    ):
        task = progress.add_task(f"{len(wanted):,} scenarios", total=len(wanted))
        for (again, _), fault in zip(
            wanted, pool.map(fault_of, [scenario for _, scenario in wanted], chunksize=8), strict=True
        ):
            progress.advance(task)
            if fault is not None:
                failed += 1
                progress.console.print(f"{again}\n  {fault[:1_000]}", style="red", markup=False)
    verdict = "committed output = batch in all of them" if not failed else f"{failed:,} failed"
    console.print(f"{len(wanted):,} scenarios: {verdict}", style="red" if failed else "green")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--crash-every", type=int, default=1, help="crash at every so-manieth call; 0: none")
    parser.add_argument("--seed", type=int, help="only this one, with its story")
    asked = parser.parse_args()
    return replay(asked.seed) if asked.seed is not None else run(asked.first, asked.seeds, asked.crash_every)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
