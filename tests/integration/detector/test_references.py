"""Events are enriched with the row of a reference that was valid at their time, whenever they come."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCES: list[dict[str, Any]] = [
    {
        "kind": "source", "id": "trips", "title": "Trips", "owner": "fleet", "event_id": "id", "event_time": "at",
        "partitions": 2, "watermark": {"idle": "1h"},
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "van", "type": "string"},
        ],
    },
    {
        "kind": "source", "id": "vans", "title": "Vans", "owner": "fleet", "reference": True, "key": ["plate"],
        "event_time": "since",
        "fields": [
            {"name": "plate", "type": "string"}, {"name": "since", "type": "timestamp"},
            {"name": "depot", "type": "string"}, {"name": "seats", "type": "int"},
        ],
    },
    {
        "kind": "rule", "id": "known_van", "title": "Known van", "owner": "fleet", "source": "trips",
        "severity": "warning", "check": {"reference": {"field": "van", "in": "vans"}},
    },
]  # fmt: skip
SEATS: dict[str, Any] = {
    "kind": "kpi", "id": "seats", "title": "Seats", "owner": "fleet", "source": "trips", "lateness": "2d",
    "enrich": [{"reference": "vans", "on": ["van"], "prefix": "van"}], "by": ["van_depot"], "value": "sum(van_seats)",
    "window": {"tumbling": "1h"}, "measures": {"trips": "count(*)"},
}  # fmt: skip


def push(mesh: Mesh, source: str, rows: list[dict[str, Any]]) -> Any:
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=json.dumps(rows))


def van(since: str, depot: str, seats: int, plate: str = "V|1") -> dict[str, Any]:
    return {"plate": plate, "since": since, "depot": depot, "seats": seats}


def trip(id: str, at: str, plate: str = "V|1") -> dict[str, Any]:
    return {"id": id, "at": at, "van": plate}


@pytest.fixture(scope="module", autouse=True)
def defined(mesh: Mesh) -> None:
    mesh.define(*SOURCES)
    for source in ("trips", "vans"):
        until(lambda source=source: push(mesh, source, []).status_code == 200)


def values(mesh: Mesh) -> list[tuple[Any, ...]]:
    return mesh.query(
        "SELECT DISTINCT ON (1, 2) to_char(window_start AT TIME ZONE 'UTC', 'HH24'), series->>'van_depot', value,"
        " suspect FROM read.observations WHERE kpi = 'seats' ORDER BY 1, 2, revision DESC"
    )


def test_a_row_counts_from_its_time_on_and_a_late_event_gets_the_one_of_its_own_time(mesh: Mesh) -> None:
    rows = [van("2025-05-01T09:30:00Z", "south", 20), van("2025-05-01T00:00:00Z", "north", 8)]
    assert push(mesh, "vans", rows).json()["published"] == 2
    mesh.define(SEATS)
    trips = [
        trip("t1", "2025-05-01T10:05:00Z"),
        trip("t2", "2025-05-01T09:29:59.999Z"),
        trip("t3", "2025-05-01T09:30:00Z"),
    ]
    push(mesh, "trips", [*trips, trip("t4", "2025-05-01T10:10:00Z", "V|2")])
    mesh.service("ingest").post("/v1/sources/trips/watermark", json={"through": "2025-05-01T12:00:00Z"})
    first = [
        ("09", "north", 8.0, 0),
        ("09", "south", 20.0, 0),
        ("10", "south", 20.0, 0),
        ("10", None, None, 1),
    ]
    assert until(lambda: (found := values(mesh)) == first and found, seconds=90)
    push(mesh, "trips", [trip("t5", "2025-05-01T09:10:00Z")])
    assert until(lambda: values(mesh)[0] == ("09", "north", 16.0, 0))


def test_a_row_of_the_same_time_takes_the_place_of_the_former_one(mesh: Mesh) -> None:
    push(mesh, "vans", [van("2025-05-01T09:30:00Z", "west", 30)])
    push(mesh, "trips", [trip("t6", "2025-05-01T11:00:00Z")])
    assert until(lambda: ("11", "west", 30.0, 0) in values(mesh))
    held = mesh.service("detector").get("/v1/state").json()["references"]["vans"]
    assert held["rows"] == 2
    assert held["bytes"] > 0
    count = "SELECT count(*) FROM read.reference_rows WHERE source = 'vans'"
    assert until(lambda: mesh.query(count) == [(2,)])


def test_a_row_that_does_not_say_from_when_on_it_is_valid_is_refused_by_field(mesh: Mesh) -> None:
    answer = push(mesh, "vans", [{"plate": "V|3", "depot": "east", "seats": 1}])
    assert answer.status_code == 422
    assert answer.json()["results"][0]["error"]["field"] == "since"


def test_plan_says_what_the_join_costs(mesh: Mesh) -> None:
    answer = mesh.service("strategy").post(
        "/v1/catalog/plan", json={"definitions": [{**SEATS, "id": "seats_anew"}]}
    )
    (cost,) = answer.json()["costs"]
    assert any("valid at event time; every version" in need for need in cost["needs"]), cost
