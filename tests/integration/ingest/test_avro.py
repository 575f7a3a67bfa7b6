"""Avro events, in a container or by schemas of the registry, land as their JSON would."""

import io
from datetime import UTC, datetime
from typing import Any

import fastavro
import httpx
import pytest

from libs.common.registry import Registry
from libs.common.settings import ServiceSettings
from libs.common.wire import Codec
from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "packed", "title": "Packed", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "level", "type": "double", "nullable": True},
    ],
}  # fmt: skip
AT = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    until(lambda: post(mesh, b"").status_code == 200)


def post(mesh: Mesh, body: bytes, kind: str = "application/vnd.apache.avro") -> httpx.Response:
    return mesh.service("ingest").post(
        "/v1/sources/packed/events", content=body, headers={"Content-Type": kind}
    )


def own(mesh: Mesh) -> tuple[int, Codec]:
    """The schema that the source itself has in the registry."""
    query = "SELECT schema_id, definition FROM read.catalog WHERE kind = 'source' AND id = 'packed'"
    ((id, _),) = until(lambda: mesh.query(query))
    fields = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "level", "type": ["null", "double"], "default": None},
    ]
    return id, Codec({"type": "record", "name": "packed", "namespace": "sextant.events", "fields": fields})


def delimited(found: list[bytes]) -> bytes:
    return b"".join(bytes([len(each)]) + each for each in found)


def landed(mesh: Mesh, like: str) -> list[tuple[Any, ...]]:
    query = "SELECT event_id, event_time, data->>'level' FROM read.events WHERE event_id LIKE %s ORDER BY 1"
    return mesh.query(query, like)


@pytest.mark.parametrize("kind", ["application/vnd.apache.avro", "avro/binary", "application/avro"])
def test_a_container_is_a_batch(mesh: Mesh, kind: str) -> None:
    name = kind.replace("/", "-")
    _, codec = own(mesh)
    out = io.BytesIO()
    records = [{"id": f"{name}{number}", "at": AT, "level": number / 2} for number in range(3)]
    fastavro.writer(out, codec.parsed, records, codec="deflate")
    assert post(mesh, out.getvalue(), kind).json()["published"] == 3
    until(lambda: len(landed(mesh, f"{name}%")) == 3)
    rows = landed(mesh, f"{name}%")
    assert [(row[0], row[1], float(row[2])) for row in rows] == [
        (each["id"], AT, each["level"]) for each in records
    ]


def test_messages_are_read_by_the_schema_that_each_names(mesh: Mesh) -> None:
    id, codec = own(mesh)
    one = codec.encode(id, {"id": "m1", "at": AT, "level": 1.0})
    two = codec.encode(id, {"id": "m2", "at": AT, "level": None})
    unknown = codec.encode(2**31 - 1, {"id": "m3", "at": AT, "level": None})
    assert post(mesh, one).json()["published"] == 1
    answer = post(mesh, delimited([one, two, unknown, two[:-9], b"none"])).json()
    said = [(each["status"], each.get("error", {}).get("code")) for each in answer["results"]]
    assert said == [
        ("duplicate", None), ("published", None), ("refused", "unknown_schema"), ("refused", "malformed"),
        ("refused", "not_in_wire_format"),
    ]  # fmt: skip


async def test_an_older_schema_of_a_sender_is_read_as_it_was_written(mesh: Mesh) -> None:
    env = mesh.stack.env
    settings = ServiceSettings(
        kafka="",
        database="",
        redis="",
        registry=env["SEXTANT_REGISTRY"],
        port=1,
        prefix=env["SEXTANT_PREFIX"],
    )
    registry = Registry(settings)
    fields = [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "id", "type": "string"},
    ]
    schema = {"type": "record", "name": "theirs", "fields": fields}
    id = await registry.register("theirs-value", schema)
    nested = {**schema, "fields": [*fields, {"name": "tags", "type": {"type": "array", "items": "string"}}]}
    other = await registry.register("nested-value", nested)
    await registry.close()
    sent = Codec(schema).encode(id, {"id": "o1", "at": AT})
    assert post(mesh, sent).json()["published"] == 1
    until(lambda: landed(mesh, "o1") == [("o1", AT, None)])
    refused = Codec(nested).encode(other, {"id": "o2", "at": AT, "tags": ["x"]})
    assert post(mesh, refused).json()["results"][0]["error"]["code"] == "unsupported_schema"


@pytest.mark.parametrize("body", [b"Obj\x01", b"Obj\x01\x00" + bytes(16) + b"\x02", b"\x05ab", b"Obk"])
def test_a_body_that_is_no_avro_is_malformed(mesh: Mesh, body: bytes) -> None:
    answer = post(mesh, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
