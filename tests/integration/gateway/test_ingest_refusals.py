"""What ingest refuses reaches the sender as ingest said it."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "rationed", "title": "Rationed", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1, "quota": {"events_per_second": 0.1, "burst": 5},
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    path = "/v1/sources/rationed/events"
    until(lambda: mesh.service("ingest").post(path, content="[]").status_code == 200)


def test_a_quota_is_told_with_its_code_and_when_to_come_again(mesh: Mesh) -> None:
    events = [{"id": f"g{number}", "at": "2026-11-24T10:00:00Z"} for number in range(5)]
    path, sender = "/v1/sources/rationed/events", mesh.as_("operator")
    first = sender.post(path, json=events)
    assert (first.status_code, first.json()["proof"]["published"]) == (200, 5)
    second = sender.post(path, content=json.dumps(events))
    body = second.json()
    assert (second.status_code, body["code"], body["scope"], body["retryable"]) == (
        429,
        "quota",
        "source",
        True,
    )
    assert int(second.headers["Retry-After"]) > 1
