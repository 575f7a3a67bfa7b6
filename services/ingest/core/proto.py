"""The text of a flat `.proto` (proto3) as a descriptor. What it has beyond that is refused by name."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2

from libs.common.errors import BadMessage

TIMESTAMP = "google.protobuf.Timestamp"

_DESCRIPTORS: Any = descriptor_pb2  # its classes are made when it is imported: no checker sees them
_FIELD = _DESCRIPTORS.FieldDescriptorProto
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z_.][\w.]*|-?\d+|[{}=;\[\],<>()]")
_SCALARS = {name.removeprefix("TYPE_").lower(): kind for name, kind in _FIELD.Type.items()}
_MOST = 100_000
"""Characters of a schema."""


def parse(text: str) -> Any:
    """The file's descriptor; BadMessage names what is not understood."""
    if len(text) > _MOST:
        raise _refused(f"a schema of {len(text)} characters")
    file = _DESCRIPTORS.FileDescriptorProto(syntax="proto3")
    tokens = iter(_TOKEN.findall(_COMMENT.sub(" ", text)))
    for word in tokens:
        if word == "syntax":
            _statement(tokens, '"proto3"')
        elif word == "package":
            file.package = _statement(tokens)[0]
        elif word == "import":
            file.dependency.append(_statement(tokens, '"google/protobuf/timestamp.proto"')[-1].strip("\"'"))
        elif word == "option":
            _statement(tokens)
        elif word == "message":
            _message(file.message_type.add(name=_next(tokens)), tokens)
        elif word == "enum":
            _enum(file.enum_type.add(name=_next(tokens)), tokens)
        elif word != ";":
            raise _refused(word)
    return file


def _message(message: Any, tokens: Iterator[str]) -> None:
    _expect(tokens, "{")
    while (word := _next(tokens)) != "}":
        if word == "enum":
            _enum(message.enum_type.add(name=_next(tokens)), tokens)
        elif word in ("option", "reserved"):
            _statement(tokens)
        elif word in ("message", "oneof", "map", "repeated", "required", "group", "extensions", "extend"):
            raise _refused(word)
        elif word != ";":
            optional = word == "optional"
            _field(message, _next(tokens) if optional else word, tokens, optional)


def _field(message: Any, kind: str, tokens: Iterator[str], optional: bool) -> None:
    name = _next(tokens)
    _expect(tokens, "=")
    field = message.field.add(name=name, number=int(_next(tokens)), label=_FIELD.LABEL_OPTIONAL)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:  # an enum, or a message: the library finds out
        field.type_name = f".{TIMESTAMP}" if kind.lstrip(".") == TIMESTAMP else kind
        if kind.lstrip(".") == TIMESTAMP:
            field.type = _FIELD.TYPE_MESSAGE
    if optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    _statement(tokens)


def _enum(enum: Any, tokens: Iterator[str]) -> None:
    _expect(tokens, "{")
    while (word := _next(tokens)) != "}":
        if word in ("option", "reserved"):
            _statement(tokens)
        elif word != ";":
            _expect(tokens, "=")
            enum.value.add(name=word, number=int(_next(tokens)))
            _statement(tokens)


def _statement(tokens: Iterator[str], only: str | None = None) -> list[str]:
    """The words up to the semicolon; the last has to be `only`, where that is given."""
    words: list[str] = []
    while (word := _next(tokens)) != ";":
        words.append(word)
    if only is not None and (not words or words[-1].replace("'", '"') != only):
        raise _refused(" ".join(words))
    return words or [""]


def _next(tokens: Iterator[str]) -> str:
    word = next(tokens, None)
    if word is None:
        raise _refused("an end in the middle")
    return word


def _expect(tokens: Iterator[str], wanted: str) -> None:
    word = _next(tokens)
    if word != wanted:
        raise _refused(word)


def _refused(what: str) -> BadMessage:
    return BadMessage(
        f"not understood in a schema of Protobuf: {what[:100]}",
        value=what[:100],
        rule="a flat proto3 message",
        code="unsupported_schema",
    )
