"""Clients that others wrote, unchanged: the CloudEvents SDK, Confluent's serialisers and producer, curl."""

import json
import shutil
import subprocess
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "foreign", "title": "Foreign", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1, "on_malformed": "dead_letter", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "level", "type": "long"},
    ],
}  # fmt: skip
KPI: dict[str, Any] = {
    "kind": "kpi", "id": "foreign_levels", "title": "Levels", "owner": "fleet", "source": "direct",
    "value": "sum(level)", "window": {"tumbling": "1h"}, "lateness": "1d",
}  # fmt: skip
# What these classes are called with is hidden from a type checker by how they are made.
avro_serializer: Any = AvroSerializer
json_serializer: Any = JSONSerializer
protobuf_serializer: Any = ProtobufSerializer
AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
TEXT = "2026-11-24T10:00:00Z"
AVRO: dict[str, Any] = {
    "type": "record", "name": "Foreign", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "level", "type": "long"},
    ],
}  # fmt: skip
JSON: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#", "title": "Foreign", "type": "object",
    "properties": {"id": {"type": "string"}, "at": {"type": "string"}, "level": {"type": "integer"}},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    mesh.define(SOURCE, SOURCE | {"id": "direct"}, KPI)
    for source in ("foreign", "direct"):
        until(lambda source=source: post(mesh, b"[]", {}, source).status_code == 200)


def post(mesh: Mesh, body: bytes, headers: dict[str, str], source: str = "foreign") -> httpx.Response:
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=body, headers=headers)


def landed(mesh: Mesh, id: str, source: str = "foreign") -> list[tuple[Any, ...]]:
    query = "SELECT event_time, (data->>'level')::int FROM read.events WHERE source = %s AND event_id = %s"
    return mesh.query(query, source, id)


def cloud_event(id: str) -> CloudEvent:
    attributes = {
        "id": id,
        "type": "org.example.level",
        "source": "/meters/é",
        "time": AT,
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, {"level": 3})


@pytest.mark.parametrize("form", [to_binary_event, to_structured_event])
def test_the_sdk_of_cloud_events(mesh: Mesh, form: Callable[[CloudEvent], Any]) -> None:
    """An id of whatever characters comes through headers, too."""
    id = f"gül 50% “{form.__name__}”"
    message = form(cloud_event(id))
    assert post(mesh, message.body, message.headers).json()["published"] == 1
    until(lambda: landed(mesh, id) == [(AT, 3)])


@pytest.fixture(scope="module")
def registry(mesh: Mesh) -> Generator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": mesh.stack.env["SEXTANT_REGISTRY"]}) as client:
        yield client


def context(mesh: Mesh, name: str) -> SerializationContext:
    return SerializationContext(mesh.settings.prefix + name, MessageField.VALUE)


def protobuf() -> Any:
    """The class of a message, as protoc would make it."""
    made: Any = descriptor_pb2
    file = made.FileDescriptorProto(name="foreign.proto", package="example", syntax="proto3")
    kinds = made.FieldDescriptorProto
    file.message_type.add(
        name="Foreign",
        field=[
            kinds(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
            for number, (name, kind) in enumerate(
                [("id", kinds.TYPE_STRING), ("at", kinds.TYPE_STRING), ("level", kinds.TYPE_INT64)], 1
            )
        ],
    )
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("example.Foreign"))


def serialised(mesh: Mesh, client: SchemaRegistryClient, form: str, id: str, topic: str) -> bytes:
    """A value as Confluent's serialiser writes it, which registers its schema."""
    serializer: Any
    value: Any
    if form == "avro":
        serializer = avro_serializer(client, json.dumps(AVRO))
        value = {"id": id, "at": AT, "level": 4}
    elif form == "json":
        serializer = json_serializer(json.dumps(JSON), client)
        value = {"id": id, "at": TEXT, "level": 4}
    else:
        kind = protobuf()
        serializer = protobuf_serializer(kind, client, {"use.deprecated.format": False})
        value = kind(id=id, at=TEXT, level=4)
    return serializer(value, context(mesh, topic))


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("avro", "application/vnd.apache.avro"),
        ("protobuf", "application/x-protobuf"),
        ("json", "application/json"),
    ],
)
def test_values_of_confluent_s_serialisers_over_http(
    mesh: Mesh, registry: SchemaRegistryClient, form: str, kind: str
) -> None:
    value = serialised(mesh, registry, form, f"http-{form}", f"foreign.{form}")
    answer = post(mesh, value, {"Content-Type": kind}).json()
    assert answer["published"] == 1, answer
    until(lambda: landed(mesh, f"http-{form}") == [(AT, 4)])


