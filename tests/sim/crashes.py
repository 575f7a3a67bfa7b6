"""A crash at every await.

A process changes nothing that lasts but by a request to the broker, so a crash at any await is one before or after the
request next to it: one small scenario is run as often as its first process makes requests and gets answers, and each
time that process is killed at another of them, and then once more in its second life.
"""

from collections.abc import Iterator
from dataclasses import replace

from tests.sim.scenario import Scenario, Strike
from tests.sim.world import calls_of

SMALL = (17,)
"""Seeds whose definitions and events are taken."""


def crashes(every: int) -> Iterator[tuple[str, Scenario]]:
    """At every so-manieth call, beginning with the first. 0: none."""
    if not every:
        return
    for seed in SMALL:
        calm = replace(Scenario.of(seed), processes=2, strikes=((), ()))
        for call in range(1, calls_of(calm) + 1, every):
            strikes = ((Strike(call, "kill", 0.2), Strike(call, "kill", 12.0)), ())
            yield f"crash at call {call} of seed {seed}", replace(calm, strikes=strikes)
