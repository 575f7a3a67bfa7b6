"""Whatever strikes, what is committed in the end is what batch gives. More seeds: `make sim seeds=N`."""

import pytest

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


@pytest.mark.parametrize(
    "seed",
    [256, 360],
    ids=["a KPI over one that gets a new version", "sessions with several events at one moment"],
)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    simulate(Scenario.of(seed))
