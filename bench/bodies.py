"""Bodies of pushes: the events of the peer job, in each of the forms that ingest reads."""

import io
from typing import Any

import fastavro
import httpx
import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from bench.contenders.ingest import readings
from bench.job import Job
from bench.load import PLACE
from libs.common import clock
from libs.common.varints import varint

BATCH = 500
JOB = Job(events=BATCH)
PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Reading {
  string series = 1; string metric = 2; google.protobuf.Timestamp ts = 3; double value = 4; string id = 5;
}
"""


def _events() -> list[dict[str, Any]]:
    stream = JOB.stream
    rows = zip(stream.series.tolist(), stream.times.tolist(), stream.values.tolist(), strict=True)
    return [
        {
            "id": f"{PLACE.decode()}-{index:03d}", "series": JOB.keys[series].decode(), "metric": "conversion_rate",
            "ts": ms, "value": value,
        }
        for index, (series, ms, value) in zip(range(BATCH), rows, strict=False)
    ]  # fmt: skip


def _json(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "ts": clock.moment(event["ts"]).isoformat().replace("+00:00", "Z")}


EVENTS = _events()
PARSED = [_json(each) for each in EVENTS]
LINES = [msgspec.json.encode(each) for each in PARSED]
NDJSON = b"\n".join(LINES)


def container() -> bytes:
    """An Avro object container file, whose one block is not compressed."""
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(readings().avro_schema()), EVENTS, sync_interval=1 << 30)
    return out.getvalue()


def messages(registry: str) -> bytes:
    """Protobuf messages in the Confluent wire format, each after its length; their schema is registered."""
    answer = httpx.post(
        f"{registry}/subjects/bench-protobuf/versions", json={"schema": PROTO, "schemaType": "PROTOBUF"},
        timeout=30, trust_env=False,
    )  # fmt: skip
    answer.raise_for_status()
    head = b"\0" + int(answer.json()["id"]).to_bytes(4, "big") + b"\0"
    kind, body = _message(), bytearray()
    for each in EVENTS:
        message: Any = kind(**{name: value for name, value in each.items() if name != "ts"})
        message.ts.FromMilliseconds(each["ts"])
        one = head + message.SerializeToString()
        body += _length(len(one)) + one
    return bytes(body)


def _length(size: int) -> bytes:
    """A base-128 number: that of zig-zag for half of it, or of its complement."""
    return varint(size // 2 if size % 2 == 0 else -(size // 2) - 1)


def _message() -> Any:
    made: Any = descriptor_pb2
    kinds = made.FieldDescriptorProto
    file = made.FileDescriptorProto(name="reading.proto", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    of = {"ts": kinds.TYPE_MESSAGE, "value": kinds.TYPE_DOUBLE}
    file.message_type.add(
        name="Reading",
        field=[
            kinds(
                name=name, number=number, label=kinds.LABEL_OPTIONAL, type=of.get(name, kinds.TYPE_STRING),
                type_name=".google.protobuf.Timestamp" if name == "ts" else None,
            )
            for number, name in enumerate(("series", "metric", "ts", "value", "id"), 1)
        ],
    )  # fmt: skip
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Reading"))
