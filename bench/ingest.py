"""`make bench-ingest`: events pushed over HTTP, validated and acknowledged by all replicas; beside a program in Go.

One process each, on the same topics, from the same requests: as fast as the connections are answered, then at half
of that speed for the latency of a receipt. The generator and the brokers share the machine with them.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import fmean
from typing import Any

import httpx
import numpy as np

from bench.bodies import BATCH, LINES, NDJSON, PARSED, container, messages
from bench.broker import Admin, Records, producer, write
from bench.command import compare
from bench.contenders import Program
from bench.contenders.ingest import GO, PATH, Ingest, Server, readings
from bench.contest import START_SECONDS, Bench, Broken, Running
from bench.job import PARTITIONS
from bench.load import Generator, Load, template
from bench.meter import Meter, cpu_seconds, memory
from bench.report import Figure, console, middle, ratio, spread, table
from libs.common.partitioning import partitions_for
from services.ingest.core.encoder import Encoder
from services.ingest.core.records import Good, Validator

WARM_SECONDS = 2.0
SECONDS = 8.0
FILL_SECONDS = 10.0
"""Of overload before memory counts: queues and the dedup window fill."""
REMEMBERED = 100_000
"""Ids of the dedup window under overload, so that it is full soon."""
ALONE = {"send_batch": 400_000, "send": 40_000}
"""Events that aiokafka alone writes."""


@dataclass(frozen=True)
class Workload:
    """One kind of request."""

    title: str
    kind: str
    path: str
    body: bytes
    events: int
    connections: int

    def on(self, port: int, seconds: float, **more: Any) -> Generator:
        made = template(self.path, self.kind, self.body, self.events, b'"published":%d,' % self.events)
        return Generator(port, made, self.connections, seconds, **more)


SHORT = f"{PATH}?results=errors"
BATCHES = Workload("batches of 500", "application/x-ndjson", SHORT, NDJSON, BATCH, 16)
SINGLE = Workload("single events", "application/json", PATH, LINES[0], 1, 128)


def binaries(bench: Bench) -> list[Workload]:
    """Batches in the other forms, which the peer does not read."""
    registry = bench.addresses["SEXTANT_REGISTRY"]
    return [
        Workload("Avro, batches of 500", "application/vnd.apache.avro", SHORT, container(), BATCH, 16),
        Workload("Protobuf, batches of 500", "application/protobuf", SHORT, messages(registry), BATCH, 16),
    ]


@dataclass(frozen=True)
class Push:
    """A workload put on a contender."""

    load: Load
    cpu: float
    """CPU seconds of the contender while it lasted."""
    kafka: float
    others: float

    @property
    def per_core(self) -> float:
        """Events per CPU second."""
        return self.load.events / self.cpu


@asynccontextmanager
async def started(bench: Bench, server: Server) -> AsyncGenerator[Running]:
    """A process that answers."""
    async with bench.place(server) as running:
        running.start()
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            address = f"http://127.0.0.1:{server.port}{PATH}"
            while True:
                running.check()
                with suppress(httpx.TransportError):
                    answer = await client.post(address, headers={"Content-Type": "application/x-ndjson"})
                    if answer.status_code == 200:
                        break
                if time.monotonic() > deadline:
                    raise Broken(f"{server.title} does not answer")
                await asyncio.sleep(0.1)
        yield running


class Numbers:
    """The requests of one process, each with ids of its own."""

    def __init__(self, bench: Bench, running: Running, server: Server) -> None:
        self.bench, self.running, self.server = bench, running, server
        self.sent, self.acknowledged = 0, 0

    async def put(self, workload: Workload, seconds: float, **more: Any) -> Push:
        """Raises Broken if anything else than its success is answered."""
        generator = workload.on(self.server.port, seconds, first=self.sent, **more)
        kafka = cpu_seconds(self.bench.servers)
        try:
            async with Meter(self.running.pids, self.bench.servers) as meter:
                load = await generator.run()
        except OSError as error:
            self.running.check()
            raise Broken(f"{self.server.title}: {error}") from error
        kafka = cpu_seconds(self.bench.servers) - kafka
        self.sent = generator.number
        self.acknowledged += load.events
        cpu, others = meter.spent(load.begin, load.begin + load.seconds)
        if load.wrong or not load.events or load.statuses.keys() - {b"200", b"503"}:
            raise Broken(f"{self.server.title} answered {load.statuses}, such as {load.wrong[:1]}")
        return Push(load, cpu, kafka, others)

    async def check(self) -> None:
        """Raises Broken if the topic has fewer records than were acknowledged."""
        place = self.running.place
        async with Admin(place.bootstrap) as admin:
            written = sum((await admin.ends(place.input)).values())
        if written < self.acknowledged:
            raise Broken(f"{self.server.title} acknowledged {self.acknowledged:,}, and wrote {written:,}")


@dataclass(frozen=True)
class Run:
    """One process: at full load, then at half of it."""

    full: Mapping[str, Push]
    half: Mapping[str, Push]


async def run(bench: Bench, server: Server) -> Run:
    full: dict[str, Push] = {}
    half: dict[str, Push] = {}
    async with started(bench, server) as running:
        numbers = Numbers(bench, running, server)
        for workload in (BATCHES, SINGLE):
            await numbers.put(workload, WARM_SECONDS)
            full[workload.title] = await numbers.put(workload, SECONDS)
            rate = full[workload.title].load.rate / workload.events / 2
            half[workload.title] = await numbers.put(workload, SECONDS, rate=rate)
        await numbers.check()
    return Run(full, half)


async def alone(bench: Bench, way: str) -> tuple[float, float]:
    """aiokafka without any of it: events/s and events per CPU second, the records as ingest writes them."""
    count = ALONE[way]
    encoder, repeated = Encoder(readings().avro_schema(), 1), -(-count // BATCH)
    good = [each for each in Validator(readings()).lines(NDJSON) if isinstance(each, Good)]
    values = encoder.encode([each.values for each in good]) * repeated
    keys = [each.key or b"" for each in good] * repeated
    records = Records(keys, np.array(partitions_for(keys, PARTITIONS)), values)
    topic = f"alone-{time.monotonic_ns()}"
    async with Admin(bench.addresses["SEXTANT_KAFKA"]) as admin:
        await admin.create({topic: PARTITIONS})
        client = producer(bench.addresses["SEXTANT_KAFKA"])
        await client.start()
        try:
            begin, cpu = time.monotonic(), time.process_time()
            if way == "send_batch":
                await write(client, topic, records)
            else:
                rows = zip(values, keys, records.partitions.tolist(), strict=True)
                await asyncio.gather(*[await client.send(topic, *row) for row in rows])
            seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
        finally:
            await client.stop()
            await admin.drop(topic)
    return len(values) / seconds, len(values) / cpu


async def push(bench: Bench, peers: Sequence[Program]) -> list[Figure]:
    """Throughput, events per CPU second, and the latency of a receipt."""
    servers = [Ingest(), *(each for each in peers if isinstance(each, Server))]
    found: dict[str, list[Run]] = {each.title: [] for each in servers}
    kafka: dict[str, list[tuple[float, float]]] = {way: [] for way in ALONE}
    await run(bench, servers[0])  # not counted: in its first minute the broker's JVM compiles itself
    for number in range(bench.runs):
        for way, measured in kafka.items():
            measured.append(await alone(bench, way))
        for server in servers:
            try:
                one = await run(bench, server)
            except Broken as broken:
                console.print(f"failed: {broken}", style="red")
                continue
            found[server.title].append(one)
            rates = ", ".join(f"{title} {each.load.rate:,.0f}/s" for title, each in one.full.items())
            console.print(f"  run {number + 1} of {bench.runs}  {server.title}: {rates}", style="dim")
    for workload in (BATCHES, SINGLE):
        _show(workload.title, found, kafka if workload is BATCHES else {})
    return [*_rates(found, kafka), *_receipts(found)]


def _show(
    title: str, found: Mapping[str, Sequence[Run]], kafka: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    def row(name: str, pushes: Sequence[Push], half: Sequence[Push]) -> list[str]:
        cores = [(each.cpu, each.kafka, each.load.cpu, each.others) for each in pushes]
        late = [[float(np.percentile(each.load.milliseconds, at)) for each in half] for at in (50, 99)]
        return [
            name,
            spread([each.load.rate for each in pushes]),
            spread([each.per_core for each in pushes]),
            *(
                f"{(middle(took) or 0) / SECONDS:.2f}"
                for took in (zip(*cores, strict=True) if cores else [()] * 4)
            ),
            *(spread(each) for each in late),
        ]

    rows = [
        row(name, [each.full[title] for each in runs], [each.half[title] for each in runs])
        for name, runs in found.items()
    ]
    rows += [
        [f"aiokafka {way} alone", *(spread(list(each)) for each in zip(*measured, strict=True)), *["–"] * 6]
        for way, measured in kafka.items()
    ]
    columns = ["", "events/s", "per CPU s", "cores", "servers'", "generator's", "others'", "p50 ms", "p99 ms"]
    table(f"Pushed: {title}; latencies at half of it", columns, rows)


def _rates(
    found: Mapping[str, Sequence[Run]], kafka: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Figure]:
    figures: list[Figure] = []
    asked = ((BATCHES, "events/s", 150_000.0, 1.0), (SINGLE, "requests/s", 6_000.0, 0.5))
    for workload, unit, target, of_go in asked:
        title = workload.title
        rates = {name: middle(each.full[title].load.rate for each in runs) for name, runs in found.items()}
        cores = {name: middle(each.full[title].per_core for each in runs) for name, runs in found.items()}
        if workload is BATCHES:
            rates |= {
                f"aiokafka {way} alone": middle(rate for rate, _ in runs) for way, runs in kafka.items()
            }
            cores |= {
                f"aiokafka {way} alone": middle(rate for _, rate in runs) for way, runs in kafka.items()
            }
        rate, core = rates.pop(Ingest.title), cores.pop(Ingest.title)
        figures.append(Figure(f"pushed, {title}", rate, unit, "higher", target, rates))
        figures.append(Figure(f"pushed, {title}, per CPU second", core, "events", "higher", None, cores))
        against = ratio(core, cores.get(GO.title))
        name = f"pushed, {title}, per CPU second against Go"
        figures.append(Figure(name, against, "times", "higher", of_go))
    return figures


def _receipts(found: Mapping[str, Sequence[Run]]) -> list[Figure]:
    figures: list[Figure] = []
    for workload in (SINGLE, BATCHES):
        medians = {
            name: middle(
                float(np.percentile(each.half[workload.title].load.milliseconds, 99)) for each in runs
            )
            for name, runs in found.items()
        }
        value = medians.pop(Ingest.title)
        name = f"receipt at half of the load, {workload.title}, p99"
        figures.append(Figure(name, value, "ms", "lower", 60.0, medians))
    return figures


async def binary(bench: Bench, peers: Sequence[Program]) -> list[Figure]:
    """Batches of Avro and Protobuf."""
    workloads = binaries(bench)
    found: dict[str, list[Push]] = {each.title: [] for each in workloads}
    for number in range(bench.runs):
        server = Ingest()
        try:
            async with started(bench, server) as running:
                numbers = Numbers(bench, running, server)
                for workload in workloads:
                    await numbers.put(workload, WARM_SECONDS)
                    found[workload.title].append(await numbers.put(workload, SECONDS))
                await numbers.check()
        except Broken as broken:
            console.print(f"failed: {broken}", style="red")
            continue
        rates = ", ".join(f"{title} {pushes[-1].load.rate:,.0f}/s" for title, pushes in found.items())
        console.print(f"  run {number + 1} of {bench.runs}  {rates}", style="dim")
    rows = [
        [title, spread([each.load.rate for each in pushes]), spread([each.per_core for each in pushes])]
        for title, pushes in found.items()
    ]
    table("Pushed in other forms", ["", "events/s", "per CPU s"], rows)
    return [
        Figure(f"pushed, {title}", middle(each.load.rate for each in pushes), "events/s", "higher", 150_000.0)
        for title, pushes in found.items()
    ]


async def validation(bench: Bench, peers: Sequence[Program]) -> list[Figure]:
    """Parsing and checking a record of a small schema, in µs of CPU; beside jsonschema-rs, where it is installed."""
    body, parsed, validator = NDJSON, PARSED, Validator(readings())
    ways: dict[str, Any] = {"Sextant": lambda: validator.lines(body)}
    try:
        checks = import_module("jsonschema_rs").validator_for(_json_schema())
        ways["json.loads and jsonschema-rs"] = lambda: [checks.validate(json.loads(line)) for line in LINES]
        ways["jsonschema-rs alone"] = lambda: [checks.validate(each) for each in parsed]
    except ModuleNotFoundError:
        console.print("skipped: jsonschema-rs is not installed", style="yellow")
    micros: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(bench.runs * 20):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            micros[name].append((time.process_time() - begin) / BATCH * 1e6)
    table("Validation", ["", "CPU µs a record"], [[name, spread(each, 2)] for name, each in micros.items()])
    medians = {name: middle(each) for name, each in micros.items()}
    return [Figure("validation of a record", medians.pop("Sextant"), "µs", "lower", 5.0, medians)]


def _json_schema() -> dict[str, Any]:
    kinds = {"double": {"type": "number"}, "timestamp": {"type": "string", "format": "date-time"}}
    fields = {each.name: kinds.get(each.type, {"type": "string"}) for each in readings().fields}
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


async def overload(bench: Bench, peers: Sequence[Program]) -> list[Figure]:
    """Twice what it can take, for long: memory in the last third of the time against the first."""
    name = "memory under twice the load, growth"
    try:
        full, load, sampled = await overloaded(bench)
    except Broken as broken:
        console.print(f"failed: {broken}", style="red")
        return [Figure(name, None, "%", "lower", 5.0, note=str(broken)[:100])]
    third = max(1, len(sampled) // 3)
    first, last = (fmean(each) / 1e6 for each in (sampled[:third], sampled[-third:]))
    answers = ", ".join(f"{status.decode()}: {count:,}" for status, count in sorted(load.statuses.items()))
    row = [
        f"{2 * full:,.0f}",
        f"{load.rate:,.0f}",
        answers,
        f"{load.unsent:,}",
        f"{first:,.0f}",
        f"{last:,.0f}",
    ]
    columns = ["offered/s", "accepted/s", "answers", "unsent", "first third MB", "last third MB"]
    table(f"Twice the load for {bench.overload} s", columns, [row])
    note = f"{first:,.0f} to {last:,.0f} MB in {bench.overload} s; answered {answers}"
    return [Figure(name, (last / first - 1) * 100, "%", "lower", 5.0, note=note)]


async def overloaded(bench: Bench) -> tuple[float, Load, list[int]]:
    """The full rate, what came of twice as much, and the resident memory meanwhile, once queues are full."""
    server = Ingest({"SEXTANT_DEDUP_WINDOW": str(REMEMBERED)})
    async with started(bench, server) as running:
        numbers = Numbers(bench, running, server)
        await numbers.put(BATCHES, WARM_SECONDS)
        full = (await numbers.put(BATCHES, SECONDS)).load.rate
        sampled: list[int] = []
        sampling = asyncio.create_task(_sample(running, sampled))
        try:
            seconds, many = FILL_SECONDS + bench.overload, replace(BATCHES, connections=512)
            load = (await numbers.put(many, seconds, rate=2 * full / BATCH)).load
        finally:
            sampling.cancel()
        await numbers.check()
    return full, load, sampled[len(sampled) * int(FILL_SECONDS) // int(seconds) :]


async def _sample(running: Running, into: list[int]) -> None:
    while True:
        into.append(memory(running.pids))
        await asyncio.sleep(0.5)


PARTS = {"push": push, "binary": binary, "validation": validation, "overload": overload}

if __name__ == "__main__":
    compare("ingest", __doc__, PARTS, {GO.name: GO}, GO.name)
