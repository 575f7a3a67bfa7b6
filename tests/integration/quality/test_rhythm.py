"""A source that brings less, falls silent, or whose values stand still is an incident, until it is as before."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common import clock
from tests.mesh import Mesh, until

pytestmark = pytest.mark.timeout(300)


def source(id: str) -> dict[str, Any]:
    return {
        "kind": "source", "id": id, "title": id, "owner": "fleet", "event_id": "id", "event_time": "at", "key": ["id"],
        "partitions": 1,
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
            {"name": "level", "type": "double", "nullable": True}, {"name": "weight", "type": "int"},
        ],
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    arrived(mesh, "trams", 100, "3 days", "11 minutes")
    arrived(mesh, "trams", 20, "10 minutes", "-30 minutes")
    arrived(mesh, "ferries", 30, "3 days", "20 minutes")
    ids = ("ferries", "trams", "scales")
    mesh.define(*map(source, ids))
    for id in ids:
        path = f"/v1/sources/{id}/events"
        until(lambda path=path: mesh.service("ingest").post(path, content="[]").status_code == 200)


def push(mesh: Mesh, id: str, levels: list[float], name: str) -> None:
    events = [
        {"id": f"{name}{number}", "at": "2026-11-24T10:00:00Z", "level": level, "weight": number}
        for number, level in enumerate(levels)
    ]
    answer = mesh.service("ingest").post(f"/v1/sources/{id}/events", content=json.dumps(events))
    assert answer.status_code == 200, answer.text


def arrived(mesh: Mesh, id: str, per_minute: int, since: str, until_: str) -> None:
    """The books of minutes in which so many events arrived."""
    span = (
        f"generate_series(date_trunc('minute', now()) - interval '{since}', date_trunc('minute', now()) - interval"
        f" '{until_}', interval '1 minute') minute ON CONFLICT (source, minute) DO UPDATE SET"
    )
    for statement in (
        f"INSERT INTO archive.landed SELECT %s, minute, %s FROM {span} rows = excluded.rows RETURNING 1",
        f"INSERT INTO archive.ledger SELECT %s, minute, n, n, 0, 0 FROM (SELECT %s::bigint AS n) n, {span}"
        " accepted = excluded.accepted, published = excluded.published RETURNING 1",
    ):
        mesh.query(statement, id, per_minute)


def incident(mesh: Mesh, id: str, kind: str, state: str) -> dict[str, Any] | None:
    found = mesh.as_("stew").get("/v1/incidents", params={"source": id, "state": state}).json()["items"]
    return next((each for each in found if each["kind"] == kind), None)


def flow(mesh: Mesh, id: str) -> dict[str, Any]:
    return mesh.as_("stew").get(f"/v1/sources/{id}").json()["flow"]


def test_a_source_that_brings_less_than_half_is_told_until_it_is_back(mesh: Mesh) -> None:
    found = until(lambda: incident(mesh, "trams", "rate", "open"))
    assert found is not None
    assert found["summary"].startswith("trams: 100 events in the 5 minutes to ")
    assert found["summary"].endswith(" where 500 are usual")
    assert incident(mesh, "trams", "silence", "open") is None
    rhythm = flow(mesh, "trams")["rhythm"]
    told = {name: rhythm[name] for name in ("minutes", "events", "expected", "quiet_minutes")}
    assert told == {"minutes": 5, "events": 100, "expected": 500, "quiet_minutes": 0}
    arrived(mesh, "trams", 100, "10 minutes", "-30 minutes")
    ended = until(lambda: incident(mesh, "trams", "rate", "resolved"))
    assert ended is not None
    assert (ended["id"], ended["by"]) == (found["id"], "quality")


def test_a_source_that_is_silent_for_longer_than_ever_is_told_until_it_is_heard(mesh: Mesh) -> None:
    found = until(lambda: incident(mesh, "ferries", "silence", "open"))
    assert found is not None
    assert "by its rhythm it should have within 5 minutes" in found["summary"]
    assert incident(mesh, "ferries", "rate", "open") is None
    push(mesh, "ferries", [1.0], "again")
    until(lambda: incident(mesh, "ferries", "silence", "resolved"))


def test_a_number_that_stands_still_is_told_until_it_moves(mesh: Mesh) -> None:
    push(mesh, "scales", [float(number % 9) for number in range(60)], "moving")
    push(mesh, "scales", [4.5] * 60, "still")
    found = until(lambda: incident(mesh, "scales", "frozen", "open"))
    assert found is not None
    assert (found["rule"], "4.5" in found["summary"]) == ("level", False)
    push(mesh, "scales", [4.6], "moved")
    until(lambda: incident(mesh, "scales", "frozen", "resolved"))


def test_a_source_is_shown_with_its_flow_and_partitions(mesh: Mesh) -> None:
    before = clock.now() - timedelta(seconds=1)
    push(mesh, "scales", [1.0, 2.0, 3.0], "shown")
    ids = mesh.query("SELECT count(*) FROM read.events WHERE source = 'scales'")[0][0]
    until(lambda: flow(mesh, "scales")["partitions"][0]["last_arrival_at"] >= before.isoformat())
    until(lambda: flow(mesh, "scales")["partitions"][0]["lag"] == 0)
    found = flow(mesh, "scales")
    assert sum(each["events"] for each in found["minutes"]) >= ids
    assert found["error_share"] == 0
    (partition,) = found["partitions"]
    assert partition["last_event_at"] == "2026-11-24T10:00:00Z"
    assert datetime.fromisoformat(partition["heartbeat_at"]) <= clock.now()


def test_the_age_of_the_last_sign_of_life_is_a_metric(mesh: Mesh) -> None:
    push(mesh, "scales", [1.0], "alive")
    name = 'sextant_heartbeat_age_seconds{partition="0",source="scales"} '
    lines = until(
        lambda: [
            line
            for line in mesh.service("quality").get("/metrics").text.splitlines()
            if line.startswith(name)
        ]
    )
    assert 0 <= float(lines[0].rpartition(" ")[2]) < 120
