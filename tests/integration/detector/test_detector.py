"""The detector as a process: restarts lose and double nothing, and what comes too late is kept aside."""

import json
from typing import Any

import httpx
import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "meter", "title": "Meter", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "refuse",
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "level", "type": "int"}],
}  # fmt: skip
KPI: dict[str, Any] = {
    "kind": "kpi", "id": "meter_total", "title": "Total", "owner": "fleet", "source": "meter", "value": "sum(level)",
    "window": {"tumbling": "10m"}, "lateness": "10m",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def definitions(mesh: Mesh) -> None:
    mesh.define(SOURCE, KPI)
    until(lambda: push(mesh, []) == 200)
    until(lambda: any(each["kpi"] == "meter_total" and len(each["live"]) == 2 for each in state(mesh)))


def state(mesh: Mesh) -> list[dict[str, Any]]:
    """What the detector says of its KPIs; nothing while it restarts."""
    try:
        return mesh.service("detector").get("/v1/state").json()["kpis"]
    except httpx.TransportError:
        return []


def push(mesh: Mesh, events: list[dict[str, Any]]) -> int:
    return mesh.service("ingest").post("/v1/sources/meter/events", content=json.dumps(events)).status_code


def event(name: str, minute: int, level: int = 1) -> dict[str, Any]:
    return {"id": name, "at": f"2026-11-24T{10 + minute // 60:02}:{minute % 60:02}:00Z", "level": level}


def declare(mesh: Mesh, minute: int) -> None:
    through = event("", minute)["at"]
    mesh.service("ingest").post("/v1/sources/meter/watermark", json={"through": through})


def windows(mesh: Mesh) -> dict[str, tuple[float, int, str]]:
    rows = mesh.query(
        "SELECT DISTINCT ON (window_start) to_char(window_start AT TIME ZONE 'UTC', 'HH24:MI'), value, count, status"
        " FROM read.observations WHERE kpi = 'meter_total' ORDER BY window_start, revision DESC"
    )
    return {start: (value, count, status) for start, value, count, status in rows}


def test_values_are_final_after_kills_in_mid_stream_and_nothing_is_lost_or_doubled(mesh: Mesh) -> None:
    for batch in range(20):
        assert push(mesh, [event(f"k{batch}-{number}", batch, batch) for number in range(25)]) == 200
        if batch in (5, 11, 17):
            mesh.kill("detector")
    until(lambda: windows(mesh).get("10:00"), seconds=90)
    declare(mesh, 20)
    expected = {
        "10:00": (25.0 * sum(range(10)), 250, "final"),
        "10:10": (25.0 * sum(range(10, 20)), 250, "final"),
    }
    assert until(lambda: windows(mesh) == expected, seconds=90)


def test_a_window_within_lateness_is_revised_and_one_beyond_it_is_not(mesh: Mesh) -> None:
    before = windows(mesh)["10:00"]
    declare(mesh, 25)
    push(mesh, [event("late-but-allowed", 12, 1000), event("too-late", 3, 1000)])
    late = "SELECT count, first = last FROM read.late_events WHERE kpi = 'meter_total'"
    assert until(lambda: mesh.query(late)) == [(1, True)]
    assert until(lambda: windows(mesh)["10:10"][0] == 25.0 * sum(range(10, 20)) + 1000)
    assert windows(mesh)["10:00"] == before


def test_the_state_says_what_holds_a_watermark_back(mesh: Mesh) -> None:
    push(mesh, [event("ahead", 55)])

    def state() -> Any:
        kpis = mesh.service("detector").get("/v1/state").json()["kpis"]
        return next((each for each in kpis if each["kpi"] == "meter_total" and each["marks"]), None)

    seen = until(
        lambda: (
            (each := state())
            and max(mark["at"] for mark in each["marks"].values()) > "2026-11-24T10:50"
            and each
        )
    )
    behind = str(seen["held_by"])
    assert (
        seen["marks"][behind]["at"] == min(mark["at"] for mark in seen["marks"].values()) == seen["watermark"]
    )
