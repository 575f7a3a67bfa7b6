"""Shapes that every resource uses."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def example(**fields: Any) -> ConfigDict:
    """The configuration of an answer, with one example of it."""
    return ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [fields]})


class Answer(BaseModel):
    """The root of every answer and request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ProblemDetail(Answer):
    """One thing that is wrong in a request."""

    location: str
    """Where: `body.signal`, `query.from`."""
    message: str


class Problem(BaseModel):
    """RFC 9457. `code` is stable: branch on it, not on the words."""

    model_config = ConfigDict(
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not allowed",
                    "status": 403,
                    "detail": "this needs the permission: decide",
                    "code": "forbidden",
                }
            ]
        },
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    code: str
    instance: str | None = None
    errors: list[ProblemDetail] | None = None


class StreamPosition(Answer):
    """Where the stream of this resource goes on from: subscribe with it and miss nothing since this answer.

    What the answer already holds may come once more; frames replace by their key.
    """

    channel: str = Field(examples=["observations/departures_per_hour"])
    cursor: str
    """Opaque."""


class Paged(Answer):
    """A page of a list."""

    next_page_token: str | None = None
    """Give it as `page_token` with the same parameters for the next page; null on the last one."""
    as_of: datetime
    """When the answer was read."""
