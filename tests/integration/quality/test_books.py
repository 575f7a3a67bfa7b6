"""The books are watched: what the archive lost is named, record by record, until it is there."""

import json
import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from local.process import Process
from tests.mesh import Mesh, until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(
        {
            "kind": "source", "id": "tolls", "title": "Tolls", "owner": "fleet", "event_id": "id", "event_time": "at",
            "key": ["id"], "partitions": 1, "on_malformed": "dead_letter",
            "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
        }
    )  # fmt: skip
    until(lambda: mesh.service("ingest").post("/v1/sources/tolls/events", content="[]").status_code == 200)


def push(mesh: Mesh, *names: str) -> dict[str, Any]:
    events = [{"id": name, "at": "2026-11-24T10:00:00Z"} for name in names]
    answer = mesh.service("ingest").post("/v1/sources/tolls/events", content=json.dumps(events))
    assert answer.status_code == 200, answer.text
    return answer.json()


@contextmanager
def frozen(mesh: Mesh, service: str) -> Generator[None]:
    pid = until(lambda: Process(service, mesh.stack.home).pid)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def incidents(mesh: Mesh, state: str) -> list[dict[str, Any]]:
    found = mesh.as_("stew").get("/v1/incidents", params={"source": "tolls", "state": state}).json()["items"]
    return [each for each in found if each["kind"] == "ledger"]


def imbalance(mesh: Mesh) -> float | None:
    text = mesh.service("quality").get("/metrics").text
    found = re.search(r'^sextant_ledger_imbalance\{source="tolls",why="not_archived"\} (\S+)$', text, re.M)
    return float(found[1]) if found else None


def archived(mesh: Mesh) -> int:
    return mesh.query("SELECT count(*) FROM read.events WHERE source = 'tolls'")[0][0]


def test_what_the_archive_skipped_is_an_incident_that_names_it_until_it_is_archived(mesh: Mesh) -> None:
    push(mesh, "a", "b")
    until(lambda: archived(mesh) == 2)
    with frozen(mesh, "archive"):
        ((first, last),) = push(mesh, "lost 1", "lost 2", "lost 3")["proof"]["offsets"].values()
        mesh.query(
            "UPDATE archive.offsets SET next_offset = %s WHERE topic = 'events.tolls' RETURNING 1", last + 1
        )
    push(mesh, "c")
    until(lambda: archived(mesh) == 3)
    (incident,) = until(lambda: incidents(mesh, "open"), seconds=120)
    assert (incident["severity"], incident["violations"]) == ("critical", 3)
    assert "3 of " in incident["summary"]
    named = [
        (each["topic"], each["partition"], each["offset"], each["event_id"]) for each in incident["missing"]
    ]
    assert named == [("events.tolls", 0, first + at, f"lost {at + 1}") for at in range(3)]
    assert {each["why"] for each in incident["missing"]} == {"not_archived"}
    assert imbalance(mesh) == 3
    totals = mesh.as_("stew").get("/v1/ledger", params={"source": "tolls"}).json()["totals"]["tolls"]
    assert (totals["in_flight"], totals["imbalance"]) == (0, 3)

    # What mends it: the archive reads again from there. What it has behind that place is taken out first.
    with frozen(mesh, "archive"):
        mesh.query("DELETE FROM archive.events WHERE source = 'tolls' AND \"offset\" > %s RETURNING 1", last)
        mesh.query(
            "UPDATE archive.landed SET rows = rows - 1 WHERE source = 'tolls' AND minute ="
            " (SELECT max(minute) FROM archive.landed WHERE source = 'tolls') RETURNING 1"
        )
        mesh.query(
            "UPDATE archive.offsets SET next_offset = %s WHERE topic = 'events.tolls' RETURNING 1", first
        )
    push(mesh, "d")
    until(lambda: archived(mesh) == 7)
    (resolved,) = until(lambda: incidents(mesh, "resolved"), seconds=120)
    assert (resolved["id"], resolved["cause"], resolved["by"]) == (incident["id"], "transport", "quality")
    until(lambda: imbalance(mesh) == 0)
