"""A KPI that is defined when its events are there already: its first windows are whole, its measures beside them."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "till", "title": "Till", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "amount", "type": "double"},
    ],
}  # fmt: skip


def kpi(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "fleet", "source": "till", "value": "sum(amount)",
        "window": {"calendar": "day", "zone": "America/New_York"}, "lateness": "1h", **more,
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def events(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    # Two local days around the night of 10 March 2024, which has 23 hours: 05:00 and 04:00 UTC are midnight.
    times = ["2024-03-10T04:59:59Z", "2024-03-10T05:00:00Z", "2024-03-11T03:59:59Z", "2024-03-11T04:00:00Z"]
    batch = [{"id": f"e{number}", "at": at, "amount": 2.0**number} for number, at in enumerate(times)]
    service = mesh.service("ingest")
    until(lambda: service.post("/v1/sources/till/events", content=json.dumps(batch)).status_code == 200)
    service.post("/v1/sources/till/watermark", json={"through": "2024-03-20T00:00:00Z"})


def values(mesh: Mesh, id: str, version: int = 1) -> list[tuple[Any, ...]]:
    shown = "to_char({} AT TIME ZONE 'UTC', 'DD HH24:MI')"
    return mesh.query(
        f"SELECT {shown.format('window_start')}, {shown.format('window_end')}, value, measures FROM read.observations"
        " WHERE kpi = %s AND kpi_version = %s AND status = 'final' ORDER BY 1",
        id,
        version,
    )


def test_a_new_kpi_reads_the_past_and_its_days_are_as_long_as_the_clock_makes_them(mesh: Mesh) -> None:
    mesh.define(kpi("takings", measures={"sales": "count(*)", "highest": "max(amount)"}))
    expected = [
        ("09 05:00", "10 05:00", 1.0, {"sales": 1.0, "highest": 1.0}),
        ("10 05:00", "11 04:00", 6.0, {"sales": 2.0, "highest": 4.0}),
        ("11 04:00", "12 04:00", 8.0, {"sales": 1.0, "highest": 8.0}),
    ]
    assert until(lambda: (found := values(mesh, "takings")) == expected and found, seconds=90)


def test_a_changed_kpi_is_a_version_of_its_own_with_the_same_past(mesh: Mesh) -> None:
    mesh.define(kpi("changing"))
    until(lambda: len(values(mesh, "changing")) == 3, seconds=90)
    mesh.define(kpi("changing", value="max(amount)"))
    assert until(lambda: [row[2] for row in values(mesh, "changing", 2)] == [1.0, 4.0, 8.0], seconds=90)
