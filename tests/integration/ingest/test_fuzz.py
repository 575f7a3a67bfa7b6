"""Whatever is pushed, ingest answers for it in its own words, counts every record and goes on."""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from local.process import Process
from tests.generated.count import HELD
from tests.mesh import Mesh, until
from tests.mutations import Attempt, attempts, wide

REQUESTS = 10_000
CONNECTIONS = 96
PATIENCE_SECONDS = 30
SEED = 20261127
TYPES = {
    "id": "string", "at": "timestamp", "level": "int", "total": "long", "ratio": "double", "open": "boolean",
    "day": "date",
}  # fmt: skip
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "fuzz", "title": "Fuzz", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter",
    "fields": [
        *({"name": name, "type": type} for name, type in TYPES.items()),
        {"name": "note", "type": "string", "nullable": True},
    ],
}  # fmt: skip
LAST = {
    "id": "last", "at": "2026-11-24T10:00:00Z", "level": 1, "total": 1, "ratio": 1, "open": False, "day": "2026-11-24",
}  # fmt: skip
SOURCES = {"fuzz": SOURCE, "fuzz_strict": SOURCE | {"id": "fuzz_strict", "on_malformed": "refuse"}}
COUNTS = ("accepted", "published", "duplicate", "dead_lettered")
STATUSES = {200, 207, 307, 400, 404, 405, 413, 415, 422}

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    mesh.define(*SOURCES.values())
    for source in SOURCES:
        path = f"/v1/sources/{source}/events"
        until(lambda path=path: mesh.service("ingest").post(path, content="[]").status_code == 200)


class Line:
    """A connection; opened anew when either side has closed it."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, attempt: Attempt) -> Answer | None:
        """None where nothing can be answered. A hang is a TimeoutError, a cut connection an IncompleteReadError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            self.streams = self.streams or await asyncio.open_connection(self.host, self.port)
            reader, writer = self.streams
            writer.write(attempt.wire)
            with suppress(ConnectionError):  # it may answer, and close, before it has read all
                await writer.drain()
            if not attempt.whole:
                await self.close()
                return None
            status, headers = await self._head(reader)
            if status == 100:
                status, headers = await self._head(reader)
            body = (
                await reader.readexactly(int(headers["content-length"]))
                if "content-length" in headers
                else await reader.read()
            )
            if headers.get("connection") == "close" or not attempt.http:
                await self.close()
            return status, headers, body

    async def _head(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        return int(first.split()[1]), {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }

    async def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            with suppress(ConnectionError):
                await self.streams[1].wait_closed()
            self.streams = None


def check(attempt: Attempt, answer: Answer, books: dict[str, Counter[str]]) -> str | None:
    """What is wrong with an answer, if anything is; its counts go into the books of its source."""
    status, headers, body = answer
    if not attempt.http and headers["content-type"].startswith("text/plain"):
        return None if status == 400 else "the HTTP server refuses by 400"
    if status not in STATUSES:
        return "such a status is not foreseen"
    if status == 307:
        return None  # a slash too many
    said = json.loads(body)
    if headers["content-type"] == "application/problem+json":
        fine = (
            said["status"] == status
            and re.fullmatch("[a-z_]+", said["code"])
            and said["title"]
            and said["detail"]
        )
        return None if fine else "the problem is not stated"
    if "receipt" not in said or "results" not in said:
        return None if status == 200 else "neither a problem nor an answer per record"
    for name in COUNTS:
        books[said["source"]][name] += said[name]
    total = said["accepted"] + said["refused"]
    if total != said["published"] + said["duplicate"] + said["dead_lettered"] + said["refused"]:
        return "the counts do not add up"
    if len(said["results"]) not in (total, total - said["published"]):
        return "not every record has a result"
    if attempt.lines not in (None, total):
        return f"{attempt.lines} lines"
    nameless = [
        each
        for each in said["results"]
        if "error" in each and not (each["error"]["reason"] and each["error"]["rule"])
    ]
    return "a reason is missing" if nameless else None


async def push(
    line: Line, ahead: Iterator[Attempt], books: dict[str, Counter[str]], faults: list[str]
) -> None:
    for attempt in ahead:
        try:
            answer = await line.ask(attempt)
            fault = None if answer is None else check(attempt, answer, books)
        except (TimeoutError, OSError, EOFError, ValueError, KeyError) as error:
            answer, fault = None, repr(error)
            await line.close()
        if fault is None:
            HELD["pushes, spoilt"] += 1
        else:
            faults.append(f"{attempt.what}: {fault}: {answer}\n{attempt.wire[:600]!r}")


def faults_of_ours(mesh: Mesh) -> float:
    """Answers of 500, those that nobody waited for any more included."""
    text = mesh.service("ingest").get("/metrics").text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(r'sextant_http_seconds_count.*status="500"', line)
    )


@pytest.mark.slow
async def test_ten_thousand_spoilt_requests_are_each_answered_for_and_every_record_is_counted(
    mesh: Mesh,
) -> None:
    pid, before = Process("ingest", mesh.stack.home).pid, faults_of_ours(mesh)
    books: dict[str, Counter[str]] = defaultdict(Counter)
    faults: list[str] = []
    ahead = iter([*wide("fuzz"), *wide("fuzz_strict"), *attempts(SEED, REQUESTS, list(SOURCES))])
    lines = [Line(mesh.url("ingest")) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(push(line, ahead, books, faults) for line in lines))
    await asyncio.gather(*(line.close() for line in lines))
    assert not faults, f"{len(faults)} faults, such as:\n" + "\n\n".join(faults[:20])
    assert (Process("ingest", mesh.stack.home).pid, faults_of_ours(mesh)) == (pid, before)

    for source in SOURCES:
        assert mesh.service("ingest").post(f"/v1/sources/{source}/events", json=LAST).json()["published"] == 1
        books[source] += Counter(accepted=1, published=1)
    expected = {source: (0, 0, *(books[source][name] for name in COUNTS)) for source in SOURCES}

    def archived() -> dict[str, tuple[int, ...]]:
        names = ", ".join(("source", "in_flight", "imbalance", *COUNTS))
        statement = f"SELECT {names} FROM read.ledger_totals WHERE source = ANY(%s)"
        return {source: tuple(counts) for source, *counts in mesh.query(statement, list(SOURCES))}

    with suppress(AssertionError):  # then what differs is shown
        await asyncio.to_thread(until, lambda: archived() == expected)
    assert archived() == expected


@pytest.mark.slow
def test_no_request_to_a_route_of_ingest_is_answered_by_a_fault(mesh: Mesh) -> None:
    session = requests.Session()
    session.trust_env = False
    document = schemathesis.openapi.from_dict(mesh.service("ingest").get("/openapi.json").json())
    operations = [each.ok() for each in document.get_all_operations() if isinstance(each, Ok)]
    assert len(operations) >= 4

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(data=st.data())
    def answered(operation: Any, data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        answer = case.call(base_url=mesh.url("ingest"), session=session, timeout=PATIENCE_SECONDS)
        assert answer.status_code < 500, case.as_curl_command()
        if answer.headers["content-type"][0] == "application/problem+json":
            assert re.fullmatch("[a-z_]+", answer.json()["code"])

    for operation in operations:
        answered(operation)
