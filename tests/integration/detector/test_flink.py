"""A real Flink cluster publishes what plain SQL gives, to the last row and in the detector's own wire format."""

import asyncio
import json
from collections import Counter
from collections.abc import Generator
from math import isclose
from typing import Any

import duckdb
import pytest

from libs.common import clock
from libs.common.events import OBSERVATION_SCHEMA
from libs.common.kafka import ensure_topics, producer, read_all
from libs.common.registry import Codecs, Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import EVENTS, OBSERVATIONS
from libs.common.twins import batch, flink
from libs.common.twins.flink_tables import Place
from libs.common.wire import Codec, record, split
from services.detector.handlers.cluster import ENDED, Cluster
from tests import flink_sample as sample
from tests.backing import Flink

pytestmark = pytest.mark.timeout(300)
VERSION = 3
KPIS = list(sample.kpis())


class Published:
    """What went in, and the observations that one job over all definitions made of it."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.schema_id = 0
        self.source_schema = 0
        self.messages: list[tuple[bytes, bytes]] = []
        self.rows: list[dict[str, Any]] = []

    def of(self, id: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kpi"] == id]


@pytest.fixture(scope="module")
async def published(servers: dict[str, str], flink_cluster: Flink) -> Published:
    settings = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database="", redis="", registry=servers["SEXTANT_REGISTRY"],
        prefix=f"flink{int(clock.now().timestamp() * 1000)}.", port=0,
    )  # fmt: skip
    found, registry = Published(), Registry(settings)
    found.schema_id = await registry.register(f"{OBSERVATIONS.name}-value", OBSERVATION_SCHEMA)
    await ensure_topics(settings, [(OBSERVATIONS.name, OBSERVATIONS, 2)])
    for id in ("flights", "flights_json"):
        found.events[id] = await produce(settings, registry, id)
    found.source_schema = await registry.register(
        "events.flights-value", sample.source("flights", "avro").avro_schema()
    )
    place = Place(settings.kafka, settings.registry, settings.prefix, bounded=True)
    cluster = Cluster(*flink_cluster.addresses.values())
    try:
        await run(cluster, flink.script([(kpi, VERSION) for kpi in KPIS], sample.catalog(), place, "test"))
        codecs = Codecs(registry, OBSERVATION_SCHEMA)
        async for records in read_all(settings, OBSERVATIONS.name):
            found.messages += [(each.key or b"", each.value or b"") for each in records]
        values = [value for _, value in found.messages]
        found.rows = [record(value, await codecs.of([value])) for value in values]
    finally:
        await cluster.close()
        await registry.close()
    return found


async def run(cluster: Cluster, statements: list[str]) -> None:
    """Submit the job, which ends by itself, and wait for that."""
    job = await cluster.submit("sextant test", statements, flink.SETTINGS)
    while (state := {each.id: each.state for each in await cluster.jobs()}[job]) not in ENDED:
        assert not (fault := await cluster.fault(job)), fault
        await asyncio.sleep(0.2)  # the cluster calls nobody back
    assert state == "FINISHED", await cluster.fault(job)


async def produce(settings: ServiceSettings, registry: Registry, id: str) -> list[dict[str, Any]]:
    """The events with their offsets; beside them what is no event: garbage, a wrong clock, a control record."""
    source = sample.source(id, "json" if id.endswith("json") else "avro")
    await ensure_topics(settings, [(EVENTS.of(id), EVENTS, sample.PARTITIONS)])
    codec, topic = Codec(source.avro_schema()), settings.prefix + EVENTS.of(id)
    schema_id = await registry.register(f"{EVENTS.of(id)}-value", source.avro_schema())

    def encode(event: dict[str, Any]) -> bytes:
        fields = {name: event[name] for name in sample.FIELDS}
        if source.format == "avro":
            return codec.encode(schema_id, fields)
        return json.dumps(fields, default=lambda time: time.isoformat()).encode()

    events, control = sample.events(), [("sx-control", b"watermark"), ("sx-watermark", b"1700000000000")]
    client = producer(settings)
    await client.start()
    try:
        for partition in range(sample.PARTITIONS):
            for value in (b"", b"\x00garbage", b"{", encode({**events[0], "at": sample.FAR})):
                headers = [] if value else control
                await client.send_and_wait(topic, value, partition=partition, headers=headers)
        for event in events:
            sent = await client.send(topic, encode(event), key=b"k", partition=event["partition"])
            event["offset"] = (await sent).offset
    finally:
        await client.stop()
    return events


@pytest.fixture(scope="module")
def twin(published: Published) -> Generator[duckdb.DuckDBPyConnection]:
    """The events as tables, for the batch twin's queries."""
    with duckdb.connect(config={"threads": 1}) as connection:
        for id, events in published.events.items():
            batch.put(connection, id, sample.table(events))
        yield connection


