"""Protobuf messages in the Confluent wire format, by schemas of the registry: text of `.proto`, or a descriptor in
base64 as the serializers of Python and .NET register it.

A message here is flat: scalars without bytes, enums, google.protobuf.Timestamp; nothing repeated.
"""

import base64
from datetime import timedelta
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, unknown_fields

from libs.common.clock import EPOCH
from libs.common.errors import BadMessage
from services.ingest.core.framing import varint
from services.ingest.core.proto import TIMESTAMP, parse

_DESCRIPTORS: Any = descriptor_pb2  # its classes are made when it is imported: no checker sees them
_FIELD = _DESCRIPTORS.FieldDescriptorProto
_PLAIN = {
    kind for name, kind in _FIELD.Type.items() if name not in ("TYPE_BYTES", "TYPE_GROUP", "TYPE_MESSAGE")
}


class Reader:
    """One schema of the registry. BadMessage if it is none, or if it cannot be read."""

    def __init__(self, text: str) -> None:
        pool: Any = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
        try:
            file = _DESCRIPTORS.FileDescriptorProto()
            try:
                file.ParseFromString(base64.b64decode(text, validate=True))
            except Exception:  # then it is text
                file = parse(text)
            file.name = "schema.proto"
            pool.Add(file)
            found = pool.FindFileByName(file.name)
            self.kinds: dict[int, _Kind] = {}
            self.messages = [found.message_types_by_name[each.name] for each in file.message_type]
        except BadMessage:
            raise
        except Exception as error:  # whatever the library stumbled over, it is none
            raise _unsupported(f"not a Protobuf schema: {error!r}"[:300]) from error
        if not self.messages:
            raise _unsupported("a Protobuf schema without a message")

    def message(self, body: bytes) -> dict[str, Any]:
        """Which message it is (indexes as varints, 0 for the first), then its bytes."""
        index, place = self._index(body)
        if index not in self.kinds:
            self.kinds[index] = _Kind(self.messages[index])
        kind = self.kinds[index]
        try:
            found = kind.made.FromString(body[place:])
        except Exception as error:
            raise BadMessage(
                f"not of its schema: {type(error).__name__}: {error}"[:300], rule="Protobuf", code="malformed"
            ) from error
        unknown: Any = unknown_fields.UnknownFieldSet(found)
        if len(unknown):
            number = str(unknown[0].field_number)
            raise BadMessage(
                f"the schema has no field {number}",
                field=number,
                rule="the fields of its schema",
                code="unknown_field",
            )
        values = {name: getattr(found, name) for name in kind.always}
        values |= {name: getattr(found, name) for name in kind.present if found.HasField(name)}
        for name, words in kind.enums:
            if name in values:
                values[name] = words.get(values[name], values[name])
        return values

    def timed(self, values: dict[str, Any]) -> dict[str, Any]:
        """With times in place of their messages; BadMessage if one is none."""
        return {
            name: _time(name, value) if hasattr(value, "nanos") else value for name, value in values.items()
        }

    def _index(self, body: bytes) -> tuple[int, int]:
        """Of the message in its schema, and the place behind it."""
        if body[:1] == b"\0":
            return 0, 1
        count, place = varint(body, 0)
        if count != 2:  # zig-zag of 1
            raise _unsupported("a message within another")
        number, place = varint(body, place)
        index = number >> 1
        if index >= len(self.messages):
            raise BadMessage("the schema has no such message", rule="Protobuf", code="malformed")
        return index, place


class _Kind:
    """How messages of one kind are read; BadMessage if they are not flat."""

    def __init__(self, kind: Any) -> None:
        self.made: Any = message_factory.GetMessageClass(kind)
        for field in kind.fields:
            if field.is_repeated or not (field.type in _PLAIN or _is_time(field)):
                raise _unsupported(f"{field.name} is neither scalar nor enum nor {TIMESTAMP}")
        self.always = [field.name for field in kind.fields if not field.has_presence]
        self.present = [field.name for field in kind.fields if field.has_presence]
        self.enums: list[tuple[str, dict[int, str]]] = [
            (field.name, {number: value.name for number, value in field.enum_type.values_by_number.items()})
            for field in kind.fields
            if field.enum_type is not None
        ]


def _is_time(field: Any) -> bool:
    return field.message_type is not None and field.message_type.full_name == TIMESTAMP


def _time(name: str, value: Any) -> Any:
    try:
        if not 0 <= value.nanos < 10**9:
            raise OverflowError
        return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    except OverflowError:
        raise BadMessage(
            f"{name} is outside the years 1 to 9999",
            field=name,
            value=f"{value.seconds}.{value.nanos}",
            rule="years 1 to 9999",
            code="not_a_time",
        ) from None


def _unsupported(why: str) -> BadMessage:
    return BadMessage(why, rule="a flat message", code="unsupported_schema")
