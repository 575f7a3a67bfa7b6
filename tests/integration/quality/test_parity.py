"""Every settled window is compared with plain SQL over its events; one that was falsified is found and shown."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until


@pytest.fixture(scope="module", autouse=True)
def values(mesh: Mesh) -> None:
    mesh.define(
        {
            "kind": "source", "id": "parity_gauge", "title": "Gauge", "owner": "fleet", "event_id": "id",
            "event_time": "at", "key": ["id"], "partitions": 2,
            "fields": [
                {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
                {"name": "place", "type": "string"}, {"name": "level", "type": "double", "nullable": True},
            ],
        },
        {
            "kind": "kpi", "id": "parity_level", "title": "Level", "owner": "fleet", "source": "parity_gauge",
            "value": "avg(level)", "measures": {"highest": "max(level)"}, "by": ["place"],
            "window": {"sliding": "10m", "every": "5m"}, "lateness": "1m", "departments": ["operations"],
        },
    )  # fmt: skip
    events = [
        {"id": f"g{n}", "at": f"2026-11-20T{10 + n // 60}:{n % 60:02}:00Z", "place": "north" if n % 3 else "south",
         "level": None if n % 7 == 0 else n / 3}
        for n in range(150)
    ]  # fmt: skip
    until(lambda: push(mesh, events) == 200)
    declared = {"through": "2026-11-20T14:00:00Z"}
    assert mesh.service("ingest").post("/v1/sources/parity_gauge/watermark", json=declared).is_success


def push(mesh: Mesh, events: list[dict[str, Any]]) -> int:
    return (
        mesh.service("ingest").post("/v1/sources/parity_gauge/events", content=json.dumps(events)).status_code
    )


def parity(mesh: Mesh) -> dict[str, Any]:
    items = mesh.as_("ana").get("/v1/parity").json()["items"]
    return next((each for each in items if each["kpi"] == "parity_level"), {})


def differing(mesh: Mesh) -> dict[str, Any]:
    found = parity(mesh)
    return found if found.get("differing") else {}


def test_all_settled_windows_agree(mesh: Mesh) -> None:
    found = until(lambda: (now := parity(mesh)).get("windows", 0) >= 62 and now)
    assert (found["windows"], found["differing"], found["first_difference"]) == (62, 0, None)


def test_windows_whose_events_were_disposed_of_are_left_out(mesh: Mesh) -> None:
    mesh.query(
        "DELETE FROM archive.events WHERE source = 'parity_gauge' AND event_time < '2026-11-20T10:30:00Z' RETURNING 1"
    )
    mesh.query(
        "INSERT INTO governance.receipts VALUES ('parity_gauge', 'p', 'archive', 'parity_gauge', now(), 150, 30, 120,"
        " 'done', 'stew', now(), now()) RETURNING 1"
    )
    mesh.query("DELETE FROM quality.parity WHERE kpi = 'parity_level' RETURNING 1")
    begun_before_half_past_ten = 7 * 2
    found = until(lambda: (now := parity(mesh)).get("windows", 0) >= 62 - begun_before_half_past_ten and now)
    assert (found["windows"], found["differing"]) == (62 - begun_before_half_past_ten, 0)


def test_a_falsified_value_is_found_and_shown_with_both_inputs(mesh: Mesh) -> None:
    mesh.query(
        "UPDATE archive.observations SET value = value + 1 WHERE kpi = 'parity_level' AND series_key = 'place=north'"
        " AND window_start = '2026-11-20T11:00:00Z' RETURNING 1"
    )
    mesh.query("DELETE FROM quality.parity WHERE kpi = 'parity_level' RETURNING 1")
    found = until(lambda: differing(mesh), seconds=90)
    shown = found["first_difference"]
    assert (shown["series_key"], shown["window_start"]) == ("place=north", "2026-11-20T11:00:00Z")
    assert shown["published"]["value"] == pytest.approx(shown["batch"]["value"] + 1)
    assert shown["published"]["count"] == shown["batch"]["count"] == len(shown["batch"]["events"]) == 6
    assert all(
        any(
            r["partition"] == e["partition"] and r["first"] <= e["offset"] <= r["last"]
            for r in shown["published"]["offsets"]
        )
        for e in shown["batch"]["events"]
    )
    assert mesh.query(
        "SELECT state, violations FROM read.incidents WHERE kind = 'parity' AND rule = 'parity_level'"
    ) == [("open", 1)]


def test_that_the_engine_differs_is_no_fault_of_the_source(mesh: Mesh) -> None:
    assert push(mesh, [{"id": "last", "at": "2026-11-20T15:00:00Z", "place": "north", "level": 1.0}]) == 200
    (health,) = until(
        lambda: mesh.query(
            "SELECT worst FROM read.health WHERE source = 'parity_gauge' AND last_event_at = '2026-11-20T15:00:00Z'"
        )
    )
    assert health == (None,)
