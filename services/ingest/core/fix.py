"""Fixes: what is changed in the JSON of a dead letter before it is validated again. Small steps, one after another.

A step that finds nothing to do leaves a record as it is, so that one fix mends letters of several causes.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from libs.common.catalog.zone import zone_of
from libs.common.errors import BadMessage
from services.ingest.core.records import BROKEN, code_of

Name = Annotated[str, Field(min_length=1, max_length=200)]
Scalar = StrictStr | StrictBool | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | None

_NUMBER = re.compile(r"\s*-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\s*", re.ASCII)
_LONGEST_NUMBER = 40
"""Characters."""


def _zone(name: str) -> str:
    return zone_of(name).key


class Rename(BaseModel):
    """The field is called `to`."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["rename"]
    field: Name
    to: Name

    def apply(self, record: dict[str, Any]) -> None:
        if self.field not in record:
            return
        if self.to in record:
            raise _unmended(f"{self.to} is there already", self.to, "rename onto a free name")
        record[self.to] = record.pop(self.field)


class Default(BaseModel):
    """A field that is missing has this value."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["default"]
    field: Name
    value: Scalar

    def apply(self, record: dict[str, Any]) -> None:
        record.setdefault(self.field, self.value)


class Drop(BaseModel):
    """The field is left out."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["drop"]
    field: Name

    def apply(self, record: dict[str, Any]) -> None:
        record.pop(self.field, None)


class Replace(BaseModel):
    """Where the field has this value it has another."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["replace"]
    field: Name
    value: Scalar
    by: Scalar

    def apply(self, record: dict[str, Any]) -> None:
        if self.field not in record:
            return
        found = record[self.field]
        if found == self.value and isinstance(found, bool) == isinstance(self.value, bool):
            record[self.field] = self.by


class Number(BaseModel):
    """Text that is a number becomes one."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["number"]
    field: Name

    def apply(self, record: dict[str, Any]) -> None:
        text = record.get(self.field)
        if not isinstance(text, str):
            return
        number = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
        if number is None:
            raise _unmended(f"{self.field} is not a number in text", self.field, "number")
        record[self.field] = float(text) if number[2] or number[3] else int(text)


class Time(BaseModel):
    """Text in this format (as of strptime) becomes a time; without an offset in it, one of the zone."""

    model_config = ConfigDict(extra="forbid")
    do: Literal["time"]
    field: Name
    format: Annotated[str, Field(min_length=1, max_length=100)]
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    def apply(self, record: dict[str, Any]) -> None:
        text = record.get(self.field)
        if not isinstance(text, str):
            return
        try:
            time = datetime.strptime(text, self.format)  # noqa: DTZ007 (the zone is asked for below)
        except ValueError as error:
            rule = f"time {self.format}"
            raise _unmended(f"{self.field} is not a time of the format", self.field, rule) from error
        record[self.field] = (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(self.zone))).isoformat()


Step = Annotated[Rename | Default | Drop | Replace | Number | Time, Field(discriminator="do")]
Fix = Annotated[list[Step], Field(max_length=50)]


def mend(fix: Sequence[Step], raw: bytes) -> bytes:
    """The record as the fix leaves it; BadMessage if it is no JSON object, or a step cannot be done."""
    if not fix:
        return raw
    try:
        record = json.loads(raw)
    except (*BROKEN, ValueError) as error:
        code = "malformed" if isinstance(error, json.JSONDecodeError) else code_of(error, raw)
        raise BadMessage(f"the record is not JSON: {error}", rule="JSON", code=code) from error
    if not isinstance(record, dict):
        raise BadMessage("the record is not an object", rule="object", code="wrong_type")
    for step in fix:
        step.apply(record)
    return json.dumps(record, separators=(",", ":")).encode()


def _unmended(reason: str, field: str, rule: str) -> BadMessage:
    return BadMessage(reason, field=field, rule=rule, code="unmended")
