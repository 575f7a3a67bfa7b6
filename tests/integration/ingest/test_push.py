"""Pushing events: every record is answered for, and nothing is doubled."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "sensor", "title": "Sensor", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter",
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "level", "type": "int"},
    ],
}  # fmt: skip
STRICT = SOURCE | {"id": "strict", "on_malformed": "refuse"}


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    mesh.define(SOURCE, STRICT)
    for source in ("sensor", "strict"):
        until(lambda source=source: post(mesh, source, b"[]").status_code == 200)


def post(mesh: Mesh, source: str, body: bytes, kind: str = "application/json", **headers: str) -> Any:
    return mesh.service("ingest").post(
        f"/v1/sources/{source}/events", content=body, headers={"Content-Type": kind, **headers}
    )


def event(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "at": "2026-11-24T10:00:00Z", "level": 1, **more}


def test_the_same_event_again_is_a_success_that_says_duplicate(mesh: Mesh) -> None:
    body = json.dumps(event("twice")).encode()
    first, second = post(mesh, "sensor", body).json(), post(mesh, "sensor", body).json()
    assert (first["published"], second["published"], second["duplicate"]) == (1, 0, 1)
    assert second["results"][0] == {
        "index": 0, "status": "duplicate", "event_id": "twice", "receipt": first["receipt"],
    }  # fmt: skip


def test_a_malformed_record_is_dead_lettered_and_the_rest_published(mesh: Mesh) -> None:
    lines = [event("a1"), event("a2", level="high"), event("a3")]
    answer = post(mesh, "sensor", "\n".join(map(json.dumps, lines)).encode(), "application/x-ndjson").json()
    assert [each["status"] for each in answer["results"]] == ["published", "dead_lettered", "published"]
    error = answer["results"][1]["error"]
    assert (error["code"], error["field"], error["scope"]) == ("wrong_type", "level", "record")
    letter = answer["results"][1]["dead_letter"]
    found = until(
        lambda: mesh.query("SELECT field, reason, payload FROM read.dead_letters WHERE id = %s", letter)
    )
    assert found[0][0] == "level"
    assert json.loads(found[0][2])["level"] == "high"


def test_a_strict_source_refuses_what_is_malformed_to_its_sender(mesh: Mesh) -> None:
    refused = post(mesh, "strict", json.dumps(event("b1", level=None)).encode())
    assert (refused.status_code, refused.json()["refused"]) == (422, 1)
    mixed = post(mesh, "strict", json.dumps([event("b2"), {"id": "b3"}]).encode())
    assert (mixed.status_code, mixed.json()["accepted"], mixed.json()["refused"]) == (207, 1, 1)


def test_cloud_events_come_in_all_three_forms(mesh: Mesh) -> None:
    envelope = {"specversion": "1.0", "source": "/s", "type": "t", "time": "2026-11-24T10:00:00Z"}
    structured = {**envelope, "id": "c1", "data": {"level": 3}}
    one = post(mesh, "sensor", json.dumps(structured).encode(), "application/cloudevents+json").json()
    batch = [{**structured, "id": "c2"}, {**structured, "id": "c3"}]
    two = post(mesh, "sensor", json.dumps(batch).encode(), "application/cloudevents-batch+json").json()
    headers = {f"ce-{name}": value for name, value in envelope.items()} | {"ce-id": "c4"}
    three = post(mesh, "sensor", b'{"level": 3}', **headers).json()
    assert (one["published"], two["published"], three["published"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("source", "body", "kind", "status", "code"),
    [
        ("nowhere", b"{}", "application/json", 404, "unknown_source"),
        ("sensor", b"<xml/>", "application/xml", 415, "unsupported_media"),
        ("sensor", b"[1,", "application/json", 400, "malformed"),
        ("sensor", b"[" * 200_000, "application/json", 400, "too_deep"),
        ("sensor", b"x" * (17 * 1024 * 1024), "application/json", 413, "too_large"),
        ("sensor", b"[" + b"{}," * 50_001 + b"{}]", "application/json", 413, "too_large"),
    ],
    ids=["unknown source", "wrong type", "cut off", "deep", "large", "many"],
)
def test_a_request_that_cannot_be_read_has_its_own_status_and_code(
    mesh: Mesh, source: str, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = post(mesh, source, body, kind)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["retryable"] is False
    assert answer.json()["scope"] in ("request", "source")


@pytest.mark.parametrize(
    "body", [b"17", b'"text"', b"null", b"\xff\xfe", b'{"id": NaN}', b"{}", b"", b'{"id": "\\ud800"}']
)
def test_a_record_that_is_none_is_refused_and_never_a_fault_of_ours(mesh: Mesh, body: bytes) -> None:
    assert post(mesh, "strict", body).status_code in (400, 422)


def test_the_books_of_a_source_balance(mesh: Mesh) -> None:
    def balanced() -> bool:
        rows = mesh.query(
            "SELECT in_flight, imbalance, accepted FROM read.ledger_totals WHERE source = 'sensor'"
        )
        return bool(rows) and rows[0][:2] == (0, 0) and rows[0][2] > 0

    assert until(balanced)
