"""Sextant's real detector process, with its definitions put in force as strategy would: on topic `catalog`."""

import asyncio
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Literal, cast

import httpx
import polars as pl

from bench.broker import Admin, Records, producer
from bench.contenders import Closing, Command, Place
from bench.job import PARTITIONS, Job, json_values
from libs.common.catalog import DEFINITION, Kpi, Source
from libs.common.events import OBSERVATION_SCHEMA, CatalogEntry
from libs.common.registry import Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import CATALOG, OBSERVATIONS, used_by
from libs.common.wire import Codec, split

Format = Literal["json", "avro"]
WATERMARK_DELAY_MS = 2_000
SERIES = "series="


def source(format: Format, **more: Any) -> Source:
    """The source of the job's events."""
    fields = {"series": "string", "metric": "string", "ts": "timestamp", "value": "double"}
    definition = {
        "kind": "source", "id": "readings", "title": "Readings", "owner": "bench", "event_time": "ts",
        "key": ["series"], "partitions": PARTITIONS, "watermark": {"delay": f"{WATERMARK_DELAY_MS // 1000}s"},
        "format": format, "fields": [{"name": name, "type": type} for name, type in fields.items()],
    }  # fmt: skip
    return cast(Source, DEFINITION.validate_python({**definition, **more}))


def kpi(id: str = "readings", **fields: Any) -> Kpi:
    """A KPI over the job's events; what is not given is as in the peer job."""
    definition = {
        "kind": "kpi", "id": id, "title": id, "owner": "bench", "source": "readings", "by": ["series"],
        "value": "sum(value)", "measures": {"min": "min(value)", "max": "max(value)"},
        "window": {"tumbling": "10s"}, "lateness": "5s", "early": "0s",
    }  # fmt: skip
    return cast(Kpi, DEFINITION.validate_python({**definition, **fields}))


@dataclass
class Sextant:
    """One detector process per entry of `cores` (None: on any core)."""

    format: Format = "json"
    kpis: tuple[Kpi, ...] = field(default_factory=lambda: (kpi(),))
    cores: tuple[int | None, ...] = (None,)
    name: str = "sextant"
    title: str = "Sextant"
    closing: Closing = "all"
    delay_ms: int = WATERMARK_DELAY_MS
    value_as: str = "sum"
    """The column that `decode` gives the KPI's value."""
    schema_id: int = 0
    ports: list[int] = field(default_factory=list)

    def prepare(self) -> None:
        """It is this repository."""

    async def arrange(self, place: Place) -> None:
        async with Admin(place.bootstrap) as admin:
            await admin.create({place.prefix + name: count for name, _, count in used_by("detector")})
            await admin.create({place.input: PARTITIONS})
        if self.format == "avro":
            self.schema_id = await registered(place, source("avro"))
        await put_in_force(place, (source(self.format), *self.kpis), self.schema_id or None)

    def records(self, job: Job) -> Records:
        keys = [job.keys[index] for index in job.stream.series.tolist()]
        values = json_values(job) if self.format == "json" else _avro(job, self.schema_id)
        return Records(keys, job.partitions[job.stream.series], values)

    def commands(self, place: Place) -> list[Command]:
        if not self.ports:
            self.ports = [free_port() for _ in self.cores]
        return [
            service("detector", place, port, {"SEXTANT_INSTANCE": f"bench-{number}"}, core)
            for number, (core, port) in enumerate(zip(self.cores, self.ports, strict=True))
        ]

    def output(self, place: Place) -> str:
        return place.prefix + OBSERVATIONS.name

    async def state(self) -> list[dict[str, Any]]:
        """What the processes say of the KPIs' state; nothing of one that does not answer yet."""
        found: list[dict[str, Any]] = []
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            for port in self.ports:
                try:
                    found += (await client.get(f"http://127.0.0.1:{port}/v1/state")).json()["kpis"]
                except (httpx.HTTPError, KeyError, ValueError):
                    await asyncio.sleep(0.1)
        return found

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """Final observations: kpi, series, start, count, the value, and each measure as a column."""
        frame = _observations().frame(values, split(values[0])[0]).with_row_index()
        frame = frame.filter(pl.col("status") == "final").select(
            "index",
            "kpi",
            pl.col("series_key").str.strip_prefix(SERIES).alias("series"),
            pl.col("window_start").dt.epoch("ms").alias("start"),
            "count",
            pl.col("value").alias(self.value_as),
            "measures",
        )
        names = sorted({name for kpi in self.kpis for name in kpi.measures})
        element = pl.element().struct
        measures = [
            pl.col("measures")
            .list.eval(element.field("value").filter(element.field("key") == name))
            .list.first()
            .alias(name)
            for name in names
        ]
        return frame.with_columns(measures).drop("measures")


async def registered(place: Place, source: Source) -> int:
    """The id of its schema."""
    names = {name.removeprefix("SEXTANT_").lower(): value for name, value in place.addresses.items()}
    registry = Registry(ServiceSettings.model_validate({**names, "port": 0}))
    try:
        return await registry.register("bench", source.avro_schema())
    finally:
        await registry.close()


async def put_in_force(place: Place, definitions: Sequence[Source | Kpi], schema_id: int | None) -> None:
    """As strategy would."""
    client = producer(place.bootstrap)
    await client.start()
    try:
        for definition in definitions:
            entry = CatalogEntry.build(
                kind=definition.kind, id=definition.id, definition_version=1, applied_by="bench",
                definition=definition.model_dump(mode="json"), schema_id=schema_id,
                applied_at=datetime.now(UTC),
            )  # fmt: skip
            topic = place.prefix + CATALOG.name
            await client.send_and_wait(topic, entry.encode(), entry.key.encode(), partition=0)
    finally:
        await client.stop()


def service(
    name: str, place: Place, port: int, environment: Mapping[str, str], core: int | None = None
) -> Command:
    """A process of ours, on one core if one is given."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    told = {
        **place.addresses, "SEXTANT_PREFIX": place.prefix, "SEXTANT_LOCAL": str(place.folder),
        "SEXTANT_PORT": str(port), "SEXTANT_LOG_LEVEL": "WARNING", **environment,
    }  # fmt: skip
    return Command([*pinned, sys.executable, "-m", f"services.{name}"], told)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@cache
def _observations() -> Codec:
    """Observations for polars, which reads no Avro maps and no defaults of numbers.

    A map is written as an array of key and value is (Avro 1.12, "Maps"), and defaults are nothing to a reader
    of the writer's schema.
    """
    return Codec(_readable(OBSERVATION_SCHEMA))


def _readable(schema: Any, name: str = "") -> Any:
    if isinstance(schema, list):
        return [_readable(each, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "map":
        fields = [{"name": "key", "type": "string"}, {"name": "value", "type": schema["values"]}]
        return {"type": "array", "items": {"type": "record", "name": f"{name}_entry", "fields": fields}}
    plain = {key: each for key, each in schema.items() if key != "default"}
    for key in ("type", "items", "fields"):
        if key in plain:
            plain[key] = _readable(plain[key], schema.get("name", name))
    return plain


@lru_cache(maxsize=1)
def _avro(job: Job, schema_id: int) -> list[bytes]:
    """The job's events in the source's schema."""
    codec = Codec(source("avro").avro_schema())
    names = [key.decode() for key in job.keys]
    stream = job.stream
    rows = zip(stream.series.tolist(), stream.times.tolist(), stream.values.tolist(), strict=True)
    return [
        codec.encode(
            schema_id, {"series": names[series], "metric": "conversion_rate", "ts": time, "value": value}
        )
        for series, time, value in rows
    ]
