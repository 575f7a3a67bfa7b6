"""Protobuf events land as their JSON would, by a schema of the registry, however it was registered."""

import base64
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.ingest.core.proto import parse
from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "proto", "title": "Proto", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "level", "type": "int", "nullable": True},
    ],
}  # fmt: skip
TEXT = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Sold { string id = 1; google.protobuf.Timestamp at = 2; optional int32 level = 3; }
"""
AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
SECONDS = b"\x08\xa0\xc0\x95\xd8\x06"  # of AT, as field 1


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    until(lambda: post(mesh, b"").status_code == 200)


def post(mesh: Mesh, body: bytes, kind: str = "application/protobuf") -> httpx.Response:
    return mesh.service("ingest").post(
        "/v1/sources/proto/events", content=body, headers={"Content-Type": kind}
    )


def register(mesh: Mesh, subject: str, schema: str) -> int:
    url = (
        f"{mesh.stack.env['SEXTANT_REGISTRY']}/subjects/{mesh.stack.env['SEXTANT_PREFIX']}{subject}/versions"
    )
    answer = httpx.post(url, json={"schema": schema, "schemaType": "PROTOBUF"}, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])


def message(schema: int, id: str, level: int | None = None) -> bytes:
    """As Confluent's serializers write it, by hand."""
    fields = b"\x0a" + bytes([len(id)]) + id.encode() + b"\x12" + bytes([len(SECONDS)]) + SECONDS
    return (
        b"\0"
        + schema.to_bytes(4, "big")
        + b"\0"
        + fields
        + (b"" if level is None else b"\x18" + bytes([level]))
    )


def test_messages_are_read_by_a_schema_that_is_text_or_descriptor(mesh: Mesh) -> None:
    file = parse(TEXT)
    file.name = "sold.proto"
    text = register(mesh, "sold-text-value", TEXT)
    descriptor = register(mesh, "sold-descriptor-value", base64.b64encode(file.SerializeToString()).decode())
    assert post(mesh, message(text, "p1", 7)).json()["published"] == 1
    batch = [message(text, "p2"), message(descriptor, "p3", 9), message(descriptor, "p1")]
    body = b"".join(bytes([len(each)]) + each for each in batch)
    answer = post(mesh, body, "application/x-protobuf").json()
    assert [each["status"] for each in answer["results"]] == ["published", "published", "duplicate"]
    query = "SELECT event_id, event_time, data->>'level' FROM read.events WHERE source = 'proto' ORDER BY 1"
    until(lambda: len(mesh.query(query)) == 3)
    assert mesh.query(query) == [("p1", AT, "7"), ("p2", AT, None), ("p3", AT, "9")]


def test_a_message_that_cannot_be_read_is_a_dead_letter_of_its_own(mesh: Mesh) -> None:
    text = register(mesh, "sold-text-value", TEXT)
    broken = message(text, "q1")[:-1]
    body = b"".join(
        bytes([len(each)]) + each for each in (broken, message(text, "q2"), message(2**31 - 1, "q3"))
    )
    answer = post(mesh, body).json()
    said = [(each["status"], each.get("error", {}).get("code")) for each in answer["results"]]
    assert said == [("dead_lettered", "malformed"), ("published", None), ("dead_lettered", "unknown_schema")]
    letter = answer["results"][0]["dead_letter"]
    rows = until(lambda: mesh.query("SELECT payload FROM read.dead_letters WHERE id = %s", letter))
    assert bytes(rows[0][0]) == broken
