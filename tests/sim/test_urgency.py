"""In virtual time: what is waited for goes before what is not."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import patch

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock
from libs.common.kafka import Record
from libs.common.service import Readiness
from libs.common.stream import Processor, TransactionalLoop, Urgency
from tests.sim.virtual import VirtualLoop
from tests.sim.world import settings_of

TP = TopicPartition("events", 0)
PAUSE = 0.1


class Trickle:
    """A client that brings a record every hundredth of a second."""

    async def getmany(self, *_: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        await asyncio.sleep(0.01)
        return {TP: ["record"]}


class Until:
    """Records are urgent from a moment on."""

    def __init__(self, moment: float = float("inf")) -> None:
        self.moment = moment

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        return clock.monotonic() >= self.moment


def held(urgency: Urgency, processor: Until) -> tuple[float, bool]:
    """For how long a batch is held that may be taken after `PAUSE`, and whether it is urgent then."""

    async def hold() -> tuple[float, bool]:
        loop = TransactionalLoop(
            settings_of("held"), "held", cast(Processor, processor), Readiness(), pause_seconds=PAUSE, urgency=urgency
        )  # fmt: skip
        began = clock.monotonic()
        client = cast(AIOKafkaConsumer, Trickle())
        _, urgent = await loop.hold(client, TP, asyncio.Event(), began + PAUSE)
        return clock.monotonic() - began, urgent

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        virtual = runner.get_loop()
        with patch.object(clock, "monotonic", virtual.time):
            return runner.run(hold())


def near(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.02)


def test_a_batch_is_held_for_the_pause() -> None:
    assert held(Urgency(), Until()) == (near(PAUSE), False)


def test_a_batch_waits_a_pause_more_while_another_is_urgent_and_no_longer() -> None:
    urgency = Urgency()
    with urgency.step():
        assert held(urgency, Until()) == (near(2 * PAUSE), False)
    assert held(urgency, Until()) == (near(PAUSE), False)


def test_a_batch_that_gets_urgent_is_not_held_whatever_else_is() -> None:
    urgency = Urgency()
    assert held(urgency, Until(0.05)) == (near(0.05), True)
    with urgency.step():
        assert held(urgency, Until(0.05)) == (near(0.05), True)
        assert held(urgency, Until(0.15)) == (near(0.15), True)
