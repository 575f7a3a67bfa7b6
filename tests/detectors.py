"""Real detector processes on topics of their own, over one source: `pulses`, plain JSON that no ingest writes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.common import clock
from libs.common.catalog import DEFINITION, Catalog
from libs.common.events import OBSERVATION_SCHEMA, CatalogEntry
from libs.common.kafka import ensure_topics, high_watermarks, producer, read_all
from libs.common.registry import Codecs, Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import CATALOG, EVENTS, OBSERVATIONS, used_by
from libs.common.wire import record
from local import ports
from local.places import ROOT

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


def catalog(kpis: Sequence[dict[str, Any]]) -> Catalog:
    return Catalog.of([DEFINITION.validate_python(each) for each in (SOURCE, *kpis)])


Event = tuple[int, int, str | None, int | None]
"""Partition, time (ms), k, v."""


class Detectors:
    """So many processes; whichever is killed is started again at once."""

    def __init__(
        self,
        settings: ServiceSettings,
        servers: dict[str, str],
        folder: Path,
        count: int,
        env: dict[str, str],
    ) -> None:
        self.settings, self.folder = settings, folder
        free = iter(ports.free().values())
        self.env = [
            {
                **os.environ, **servers, "SEXTANT_PREFIX": settings.prefix, "SEXTANT_PORT": str(next(free)),
                "SEXTANT_INSTANCE": f"detector-{number}", "SEXTANT_DATABASE": settings.database, **env,
            }
            for number in range(count)
        ]  # fmt: skip
        self.processes = [self._start(number) for number in range(count)]

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


@contextmanager
def running(
    servers: dict[str, str], prefix: str, database: str, folder: Path, of: Catalog, count: int = 1, **env: str
) -> Generator[Detectors]:
    """Detectors with these definitions in force. `env`: more of their environment."""
    settings = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=prefix, port=0,
    )  # fmt: skip
    asyncio.run(_arrange(settings, of))
    found = Detectors(settings, servers, folder, count, env)
    try:
        yield found
    finally:
        found.stop()


async def _arrange(settings: ServiceSettings, of: Catalog) -> None:
    await ensure_topics(settings, used_by("detector"))
    await ensure_topics(settings, [(EVENTS.of("pulses"), EVENTS, PARTITIONS)])
    client = producer(settings)
    await client.start()
    for definition in of.definitions.values():
        entry = CatalogEntry.build(
            kind=definition.kind, id=definition.id, definition_version=1, applied_by="test",
            definition=definition.model_dump(mode="json"), applied_at=clock.now(),
        )  # fmt: skip
        await client.send_and_wait(
            settings.prefix + CATALOG.name, entry.encode(), entry.key.encode(), partition=0
        )
    await client.stop()


async def send(settings: ServiceSettings, events: list[Event], first: int) -> None:
    client = producer(settings)
    await client.start()
    for number, (partition, at, k, v) in enumerate(events, first):
        value = json.dumps({"id": f"p{number}", "at": at, "k": k, "v": v}).encode()
        await client.send(settings.prefix + EVENTS.of("pulses"), value, partition=partition)
    await client.stop()


async def end(settings: ServiceSettings) -> None:
    client = producer(settings)
    await client.start()
    far = [("sx-control", b"watermark"), ("sx-watermark", str(BEGIN + 86_400_000 * 3).encode())]
    for number in range(PARTITIONS):
        await client.send_and_wait(settings.prefix + EVENTS.of("pulses"), b"", partition=number, headers=far)
    await client.stop()


def written(settings: ServiceSettings, topic: str) -> int:
    return sum(asyncio.run(high_watermarks(settings, settings.prefix + topic)).values())


Windows = dict[tuple[str, str, int], tuple[Any, ...]]


async def published(settings: ServiceSettings) -> Windows:
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
