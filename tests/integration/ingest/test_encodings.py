"""A body that is coded is taken as what it says; one that is not what it says is refused for its own reason."""

import gzip
import json
from typing import Any

import httpx
import pytest
from backports import zstd

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "coded", "title": "Coded", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    until(lambda: post(mesh, b"[]").status_code == 200)


def post(mesh: Mesh, body: bytes, coding: str = "identity") -> httpx.Response:
    headers = {"Content-Type": "application/x-ndjson" if body[:1] != b"[" else "application/json"}
    return mesh.service("ingest").post(
        "/v1/sources/coded/events", content=body, headers={**headers, "Content-Encoding": coding}
    )


def lines(name: str, count: int) -> bytes:
    events = [{"id": f"{name}{number}", "at": "2026-11-24T10:00:00Z"} for number in range(count)]
    return "\n".join(map(json.dumps, events)).encode()


def test_events_come_coded_by_gzip_and_by_zstd(mesh: Mesh) -> None:
    first = post(mesh, gzip.compress(lines("g", 500)), "gzip")
    second = post(mesh, zstd.compress(lines("z", 500)), "zstd")
    assert (first.json()["published"], second.json()["published"]) == (500, 500)
    again = post(mesh, lines("z", 500))
    assert again.json()["duplicate"] == 500


@pytest.mark.parametrize(
    ("body", "coding", "status", "code"),
    [
        (gzip.compress(bytes(300_000_000), 9), "gzip", 413, "too_large_decoded"),
        (zstd.compress(bytes(300_000_000)), "zstd", 413, "too_large_decoded"),
        (gzip.compress(lines("h", 100))[:-9], "gzip", 400, "malformed_encoding"),
        (lines("h", 100), "zstd", 400, "malformed_encoding"),
        (lines("h", 100), "br", 415, "unsupported_encoding"),
    ],
    ids=["gzip bomb", "zstd bomb", "cut off", "not zstd", "unknown"],
)
def test_a_coded_body_that_cannot_be_taken_has_its_own_status_and_code(
    mesh: Mesh, body: bytes, coding: str, status: int, code: str
) -> None:
    answer = post(mesh, body, coding)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["retryable"] is False
    assert answer.json()["scope"] == "request"


def test_a_coded_body_comes_through_the_gateway_as_well(mesh: Mesh) -> None:
    answer = mesh.as_("operator").post(
        "/v1/sources/coded/events",
        content=zstd.compress(lines("w", 10)),
        headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"},
    )
    assert (answer.status_code, answer.json()["published"]) == (200, 10)
