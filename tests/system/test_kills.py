"""Two real detectors, killed with -9 fifty times while events come: nothing is missing, extra or wrong."""

import asyncio
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiokafka import TopicPartition

from libs.common.kafka import delete_before, high_watermarks
from libs.common.settings import ServiceSettings
from libs.common.topics import OBSERVATIONS, STATE
from libs.common.twins import batch
from tests.detectors import (
    BEGIN,
    PARTITIONS,
    Detectors,
    Event,
    Windows,
    catalog,
    end,
    kpi,
    published,
    running,
    send,
    written,
)
from tests.generated.cases import same
from tests.mesh import until
from tests.unit.common.sample import connection

KILLS = 50
KPIS = [
    kpi("sums", source="pulses", measures={"n": "count(*)"}, early="1s"),
    kpi("slides", source="pulses", window={"sliding": "10m", "every": "1m"}, value="max(v) - min(v)"),
    kpi("trips", source="pulses", window={"session": "20s"}, value="count(v)"),
    kpi("totals", over={"part": "sums"}, by=[], value="sum(part)"),
]
CATALOG_OF_ALL = catalog(KPIS)


async def _lose(settings: ServiceSettings, number: int) -> None:
    """The log of a merge partition's state."""
    name = settings.prefix + STATE.name
    await delete_before(
        settings, TopicPartition(name, number), (await high_watermarks(settings, name))[number]
    )


def expected(events: list[Event]) -> Windows:
    """What the batch twin says of the events."""
    rows = [(at, at, k, v, partition, place) for place, (partition, at, k, v) in enumerate(events)]
    names = {
        "t": pl.Int64,
        "at": pl.Int64,
        "k": pl.String,
        "v": pl.Int64,
        "__partition": pl.Int32,
        "__offset": pl.Int64,
    }
    batch.put(connection(), "pulses", pl.DataFrame(rows, schema=names, orient="row"))
    return {
        (kpi.id, series, start): (stop, *more)
        for kpi in CATALOG_OF_ALL.kpis
        for series, start, stop, *more in connection()
        .execute(batch.statement(kpi, CATALOG_OF_ALL))
        .fetchall()
    }


@pytest.mark.timeout(900)
def test_whatever_is_killed_whenever_the_values_are_those_of_batch(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    """Every tenth kill takes the log of a state with it."""
    with running(servers, namespace, database, tmp_path, CATALOG_OF_ALL, 2) as detectors:
        kill_and_compare(detectors.settings, detectors)


def kill_and_compare(settings: ServiceSettings, detectors: Detectors) -> None:
    dice = random.Random(7)
    sent: list[Event] = []
    until(lambda: written(settings, STATE.name), seconds=60)
    for kill in range(KILLS):
        late = [dice.choice((0, 0, 0, 30_000, 300_000)) for _ in range(40)]
        events = [
            (
                dice.randrange(PARTITIONS), BEGIN + max(0, kill * 20_000 + dice.randrange(20_000) - each),
                dice.choice(("a", "b", "c", None)), dice.choice((None, dice.randint(-5, 50))),
            )
            for each in late
        ]  # fmt: skip
        asyncio.run(send(settings, events, len(sent)))
        sent += events
        topic = dice.choice((None, STATE.name, OBSERVATIONS.name))
        if topic is not None:  # else it is killed while it starts, or on whatever it is at
            before = written(settings, topic)
            until(lambda before=before, topic=topic: written(settings, topic) > before, seconds=60)
        if kill % 10 == 9:
            asyncio.run(_lose(settings, dice.randrange(STATE.partitions)))
        detectors.kill(dice.randrange(2))
    asyncio.run(end(settings))
    wanted = expected(sent)

    def differing() -> list[Any]:
        found = asyncio.run(published(settings))
        return [
            (key, found.get(key), wanted.get(key))
            for key in found.keys() | wanted.keys()
            if key not in found or key not in wanted or not same(found[key], wanted[key])
        ]

    try:
        until(lambda: not differing(), seconds=120)
    except AssertionError:
        assert differing()[:10] == []
