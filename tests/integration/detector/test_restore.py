"""What a merge partition's state is made of again is all there, or the detector says what is not."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.catalog import Catalog
from libs.common.kafka import consumer, delete_before, ensure_topics, producer
from libs.common.references import References
from libs.common.registry import Codecs, Registry
from libs.common.settings import ServiceSettings
from libs.common.stream import Output, send
from libs.common.topics import PARTIALS, used_by
from services.detector.core.engine import Engine
from services.detector.core.steps import Emission
from services.detector.handlers import bus
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import Erasures
from services.detector.handlers.merge import Merge
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.reading import Reading
from services.detector.handlers.rebuild import Rebuild
from services.detector.handlers.statelog import SNAPSHOT, StateLog, Step
from services.detector.handlers.withdrawals import Withdrawals
from services.detector.settings import Settings


@pytest.fixture
async def settings(servers: dict[str, str], namespace: str, database: str) -> Settings:
    found = Settings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=namespace, port=0,
    )  # fmt: skip
    await ensure_topics(found, used_by("detector"))
    return found


async def take_steps(settings: ServiceSettings, tp: TopicPartition, count: int) -> None:
    """So many steps of one record each, as the merge loop would have written them."""
    log = StateLog(tp.partition, Step(0, 0, 0))
    writer = producer(settings, "restore")
    await writer.start()
    for number in range(count):
        async with writer.transaction():
            marks = bus.marks("meter", number % 2, number, idle=False, upto=number)
            await send(writer, settings, [each for each in marks if each.partition == tp.partition])
        at = 2 * (number + 1)  # a transaction's marker has an offset of its own
        async with writer.transaction():
            await send(writer, settings, [log.step(at, number, 10)])
            await writer.send_offsets_to_transaction({tp: at}, f"{settings.prefix}detector.merge")
    await writer.stop()


@asynccontextmanager
async def merging(settings: Settings, tp: TopicPartition) -> AsyncGenerator[tuple[Merge, AIOKafkaConsumer]]:
    """The processor as it starts, and the client that it is given."""
    definitions, erasures, codecs = Definitions(Catalog()), Erasures(settings), Codecs(Registry(settings))
    reading = Reading(definitions, codecs, References(settings), erasures, Withdrawals(settings))
    client = consumer(settings, "detector.merge")
    await client.start()
    client.assign([tp])
    try:
        yield Merge(settings, definitions, Publisher(1), erasures, Rebuild(settings, reading, codecs)), client
    finally:
        await client.stop()
        await codecs.registry.close()


async def test_rows_that_were_deleted_before_a_snapshot_had_them_are_noticed_and_the_state_is_made_anew(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    tp = TopicPartition(settings.prefix + PARTIALS.name, 0)
    await take_steps(settings, tp, 5)
    async with merging(settings, tp) as (merge, client):
        assert await merge.assigned(client, tp) == []
        assert merge.partitions[0].engine.marks["meter"].marks.keys() == {0, 1}
        await delete_before(settings, tp, 4)
        first = await merge.assigned(client, tp)
        assert [each.key for each in first if isinstance(each, Output)] == [SNAPSHOT]
        assert await client.position(tp) == 10
        (lost,) = [each for each in caplog.records if each.message.startswith("a state is lost")]
        assert "partial rows of offsets 0 to 4 were deleted" in str(vars(lost)["fields"])


async def test_a_process_that_takes_many_steps_again_does_nothing_else_too_late_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats above all: all that waits has its turn after each step."""
    tp, turn, steps_at = TopicPartition(settings.prefix + PARTIALS.name, 0), 0, Counter[int]()
    await take_steps(settings, tp, 100)

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    step = Engine.step

    def counted(self: Engine, *given: Any) -> list[Emission]:
        steps_at[turn] += 1
        return step(self, *given)

    monkeypatch.setattr(Engine, "step", counted)
    busy = asyncio.create_task(others())
    async with merging(settings, tp) as (merge, client):
        await merge.assigned(client, tp)
    busy.cancel()
    assert steps_at.total() == 100
    assert max(steps_at.values()) == 1