def test_curl(mesh: Mesh, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    lines = tmp_path / "lines.ndjson"
    lines.write_text("".join(json.dumps({"id": f"curl{n}", "at": TEXT, "level": n}) + "\n" for n in range(3)))
    url = f"{mesh.stack.gateway}/v1/sources/foreign/events"
    headers = [f"Authorization: Bearer {mesh.token('operator')}", "Content-Type: application/x-ndjson"]
    told = [part for header in headers for part in ("-H", header)]
    command = [curl, "-sS", "--fail", "--noproxy", "*", *told, "--data-binary", f"@{lines}", url]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert answer["published"] == 3
    until(lambda: landed(mesh, "curl2") == [(AT, 2)])


def produced(mesh: Mesh, values: list[bytes]) -> int:
    """Straight to the topic of `direct`, by Confluent's producer; the offset of the first."""
    offsets: list[int] = []
    producer = Producer({"bootstrap.servers": mesh.settings.kafka, "enable.idempotence": True})
    for value in values:
        producer.produce(
            mesh.settings.prefix + "events.direct",
            value,
            b"direct",
            on_delivery=lambda _, it: offsets.append(it.offset() or 0),
        )
    assert producer.flush(30) == 0
    return min(offsets)


def test_events_produced_straight_to_the_topic_by_the_schema_of_the_source(
    mesh: Mesh, registry: SchemaRegistryClient
) -> None:
    """Archived and computed as those that ingest wrote; what is pushed is not disturbed."""
    serializer = avro_serializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True})
    where = context(mesh, "events.direct")
    values = [serializer({"id": f"d{n}", "at": AT, "level": n}, where) for n in range(3)]
    produced(mesh, [value for value in values if value])
    pushed = json.dumps({"id": "pushed", "at": TEXT, "level": 10}).encode()
    assert post(mesh, pushed, {}, "direct").json()["published"] == 1
    later = {"through": "2026-11-26T12:00:00Z"}
    assert mesh.service("ingest").post("/v1/sources/direct/watermark", json=later).status_code == 200
    query = "SELECT value, count FROM read.observations WHERE kpi = 'foreign_levels' AND status = 'final'"
    until(lambda: mesh.query(query) == [(13.0, 4)])
    assert landed(mesh, "d2", "direct") == [(AT, 2)]


def test_what_is_produced_straight_to_the_topic_and_cannot_be_used_is_a_dead_letter_with_its_place(
    mesh: Mesh, registry: SchemaRegistryClient
) -> None:
    """Whatever it is, those who read the topic set it aside and go on."""
    mistyped = {**AVRO, "fields": [AVRO["fields"][0], {"name": "at", "type": "string"}, AVRO["fields"][2]]}
    other = avro_serializer(registry, json.dumps(mistyped))
    good = avro_serializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True})
    where = context(mesh, "events.direct")
    last = good({"id": "last", "at": AT, "level": 1}, where)
    bad = [
        b"no event", serialised(mesh, registry, "protobuf", "x1", "foreign.protobuf"),
        serialised(mesh, registry, "json", "x2", "foreign.json"),
        other({"id": "x3", "at": TEXT, "level": 1}, context(mesh, "foreign.mistyped")), (last or b"")[:-1],
    ]  # fmt: skip
    first = produced(mesh, [value or b"" for value in [*bad, last]])
    until(lambda: landed(mesh, "last", "direct") == [(AT, 1)])
    query = (
        "SELECT \"offset\", service, reason, topic FROM read.dead_letters WHERE source = 'direct' ORDER BY 1"
    )
    until(lambda: {row[0] for row in mesh.query(query)} == set(range(first, first + 5)))
    found = mesh.query(query)
    assert {row[3] for row in found} == {mesh.settings.prefix + "events.direct"}
    reasons = {row[0] - first: row[2] for row in found}
    assert "wire format" in reasons[0]
    assert "schema" in reasons[1]
    assert "schema" in reasons[2]
    assert reasons[3].startswith("at is of type String")
    assert mesh.query("SELECT event_id FROM read.events WHERE event_id IN ('x1', 'x2', 'x3')") == []
