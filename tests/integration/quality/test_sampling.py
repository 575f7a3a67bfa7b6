"""Personal data where none is expected opens an incident that says where and of which kind, and not what."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "remarks", "title": "Remarks", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1,
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "text", "type": "string"},
        {"name": "known", "type": "string", "classification": "personal"},
        {"name": "open", "type": "string", "scan": "off"},
    ],
}  # fmt: skip
TEXT = "write to sampled.bird@example.org"


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    until(lambda: push(mesh) == 200)


def push(mesh: Mesh, *ids: str) -> int:
    events = [
        {"id": id, "at": "2026-11-24T10:00:00Z", "text": TEXT, "known": TEXT, "open": TEXT} for id in ids
    ]
    return mesh.service("ingest").post("/v1/sources/remarks/events", content=json.dumps(events)).status_code


def test_what_is_found_in_a_sample_is_an_incident_of_its_field_and_kind(mesh: Mesh) -> None:
    push(mesh, *(f"a{number}" for number in range(20)))
    query = (
        "SELECT rule, kind, state, violations, assessed, summary FROM read.incidents WHERE source = 'remarks'"
    )
    [(rule, kind, state, violations, assessed, summary)] = until(lambda: mesh.query(query))
    assert (rule, kind, state) == ("text.email", "personal", "open")
    assert violations == assessed > 0
    assert "sampled.bird" not in summary
    shown = mesh.as_("ana").get("/v1/incidents", params={"source": "remarks"}).json()["items"]
    assert [(each["rule"], each["kind"]) for each in shown] == [("text.email", "personal")]
    metrics = mesh.service("quality").get("/metrics").text
    assert 'sextant_personal_findings_total{field="text",kind="email",source="remarks"}' in metrics


def test_it_does_not_make_the_source_less_healthy(mesh: Mesh) -> None:
    assert until(lambda: mesh.query("SELECT worst FROM read.health WHERE source = 'remarks'")) == [(None,)]