def test_there_are_at_least_forty_definitions() -> None:
    assert len(KPIS) >= 40


@pytest.mark.parametrize("id", [kpi.id for kpi in KPIS])
async def test_flink_publishes_what_plain_sql_gives(
    id: str, published: Published, twin: duckdb.DuckDBPyConnection
) -> None:
    kpi = next(each for each in KPIS if each.id == id)
    found = {
        (row["series_key"], ms(row["window_start"]), ms(row["window_end"])): (
            row["value"], *(row["measures"][name] for name in kpi.measures), row["count"]
        )
        for row in published.of(id)
    }  # fmt: skip
    rows = twin.execute(batch.statement(kpi, sample.catalog())).fetchall()
    expected = {row[:3]: (row[3], *row[5:], row[4]) for row in rows}
    assert expected
    assert len(published.of(id)) == len(found), "a window was published twice"
    assert found.keys() == expected.keys()
    wrong = {key: (found[key], expected[key]) for key in expected if not alike(found[key], expected[key])}
    assert wrong == {}


def alike(found: tuple[float | None, ...], expected: tuple[float | None, ...]) -> bool:
    return all(
        a is b or (a is not None and b is not None and isclose(a, b, rel_tol=1e-9))
        for a, b in zip(found, expected, strict=True)
    )


def ms(moment: Any) -> int:
    return round(moment.timestamp() * 1000)


async def test_an_observation_is_of_the_detectors_schema_under_the_detectors_key(
    published: Published,
) -> None:
    for (key, value), row in zip(published.messages, published.rows, strict=True):
        assert key == f"{row['kpi']}|{row['series_key']}".encode()
        assert split(value)[0] == published.schema_id
        assert (row["kpi_version"], row["revision"], row["status"]) == (VERSION, 1, "final")


async def test_an_observation_names_its_offsets_schemas_and_quality(published: Published) -> None:
    events = published.events["flights"]
    for row in published.of("window_0"):
        series = row["series"]["status"]
        inside = [
            each for each in events
            if each["status"] == series and row["window_start"] <= each["at"] < row["window_end"]
        ]  # fmt: skip
        assert row["schema_ids"] == [published.source_schema]
        assert row["assessed"] == len(inside)
        assert row["suspect"] == sum(map(breaks_a_rule, inside))
        assert row["offsets"] == [
            {"partition": number, "first": min(offsets), "last": max(offsets)}
            for number in range(sample.PARTITIONS)
            if (offsets := [each["offset"] for each in inside if each["partition"] == number])
        ]


def breaks_a_rule(event: dict[str, Any]) -> bool:
    status, delay = event["status"], event["delay"]
    formed = status is None or (status.isascii() and status.isalpha() and status.islower())
    return event["gust"] is None or (delay is not None and not -100 <= delay <= 1000) or not formed


async def test_what_is_no_event_is_in_no_window(published: Published) -> None:
    for id in ("flights", "flights_json"):
        name = "hours" if id == "flights" else "json_count"
        assert Counter(row["count"] for row in published.of(name)).total()
        assert sum(row["count"] for row in published.of(name)) == len(published.events[id])
