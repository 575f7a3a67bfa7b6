"""Whatever strikes, what is committed in the end is what batch gives. More seeds: `make sim seeds=N`."""

import os
import subprocess
import sys

import pytest

from tests.generated.count import HELD
from tests.sim.scenario import Scenario
from tests.sim.world import Failed, simulate

BLOCK = 25


@pytest.mark.parametrize("first", range(0, 150, BLOCK))
def test_committed_output_is_that_of_batch_whatever_strikes(first: int) -> None:
    for seed in range(first, first + BLOCK):
        try:
            simulate(Scenario.of(seed))
        except Failed as failed:
            pytest.fail(f"make sim seed={seed}: {failed}")
        HELD["simulated"] += 1


@pytest.mark.parametrize(
    "seed",
    [133, 256, 360, 161, 480, 581, 881, 1764, 1862],
    ids=[
        "a KPI goes live while a lost state is made anew",
        "a KPI over one that gets a new version",
        "sessions with several events at one moment",
        "a process restores a state whose KPI it has not heard of",
        "a KPI begins over one that has closed a window",
        "a KPI begins over one that has values",
        "progress behind the open transaction of another",
        "merge partitions hear of a KPI over others one by one",
        "progress behind the open transaction of a dead process",
    ],
)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    simulate(Scenario.of(seed))


@pytest.mark.parametrize("seed", [133, 134], ids=["a lost state", "a KPI over another"])
def test_a_seed_plays_the_same_in_every_process(seed: int) -> None:
    def story(hashes: str) -> str:
        command = [sys.executable, "-m", "tests.sim", "--seed", str(seed)]
        env = {**os.environ, "PYTHONHASHSEED": hashes}
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True, timeout=120
        ).stdout

    assert story("0") == story("3")
