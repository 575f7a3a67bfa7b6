"""Two real detectors, killed with -9 fifty times while events come: nothing is missing, extra or wrong."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import DEFINITION, Catalog
from libs.common.events import OBSERVATION_SCHEMA, CatalogEntry
from libs.common.kafka import delete_before, ensure_topics, high_watermarks, producer, read_all
from libs.common.registry import Codecs, Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import CATALOG, EVENTS, OBSERVATIONS, STATE, used_by
from libs.common.twins import batch
from libs.common.wire import record
from local import ports
from local.places import ROOT
from tests.generated.cases import same
from tests.mesh import until
from tests.unit.common.sample import connection

KILLS = 50
PARTITIONS = 2
BEGIN = 1_767_225_600_000
"""2026-01-01, ms: the time of the first event."""
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "pulses", "title": "Pulses", "owner": "ops", "event_id": "id", "event_time": "at",
    "format": "json", "partitions": PARTITIONS,
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "k", "type": "string", "nullable": True}, {"name": "v", "type": "long", "nullable": True},
    ],
}  # fmt: skip


def kpi(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "ops", "value": "sum(v)", "by": ["k"], "lateness": "1d",
        "window": {"tumbling": "1m"}, **more,
    }  # fmt: skip


KPIS = [
    kpi("sums", source="pulses", measures={"n": "count(*)"}, early="1s"),
    kpi("slides", source="pulses", window={"sliding": "10m", "every": "1m"}, value="max(v) - min(v)"),
    kpi("trips", source="pulses", window={"session": "20s"}, value="count(v)"),
    kpi("totals", over={"part": "sums"}, by=[], value="sum(part)"),
]
CATALOG_OF_ALL = Catalog.of([DEFINITION.validate_python(each) for each in (SOURCE, *KPIS)])
Event = tuple[int, int, str | None, int | None]
"""Partition, time (ms), k, v."""


class Detectors:
    """Two processes; whichever is killed is started again at once."""

    def __init__(self, settings: ServiceSettings, servers: dict[str, str], folder: Path) -> None:
        self.settings, self.folder = settings, folder
        free = iter(ports.free().values())
        self.env = [
            {
                **os.environ, **servers, "SEXTANT_PREFIX": settings.prefix, "SEXTANT_PORT": str(next(free)),
                "SEXTANT_INSTANCE": f"killed-{number}", "SEXTANT_DATABASE": settings.database,
            }
            for number in range(2)
        ]  # fmt: skip
        self.processes = [self._start(number) for number in range(2)]

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        with (self.folder / f"detector-{number}.log").open("ab") as log:
            command = [sys.executable, "-m", "services.detector"]
            return subprocess.Popen(command, cwd=ROOT, env=self.env[number], stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        assert self.processes[number].poll() is None, "it ended by itself"
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait()
        self.processes[number] = self._start(number)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)


@pytest.fixture
def settings(servers: dict[str, str], namespace: str, database: str) -> ServiceSettings:
    return ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=namespace, port=0,
    )  # fmt: skip


@pytest.fixture
def detectors(settings: ServiceSettings, servers: dict[str, str], tmp_path: Path) -> Iterator[Detectors]:
    asyncio.run(_arrange(settings))
    found = Detectors(settings, servers, tmp_path)
    yield found
    found.stop()


async def _arrange(settings: ServiceSettings) -> None:
    await ensure_topics(settings, used_by("detector"))
    await ensure_topics(settings, [(EVENTS.of("pulses"), EVENTS, PARTITIONS)])
    client = producer(settings)
    await client.start()
    for definition in CATALOG_OF_ALL.definitions.values():
        entry = CatalogEntry.build(
            kind=definition.kind, id=definition.id, definition_version=1, applied_by="test",
            definition=definition.model_dump(mode="json"), applied_at=clock.now(),
        )  # fmt: skip
        await client.send_and_wait(
            settings.prefix + CATALOG.name, entry.encode(), entry.key.encode(), partition=0
        )
    await client.stop()


async def _send(settings: ServiceSettings, events: list[Event], first: int) -> None:
    client = producer(settings)
    await client.start()
    for number, (partition, at, k, v) in enumerate(events, first):
        value = json.dumps({"id": f"p{number}", "at": at, "k": k, "v": v}).encode()
        await client.send(settings.prefix + EVENTS.of("pulses"), value, partition=partition)
    await client.stop()


async def _end(settings: ServiceSettings) -> None:
    client = producer(settings)
    await client.start()
    far = [("sx-control", b"watermark"), ("sx-watermark", str(BEGIN + 86_400_000 * 3).encode())]
    for number in range(PARTITIONS):
        await client.send_and_wait(settings.prefix + EVENTS.of("pulses"), b"", partition=number, headers=far)
    await client.stop()


async def _lose(settings: ServiceSettings, number: int) -> None:
    """The log of a merge partition's state."""
    name = settings.prefix + STATE.name
    await delete_before(
        settings, TopicPartition(name, number), (await high_watermarks(settings, name))[number]
    )


def written(settings: ServiceSettings, topic: str) -> int:
    return sum(asyncio.run(high_watermarks(settings, settings.prefix + topic)).values())


Windows = dict[tuple[str, str, int], tuple[Any, ...]]


async def _published(settings: ServiceSettings) -> Windows:
    """(KPI, series, start) → stop, value, count, measures of the last revision; each revision is there once, in order."""
    registry = Registry(settings)
    codecs = Codecs(registry, OBSERVATION_SCHEMA)
    found: Windows = {}
    revisions: dict[tuple[str, str, int], int] = {}
    async for records in read_all(settings, OBSERVATIONS.name):
        known = await codecs.of([each.value for each in records])
        for seen in (record(each.value, known) for each in records):
            start, stop = (round(seen[name].timestamp() * 1000) for name in ("window_start", "window_end"))
            key = seen["kpi"], seen["series_key"], start
            assert seen["revision"] == revisions.get(key, 0) + 1, (key, seen["revision"], revisions.get(key))
            revisions[key] = seen["revision"]
            found.pop(key, None)
            if seen["status"] == "final":
                found[key] = (stop, seen["value"], seen["count"], *seen["measures"].values())
    await registry.close()
    return found


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
    settings: ServiceSettings, detectors: Detectors
) -> None:
    """Every tenth kill takes the log of a state with it."""
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
        asyncio.run(_send(settings, events, len(sent)))
        sent += events
        topic = dice.choice((None, STATE.name, OBSERVATIONS.name))
        if topic is not None:  # else it is killed while it starts, or on whatever it is at
            before = written(settings, topic)
            until(lambda before=before, topic=topic: written(settings, topic) > before, seconds=60)
        if kill % 10 == 9:
            asyncio.run(_lose(settings, dice.randrange(STATE.partitions)))
        detectors.kill(dice.randrange(2))
    asyncio.run(_end(settings))
    wanted = expected(sent)

    def differing() -> list[Any]:
        found = asyncio.run(_published(settings))
        return [
            (key, found.get(key), wanted.get(key))
            for key in found.keys() | wanted.keys()
            if key not in found or key not in wanted or not same(found[key], wanted[key])
        ]

    try:
        until(lambda: not differing(), seconds=120)
    except AssertionError:
        assert differing()[:10] == []
