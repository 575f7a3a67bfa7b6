"""A real ingest process on topics of its own, killed and started again, and senders that never give an event up."""

import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from libs.common import clock
from libs.common.catalog import DEFINITION
from libs.common.events import CatalogEntry, DeadLetter, LedgerEntry
from libs.common.kafka import ensure_topics, producer, read_all
from libs.common.settings import ServiceSettings
from libs.common.topics import CATALOG, DEAD, EVENTS, LEDGER, used_by
from local import ports
from local.places import ROOT
from services.ingest.settings import Settings

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "drops", "title": "Drops", "owner": "ops", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter",
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip
AT = "2026-11-24T10:00:00Z"


def settings(database: str = "", **said: Any) -> Settings:
    """Of ingest, with the secrets that the environment has."""
    secret = SecretStr("of the tests of ingest")
    return Settings(kafka="", database=database, redis="", registry="", receipt_secret=secret, **said)


class Ingest:
    """One process; killed, it is started again at once."""

    def __init__(
        self, settings: ServiceSettings, servers: dict[str, str], folder: Path, env: dict[str, str]
    ) -> None:
        self.settings, self.log, port = settings, folder / "ingest.log", ports.free()["ingest"]
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            **os.environ, **servers, "SEXTANT_PREFIX": settings.prefix, "SEXTANT_PORT": str(port),
            "SEXTANT_DATABASE": settings.database, "SEXTANT_RECEIPT_SECRET": "of the tests of ingest", **env,
        }  # fmt: skip
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "services.ingest"]
            return subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process.poll() is None, "it ended by itself"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def mend(self) -> bool:
        """Start it again if it has ended by itself, as a supervisor does; true when that happened."""
        if self.process.poll() is None:
            return False
        self.process = self._start()
        return True

    def stop(self) -> int:
        """Told to end; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    def push(self, body: bytes, kind: str = "application/json", **more: Any) -> httpx.Response | None:
        """None if there was no answer."""
        try:
            return httpx.post(
                f"{self.url}/v1/sources/drops/events", content=body, headers={"Content-Type": kind},
                timeout=90, trust_env=False, **more,
            )  # fmt: skip
        except httpx.TransportError:
            return None


@contextmanager
def running(
    servers: dict[str, str],
    prefix: str,
    database: str,
    folder: Path,
    source: dict[str, Any] = SOURCE,
    **env: str,
) -> Generator[Ingest]:
    """One with the source `drops` in force. `env`: more of its environment."""
    settings = ServiceSettings(
        kafka=servers["SEXTANT_KAFKA"], database=database, redis=servers["SEXTANT_REDIS"],
        registry=servers["SEXTANT_REGISTRY"], prefix=prefix, port=0,
    )  # fmt: skip
    asyncio.run(_arrange(settings, source))
    found = Ingest(settings, servers, folder, env)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.stop()


async def _arrange(settings: ServiceSettings, source: dict[str, Any]) -> None:
    await ensure_topics(settings, used_by("ingest"))
    await ensure_topics(settings, [(EVENTS.of("drops"), EVENTS, source["partitions"])])
    await define(settings, source)


async def define(settings: ServiceSettings, source: dict[str, Any], version: int = 1) -> None:
    """Put a version of the source in force."""
    definition = DEFINITION.validate_python(source)
    entry = CatalogEntry.build(
        kind="source", id="drops", definition_version=version, applied_by="test", schema_id=1,
        definition=definition.model_dump(mode="json", by_alias=True), applied_at=clock.now(),
    )  # fmt: skip
    client = producer(settings)
    await client.start()
    await client.send_and_wait(
        settings.prefix + CATALOG.name, entry.encode(), entry.key.encode(), partition=0
    )
    await client.stop()


@dataclass
class Request:
    """One request of a sender: ids of what is well formed, and the texts of what is not."""

    ids: list[str]
    spoilt: list[str]
    kind: str
    body: bytes


@dataclass
class Sender:
    """Pushes over one connection, each request until it is acknowledged, always the same."""

    name: str
    url: str
    dice: random.Random
    stopping: threading.Event
    batch: int = 20
    sent: list[Request] = field(default_factory=list)
    """Everything that was begun; all of it is acknowledged when the sender has ended."""
    repeats: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By status and code; `cut`: no answer came."""
    unlike: list[str] = field(default_factory=list)
    """What no answer may be."""
    slowest: float = 0.0

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=90) as client:
            number = 0
            while not self.stopping.is_set():
                number += 1
                if self.sent and self.dice.random() < 0.1:
                    self.repeats += 1
                    self._push(client, self.dice.choice(self.sent))
                    continue
                request = self._next(number)
                self.sent.append(request)
                self._push(client, request)

    def _next(self, number: int) -> Request:
        name = f"{self.name}.{number}"
        if self.dice.random() < 0.3:
            body = json.dumps({"id": name, "at": AT}).encode()
            return Request([name], [], "application/json", body)
        lines: list[str] = []
        request = Request([], [], "application/x-ndjson", b"")
        for place in range(self.dice.randint(1, self.batch)):
            id = f"{name}.{place}"
            if self.dice.random() < 0.1:
                lines.append(json.dumps({"id": id, "at": "never"}))
                request.spoilt.append(lines[-1])
                continue
            lines.append(json.dumps({"id": id, "at": AT}))
            request.ids.append(id)
        request.body = "\n".join(lines).encode()
        return request

    def _push(self, client: httpx.Client, request: Request) -> None:
        while True:
            began = clock.monotonic()
            try:
                answer = client.post(
                    f"{self.url}/v1/sources/drops/events",
                    content=request.body,
                    headers={"Content-Type": request.kind},
                )
            except httpx.TransportError:
                self.answers["cut"] += 1
                threading.Event().wait(0.05)
                continue
            finally:
                self.slowest = max(self.slowest, clock.monotonic() - began)
            body = answer.json()
            self.answers[f"{answer.status_code} {body.get('code', '')}".strip()] += 1
            if answer.status_code == 200:
                if body["accepted"] != len(request.ids) + len(request.spoilt):
                    self.unlike.append(answer.text)
                return
            if (
                answer.status_code not in (429, 503)
                or not body["retryable"]
                or "Retry-After" not in answer.headers
            ):
                self.unlike.append(answer.text)
                return
            threading.Event().wait(min(0.2, float(answer.headers["Retry-After"])))


