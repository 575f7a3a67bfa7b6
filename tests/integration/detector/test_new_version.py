"""A KPI is changed while events come and readers read: they never miss its newest window."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "turnstile", "title": "Turnstile", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2,
    "fields": [
        {"name": "id", "type": "string", "classification": "public"}, {"name": "at", "type": "timestamp"},
        {"name": "gate", "type": "string", "classification": "public"},
    ],
}  # fmt: skip
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
PAST = 500
"""Minutes that are there when the KPI is changed."""


def kpi(**more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": "passages", "title": "Passages", "owner": "fleet", "source": "turnstile",
        "value": "count(*)", "by": ["gate"], "window": {"tumbling": "1m"}, "lateness": "1m", **more,
    }  # fmt: skip


class Gate:
    """Two people pass each gate every minute; `minute` is over."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.minute = mesh, -1

    def pass_(self, minutes: int) -> None:
        begin, self.minute = self.minute + 1, self.minute + minutes
        events = [
            {
                "id": f"{minute}-{gate}-{n}",
                "at": (BEGIN + timedelta(minutes=minute)).isoformat(),
                "gate": gate,
            }
            for minute in range(begin, self.minute + 1)
            for gate in ("north", "south")
            for n in range(2)
        ]
        ingest = self.mesh.service("ingest")
        for start in range(0, len(events), 500):
            body = json.dumps(events[start : start + 500])
            assert ingest.post("/v1/sources/turnstile/events", content=body).status_code == 200
        through = {"through": (BEGIN + timedelta(minutes=self.minute + 1)).isoformat()}
        assert ingest.post("/v1/sources/turnstile/watermark", json=through).status_code == 200


def read(mesh: Mesh, **asked: Any) -> list[dict[str, Any]]:
    answer = mesh.as_("lena").get("/v1/kpis/passages/observations", params={"limit": 20, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def newest(items: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    """Series → its newest settled window and the version that says so."""
    found: dict[str, tuple[str, int]] = {}
    for item in items:
        if item["status"] == "final":
            found.setdefault(item["series_key"], (item["window_start"], item["kpi_version"]))
    return found


@pytest.fixture(scope="module")
def gate(mesh: Mesh) -> Gate:
    mesh.define(SOURCE)
    gate, ingest = Gate(mesh), mesh.service("ingest")
    until(lambda: ingest.post("/v1/sources/turnstile/events", content="[]").status_code == 200)
    mesh.define(kpi())
    gate.pass_(PAST)
    last = (BEGIN + timedelta(minutes=PAST - 1)).strftime("%Y-%m-%dT%H:%M")

    def all_there() -> bool:
        found = newest(read(mesh))
        return len(found) == 2 and all(at.startswith(last) for at, _ in found.values())

    until(all_there, seconds=90)
    return gate


def test_readers_of_a_kpi_that_is_changed_never_miss_its_newest_window(mesh: Mesh, gate: Gate) -> None:
    before, versions = newest(read(mesh)), []
    assert before.keys() == {"gate=north", "gate=south"}
    mesh.define(kpi(value="count(*) * 10"))

    def taken_over() -> bool:
        nonlocal before
        gate.pass_(1)
        now = newest(read(mesh))
        assert now.keys() == before.keys()
        for series, (at, version) in before.items():
            assert now[series][0] >= at, f"{series} had {at} of version {version}, now {now[series]}"
        assert len({version for _, version in now.values()}) == 1, "one version answers"
        versions.append(now["gate=north"][1])
        before = now
        return now["gate=north"][1] == 2

    until(taken_over, seconds=60)
    assert versions == sorted(versions)
    # Minutes end one after the other: the one that has begun is there with what has come so far.
    assert {item["value"] for item in read(mesh) if item["status"] == "final"} == {20.0}
    summary = mesh.as_("lena").get("/v1/kpis/passages").json()
    assert (summary["version"], summary["next_version"]) == (2, None)
    assert {each["value"] for each in summary["latest"]} == {20.0}


def test_history_of_the_former_version_stays_readable_and_says_so(mesh: Mesh, gate: Gate) -> None:
    items = read(mesh, version=1, to=(BEGIN + timedelta(minutes=5)).isoformat())
    assert [(item["kpi_version"], item["value"]) for item in items] == [(1, 2.0)] * 10
