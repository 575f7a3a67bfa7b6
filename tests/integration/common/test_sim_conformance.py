"""The simulation's Kafka and the real one, through `aiokafka`, show the same to whoever does the same with them."""

import asyncio
import random

import pytest

from libs.common.settings import ServiceSettings
from tests.sim.broker import Broker
from tests.sim.clients import installed
from tests.sim.conformance import SCRIPTS, Script, Told
from tests.sim.virtual import VirtualLoop

ADDRESS = "conformance"
SEEDS = range(8)
"""They decide how long requests travel and when markers arrive."""


def real(script: Script, servers: dict[str, str], prefix: str) -> Told:
    settings = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database="", redis="", registry="", prefix=prefix, port=0
    )
    with asyncio.Runner() as runner:
        return runner.run(script(settings))


def simulated(script: Script, seed: int) -> Told:
    settings = ServiceSettings(kafka=ADDRESS, database="", redis="", registry="", port=0)
    broker = Broker(random.Random(seed))
    with installed(ADDRESS, broker), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(script(settings))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_simulation_shows_what_the_real_broker_shows(
    script: Script, servers: dict[str, str], namespace: str
) -> None:
    shown = real(script, servers, namespace)
    for seed in SEEDS:
        assert simulated(script, seed) == shown, f"seed {seed}"