@contextmanager
def pushing(ingest: Ingest, count: int, seed: int, batch: int = 20) -> Generator[Sequence[Sender]]:
    """So many senders at once; at the end each has its last request acknowledged."""
    stopping = threading.Event()
    senders = [
        Sender(f"s{number}", ingest.url, random.Random(f"{seed} {number}"), stopping, batch)
        for number in range(count)
    ]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield senders
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@dataclass
class Books:
    """What is on the topics, committed."""

    ids: Counter[str] = field(default_factory=Counter)
    """On `events.drops`."""
    letters: Counter[str] = field(default_factory=Counter)
    """On `events.dead`, by payload."""
    ledger: Counter[str] = field(default_factory=Counter)


async def books(settings: ServiceSettings) -> Books:
    found = Books()
    async for records in read_all(settings, EVENTS.of("drops")):
        found.ids.update(dict(each.headers)["ce_id"].decode() for each in records if each.value)
    async for records in read_all(settings, DEAD.name):
        letters = [DeadLetter.decode(each.value or b"") for each in records]
        found.letters.update(base64.b64decode(each.payload_b64).decode() for each in letters)
    async for records in read_all(settings, LEDGER.name):
        for entry in (LedgerEntry.decode(each.value or b"") for each in records):
            for name in ("accepted", "published", "dead_lettered", "duplicate"):
                found.ledger[name] += getattr(entry, name)
    return found


def compare(settings: ServiceSettings, senders: Sequence[Sender]) -> Books:
    """Everything sent is on a topic exactly once, nothing else is, and the ledger says so."""
    found = asyncio.run(books(settings))
    assert [text for sender in senders for text in sender.unlike] == []
    requests = [request for sender in senders for request in sender.sent]
    assert found.ids == Counter(id for request in requests for id in request.ids)
    assert found.letters == Counter(text for request in requests for text in request.spoilt)
    ledger = found.ledger
    assert ledger["published"] == found.ids.total()
    assert ledger["dead_lettered"] == found.letters.total()
    assert ledger["accepted"] == ledger["published"] + ledger["dead_lettered"] + ledger["duplicate"]
    return found
