"""Who asks for too much is turned away with a reason and a time, and the others do not notice."""

import json
import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "limited", "title": "Limited", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1, "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    quota = {"events_per_second": 0.5, "burst": 20}
    mesh.define(SOURCE | {"quota": quota}, SOURCE | {"id": "flooding"}, SOURCE | {"id": "beside"})
    for source in ("limited", "flooding", "beside"):
        until(lambda source=source: post(mesh, source, "none", 0).status_code == 200)


def post(mesh: Mesh, source: str, name: str, count: int) -> httpx.Response:
    events = [{"id": f"{name}{number}", "at": "2026-11-24T10:00:00Z"} for number in range(count)]
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=json.dumps(events))


def metric(mesh: Mesh, line: str) -> float:
    lines = mesh.service("ingest").get("/metrics").text.splitlines()
    return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(line)), 0.0)


def test_a_source_over_its_quota_is_told_when_to_come_again(mesh: Mesh) -> None:
    assert post(mesh, "limited", "a", 20).json()["published"] == 20
    refused = post(mesh, "limited", "b", 10)
    body = refused.json()
    assert (refused.status_code, body["code"], body["scope"], body["retryable"]) == (
        429,
        "quota",
        "source",
        True,
    )
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert post(mesh, "beside", "a", 100).status_code == 200
    assert metric(mesh, 'sextant_refused_pushes_total{reason="quota",source="limited"}') >= 1


def test_bodies_that_are_promised_and_do_not_come_hold_their_own_source_s_share_only(mesh: Mesh) -> None:
    address = urlparse(mesh.url("ingest"))

    def promise(stack: ExitStack) -> socket.socket:
        sender = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0)))
        sender.settimeout(60)
        head = "POST /v1/sources/flooding/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        sender.sendall(f"{head}Content-Length: {16 * 1024 * 1024}\r\n\r\n".encode())
        return sender

    def held() -> float:
        return metric(mesh, 'sextant_waiting_pushes{source="flooding",unit="bytes"}')

    with ExitStack() as stack:
        for count in range(1, 5):
            promise(stack)
            until(lambda count=count: held() == count * 16 * 1024 * 1024)
        refused, answer = promise(stack), ""
        while '"scope"' not in answer:
            part = refused.recv(10_000)
            assert part, answer
            answer += part.decode()
        assert answer.startswith("HTTP/1.1 503")
        assert "retry-after: 1" in answer.lower()
        assert '"code":"overloaded"' in answer
        assert '"scope":"source"' in answer
        assert post(mesh, "beside", "b", 10).json()["published"] == 10
    assert until(lambda: held() == 0.0)
    assert post(mesh, "flooding", "c", 10).json()["published"] == 10
