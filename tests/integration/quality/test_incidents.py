"""A broken rule opens an incident; people move it; silence is an incident that ends by itself."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(
        {
            "kind": "source", "id": "probe", "title": "Probe", "owner": "fleet", "event_id": "id", "event_time": "at",
            "key": ["id"], "partitions": 1, "freshness": {"expect_every": "3s"},
            "fields": [
                {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
                {"name": "level", "type": "int", "nullable": True},
            ],
        },
        {
            "kind": "rule", "id": "level_plausible", "title": "The level is plausible", "owner": "fleet",
            "source": "probe", "severity": "critical", "check": {"range": {"field": "level", "min": 0}},
            "incident": {"open_above": 0.2, "over": "1h", "min_events": 10},
        },
    )  # fmt: skip
    until(lambda: push(mesh, [], "x") == 200)


def push(mesh: Mesh, levels: list[int | None], name: str) -> int:
    events = [
        {"id": f"{name}{n}", "at": "2026-11-24T10:00:00Z", "level": level} for n, level in enumerate(levels)
    ]
    answer = mesh.service("ingest").post("/v1/sources/probe/events", content=json.dumps(events))
    return answer.status_code


def incident(mesh: Mesh, kind: str) -> list[tuple[Any, ...]]:
    return mesh.query(
        "SELECT id, state, violations, assessed, cause FROM read.incidents WHERE source = 'probe' AND kind = %s"
        " ORDER BY opened_at DESC LIMIT 1",
        kind,
    )


def test_a_source_without_events_has_no_score(mesh: Mesh) -> None:
    assert until(lambda: mesh.query("SELECT score, fresh FROM read.health WHERE source = 'probe'")) == [
        (None, None)
    ]


def test_an_incident_is_opened_moved_and_resolved_only_with_a_cause(mesh: Mesh) -> None:
    push(mesh, [1, -1, 1, -1, 1, -1, 1, 1, 1, 1], "a")
    ((id, state, violations, assessed, _),) = until(lambda: incident(mesh, "rule"))
    assert (state, violations, assessed) == ("open", 3, 10)
    health = until(
        lambda: mesh.query(
            "SELECT score, worst FROM read.health WHERE source = 'probe' AND worst IS NOT NULL"
        )
    )
    assert health[0][0] <= 0.4
    quality = mesh.service("quality", "stew")
    assert (
        quality.post(f"/v1/incidents/{id}", json={"action": "acknowledge"}).json()["state"] == "acknowledged"
    )
    refused = quality.post(f"/v1/incidents/{id}", json={"action": "resolve"})
    assert (refused.status_code, refused.json()["code"]) == (422, "cause_required")
    done = quality.post(
        f"/v1/incidents/{id}", json={"action": "resolve", "cause": "source_logic", "note": "fixed"}
    ).json()
    assert done["note"] == "fixed"
    assert (done["state"], done["cause"], done["by"]) in [
        ("resolved", "source_logic", "stew"),
        ("resolved", "source_logic", "test"),
    ]
    again = quality.post(f"/v1/incidents/{id}", json={"action": "acknowledge"})
    assert (again.status_code, again.json()["code"]) == (409, "illegal_move")


def test_silence_opens_an_incident_that_ends_when_the_source_is_heard_again(mesh: Mesh) -> None:
    push(mesh, [1], "b")
    until(lambda: [row[1] for row in incident(mesh, "freshness")] == ["open"])
    push(mesh, [1], "c")
    ((_, _, _, _, cause),) = until(
        lambda: [row for row in incident(mesh, "freshness") if row[1] == "resolved"]
    )
    assert cause == "source_outage"
