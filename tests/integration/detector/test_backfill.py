"""The past is computed again: what came too late counts, history stays, and nothing is said twice."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from libs.common import clock
from tests.mesh import Mesh, until

BEGIN = datetime(2024, 6, 1, tzinfo=UTC)
MINUTES = 600
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "backfill_gate", "title": "Gate", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
    "fields": [
        {"name": "id", "type": "string", "classification": "public"}, {"name": "at", "type": "timestamp"},
        {"name": "gate", "type": "string", "classification": "public"}, {"name": "weight", "type": "double"},
    ],
}  # fmt: skip
GATES = ("north", "south", "west")


def kpi(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "fleet", "source": "backfill_gate", "value": "sum(weight)",
        "measures": {"people": "count(*)"}, "by": ["gate"], "window": {"tumbling": "10m"}, "lateness": "1m",
        "early": "0s", **more,
    }  # fmt: skip


KPIS = (
    kpi("backfill_weight"),
    kpi("backfill_sliding", window={"sliding": "30m", "every": "10m"}),
    kpi("backfill_visits", window={"session": "3m"}),
    kpi(
        "backfill_everywhere",
        source=None,
        over={"weight": "backfill_weight"},
        value="sum(weight)",
        by=[],
        measures={},
    ),
)


def at(minute: float) -> str:
    return (BEGIN + timedelta(minutes=minute)).isoformat()


class Gate:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.number = mesh, 0
        self.ingest = mesh.service("ingest")

    def send(self, passages: list[tuple[float, str, float]]) -> None:
        """(minute, gate, weight), in one batch."""
        batch = [
            {"id": f"e{self.number + place}", "at": at(minute), "gate": gate, "weight": weight}
            for place, (minute, gate, weight) in enumerate(passages)
        ]
        self.number += len(batch)
        answer = self.ingest.post("/v1/sources/backfill_gate/events", content=json.dumps(batch))
        assert answer.status_code == 200

    def pass_(self, minutes: list[float], gate: str, weight: float = 1.0) -> None:
        self.send([(minute, gate, weight) for minute in minutes])

    def through(self, minute: float) -> None:
        answer = self.ingest.post("/v1/sources/backfill_gate/watermark", json={"through": at(minute)})
        assert answer.status_code == 200


def rows(mesh: Mesh, id: str, columns: str = "value, count, revision, status") -> list[tuple[Any, ...]]:
    """The newest revision of each window, by series and start (in minutes)."""
    return mesh.query(
        "SELECT DISTINCT ON (series_key, window_start) series_key, extract(epoch FROM window_start - %s)::int / 60,"
        f" {columns} FROM read.observations WHERE kpi = %s ORDER BY series_key, window_start, revision DESC",
        BEGIN,
        id,
    )


def order(mesh: Mesh, id: str, first: float = 0, last: float = MINUTES, **more: Any) -> httpx.Response:
    body = {"kpi": id, "from": at(first), "to": at(last), **more}
    return mesh.as_("operator").post("/v1/backfills", json=body)


def ended(mesh: Mesh, id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        answer = mesh.as_("operator").get(f"/v1/backfills/{id}")
        assert answer.status_code in (200, 503), answer.text
        told = answer.json()
        return (
            told if answer.status_code == 200 and told["state"] in ("done", "failed", "cancelled") else None
        )

    told = until(found, seconds=90)
    assert told is not None
    return told


def backfilled(mesh: Mesh, id: str, first: float = 0, last: float = MINUTES, **more: Any) -> dict[str, Any]:
    answer = order(mesh, id, first, last, **more)
    assert answer.status_code == 200, answer.text
    told = ended(mesh, answer.json()["id"])
    assert told["state"] == "done", told
    return told


def changed(told: dict[str, Any]) -> tuple[int, int, int]:
    return told["new"], told["revised"], told["retracted"]


@pytest.fixture(scope="module")
def gate(mesh: Mesh) -> Gate:
    """Every minute somebody passes the north and the south gate; later some are told of when it is too late."""
    mesh.define(SOURCE)
    gate = Gate(mesh)
    until(lambda: gate.ingest.post("/v1/sources/backfill_gate/events", content="[]").status_code == 200)
    mesh.define(*KPIS)
    everybody = [(float(minute), "north") for minute in range(MINUTES)]
    everybody += [(minute + 0.5, "south") for minute in range(0, MINUTES, 5)]
    gate.send([(minute, name, 1.0) for minute, name in sorted(everybody)])  # in one batch: none is late
    gate.through(MINUTES + 60)
    until(lambda: len(rows(mesh, "backfill_weight")) == 2 * MINUTES // 10, seconds=90)
    until(lambda: len(rows(mesh, "backfill_everywhere")) == MINUTES // 10, seconds=90)
    gate.pass_([3, 4, 33], "north", 100.0)  # too late by far
    gate.pass_([2.5], "west", 7.0)
    gate.pass_([6.5 + 5 * number for number in range(4)], "south", 1.0)
    told = "SELECT coalesce(sum(count), 0) FROM read.late_events WHERE kpi = 'backfill_weight'"
    until(lambda: mesh.query(told)[0][0] == 8, seconds=60)
    return gate


def test_a_dry_run_says_what_would_change_and_changes_nothing(mesh: Mesh, gate: Gate) -> None:
    before = rows(mesh, "backfill_weight")
    told = backfilled(mesh, "backfill_weight", dry_run=True)
    assert changed(told) == (1, 5, 0)
    assert told["windows"] == 121
    assert told["events"] == MINUTES + MINUTES // 5 + 8
    # What it would have published would have come before the answer of the next one.
    assert changed(backfilled(mesh, "backfill_weight", dry_run=True)) == (1, 5, 0)
    assert rows(mesh, "backfill_weight") == before


def test_events_that_came_too_late_count_in_the_next_revision_and_history_stays(
    mesh: Mesh, gate: Gate
) -> None:
    then = clock.now().isoformat()
    told = backfilled(mesh, "backfill_weight", reason="three came late")
    assert changed(told) == (1, 5, 0)
    until(lambda: sum(row[4] > 1 for row in rows(mesh, "backfill_weight")) == 5)
    until(lambda: len(rows(mesh, "backfill_weight")) == 121)
    assert [row for row in rows(mesh, "backfill_weight") if row[4] > 1 or row[0] == "gate=west"] == [
        ("gate=north", 0, 210.0, 12, 2, "final"), ("gate=north", 30, 110.0, 11, 2, "final"),
        ("gate=south", 0, 3.0, 3, 2, "final"), ("gate=south", 10, 4.0, 4, 2, "final"),
        ("gate=south", 20, 3.0, 3, 2, "final"), ("gate=west", 0, 7.0, 1, 1, "final"),
    ]  # fmt: skip

    def value(**asked: str) -> list[float]:
        answer = mesh.as_("lena").get(
            "/v1/kpis/backfill_weight/observations", params={"from": at(0), "to": at(10), **asked}
        )
        assert answer.status_code == 200, answer.text
        return [item["value"] for item in answer.json()["items"] if item["series_key"] == "gate=north"]

    assert (value(), value(as_of=then)) == ([210.0], [10.0])


def test_a_second_backfill_changes_nothing(mesh: Mesh, gate: Gate) -> None:
    before = mesh.query("SELECT count(*) FROM read.observations WHERE kpi = 'backfill_weight'")
    told = backfilled(mesh, "backfill_weight")
    assert (told["windows"], *changed(told)) == (121, 0, 0, 0)
    assert mesh.query("SELECT count(*) FROM read.observations WHERE kpi = 'backfill_weight'") == before


def test_an_explained_value_has_the_events_that_came_too_late_and_no_others(mesh: Mesh, gate: Gate) -> None:
    def explained(**asked: Any) -> dict[str, Any]:
        path = f"/v1/explain/observations/backfill_weight/gate=north/{at(0)}"
        answer = mesh.as_("ana").get(path, params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["events"]

    now, before = explained(), explained(revision=1)
    assert (now["matched"], now["agrees"], now["late"], now["outside"]) == (12, True, 0, 0)
    assert (before["matched"], before["agrees"], before["late"], before["outside"]) == (10, True, 2, 2)


def test_windows_that_slide_and_sessions_that_grow_together(mesh: Mesh, gate: Gate) -> None:
    # North: minutes 3, 4 and 33 lie in three windows each, of which those that begin before the range are left.
    assert changed(backfilled(mesh, "backfill_sliding")) == (1, 7, 0)
    sliding = {row[:2]: row[2] for row in until(lambda: rows(mesh, "backfill_sliding"))}
    until(lambda: {row[:2]: row[2] for row in rows(mesh, "backfill_sliding")}["gate=north", 0] == 230.0)
    assert sliding.keys() >= {("gate=north", 0)}
    # South: visits of a moment, each with a late one two minutes after... and the first of them before it.
    told = backfilled(mesh, "backfill_visits")
    assert (told["new"], told["retracted"]) == (1, 0)
    assert told["revised"] >= 1
    assert changed(backfilled(mesh, "backfill_visits")) == (0, 0, 0)
    assert changed(backfilled(mesh, "backfill_sliding")) == (0, 0, 0)


def test_a_kpi_over_others_takes_their_revised_values(mesh: Mesh, gate: Gate) -> None:
    told = backfilled(mesh, "backfill_everywhere")
    assert changed(told) == (0, 4, 0)
    found = until(lambda: [row for row in rows(mesh, "backfill_everywhere") if row[4] > 1])
    assert [(row[1], row[2]) for row in found] == [(0, 220.0), (10, 14.0), (20, 13.0), (30, 112.0)]


def test_parity_agrees_with_what_was_backfilled(mesh: Mesh, gate: Gate) -> None:
    def agrees() -> bool:
        found = mesh.query(
            "SELECT p.windows, p.differing FROM read.parity p JOIN read.backfills b USING (kpi, kpi_version)"
            " WHERE kpi = 'backfill_weight' AND b.revised > 0 AND NOT b.dry_run AND p.checked_at > b.ended_at"
        )
        return bool(found) and found[0][0] >= 121 and found[0][1] == 0

    until(agrees, seconds=90)


def test_it_is_gone_on_with_when_the_detector_was_killed_and_nothing_is_said_twice(
    mesh: Mesh, gate: Gate
) -> None:
    mesh.define(kpi("backfill_weight", value="sum(weight) * 2"))  # version 2 has read the topic
    newest = "SELECT count(*) FROM read.observations WHERE kpi = 'backfill_weight' AND kpi_version = 2"
    until(lambda: mesh.query(newest)[0][0] >= 100, seconds=90)
    until(
        lambda: mesh.query("SELECT 1 FROM read.served WHERE kpi = 'backfill_weight' AND kpi_version = 2"),
        seconds=60,
    )
    for _ in range(10):  # more than are read at once
        gate.pass_([float(minute) for minute in range(MINUTES) for _ in range(10)], "east")
    told = "SELECT coalesce(sum(count), 0) FROM read.late_events WHERE kpi = 'backfill_weight' AND kpi_version = 2"
    until(lambda: mesh.query(told)[0][0] >= 100 * MINUTES, seconds=60)
    answer = order(mesh, "backfill_weight")
    assert answer.status_code == 200, answer.text
    id = answer.json()["id"]

    def state() -> str:
        answer = mesh.as_("operator").get(f"/v1/backfills/{id}")
        return answer.json()["state"] if answer.status_code == 200 else ""

    mesh.kill("detector")
    until(lambda: state() in ("waiting", "running", "done"), seconds=60)
    mesh.kill("detector")
    until(lambda: state() in ("running", "done"), seconds=60)
    mesh.kill("detector")
    found = ended(mesh, id)
    assert found["state"] == "done", found
    east = (
        "SELECT count(*), count(DISTINCT window_start), max(revision), sum(value) FROM read.observations"
        " WHERE kpi = 'backfill_weight' AND kpi_version = 2 AND series_key = 'gate=east'"
    )
    until(lambda: mesh.query(east)[0][0] >= MINUTES // 10, seconds=60)
    assert mesh.query(east) == [(MINUTES // 10, MINUTES // 10, 1, 200.0 * MINUTES)]
    assert changed(backfilled(mesh, "backfill_weight")) == (0, 0, 0)


def test_windows_that_are_open_are_left_to_the_live_engine(mesh: Mesh, gate: Gate) -> None:
    gate.pass_([MINUTES + 61.0], "north", 1_000.0)
    told = backfilled(mesh, "backfill_sliding", 0, MINUTES + 600)
    assert "left to the live engine" in told["note"]
    assert not [row for row in rows(mesh, "backfill_sliding") if row[1] >= MINUTES + 60 and row[5] == "final"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"kpi": "nobody_knows"}, 404, "nobody_knows"),
        ({"from": at(10), "to": at(10)}, 422, "is not before"),
        ({"from": "2999-01-01T00:00:00Z", "to": "2999-01-02T00:00:00Z"}, 422, "future"),
        ({"from": "2024-06-01T00:00:00"}, 422, "timezone"),
        ({"from": "1600-01-01T00:00:00Z"}, 422, "1900"),
        ({"kpi": "backfill_each"}, 422, "value of its own"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)  # fmt: skip
def test_what_cannot_be_backfilled_is_refused_by_name(
    mesh: Mesh, gate: Gate, body: dict[str, Any], status: int, says: str
) -> None:
    mesh.define(
        {
            "kind": "kpi", "id": "backfill_each", "title": "Each", "owner": "fleet", "source": "backfill_gate",
            "value": "weight", "window": {"each": "event"},
        }
    )  # fmt: skip
    wanted = {"kpi": "backfill_weight", "from": at(0), "to": at(60), **body}
    until(lambda: mesh.as_("operator").get("/v1/kpis/backfill_each").status_code == 200)
    answer = mesh.as_("operator").post("/v1/backfills", json=wanted)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


def test_only_who_may_configure_may_order_and_cancel(mesh: Mesh, gate: Gate) -> None:
    body = {"kpi": "backfill_weight", "from": at(0), "to": at(60)}
    assert mesh.as_("vic").post("/v1/backfills", json=body).status_code == 403
    assert mesh.as_("lena").get("/v1/backfills").json()["items"][0]["kpi"].startswith("backfill_")
    id = order(mesh, "backfill_weight", dry_run=True).json()["id"]
    assert mesh.as_("vic").post(f"/v1/backfills/{id}/cancel").status_code == 403
    ended(mesh, id)
    assert mesh.as_("operator").post(f"/v1/backfills/{id}/cancel").status_code == 409
    assert mesh.as_("operator").post("/v1/backfills/none/cancel").status_code == 404
