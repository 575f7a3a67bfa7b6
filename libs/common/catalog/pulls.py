"""Pulls: where a source's records are fetched from, and how. A union by `kind`; without one it is `http`."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from libs.common.catalog.definition import Definition
from libs.common.catalog.duration import Duration

SecretName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", examples=["CREW_API"])]
"""The value is in the environment of ingest: `SEXTANT_SECRET_<NAME>`. It is never in a definition."""


class HeaderKey(Definition):
    """An API key in a header."""

    kind: Literal["header"] = "header"
    header: str = "X-API-Key"
    secret: SecretName


class BearerToken(Definition):
    kind: Literal["bearer"] = "bearer"
    secret: SecretName


class ClientCredentials(Definition):
    """OAuth 2.0 client credentials (RFC 6749, 4.4): a token is kept until it expires or is refused."""

    kind: Literal["oauth2"] = "oauth2"
    token_url: str
    client_id: str
    secret: SecretName
    scope: str | None = None


Authentication = Annotated[HeaderKey | BearerToken | ClientCredentials, Field(discriminator="kind")]


class Overlapping(Definition):
    """How far before its cursor a pull asks again, so that what is committed late is found. Given in the cursor's unit:
    durations of a time (`1h`), else numbers. The width in use follows what is found, from the cap downwards."""

    cap: Duration | int
    """Whatever is committed no further behind the cursor is ingested."""
    floor: Duration | int = 0
    """Never ask again for less."""
    safety: Duration = timedelta(seconds=5)
    """Of times: the cursor stays so far behind the clock."""


class HttpPull(Definition):
    """Poll a JSON endpoint with a cursor; pages by the cursor, or by `Link: rel=next`."""

    kind: Literal["http"] = "http"
    url: str
    every: Duration = timedelta(seconds=30)
    records: str = ""
    """Dotted path to the list of records in the answer; empty: the answer is the list."""
    cursor_parameter: str | None = None
    """Query parameter that carries the cursor. Without one the whole list is read each time."""
    cursor_field: str | None = None
    """Dotted path in the answer (`meta.next`) or, with `cursor_of: record`, in the last record."""
    cursor_of: Literal["answer", "record"] = "answer"
    page_size: int = Field(default=500, ge=1, le=10_000)
    page_size_parameter: str | None = None
    until_parameter: str | None = None
    """Query parameter for the upper end, now − `overlap.safety`."""
    overlap: Overlapping | None = None
    """With `cursor_of: record`, whose field is a timestamp or a whole number of the source. The endpoint gives the
    records from the cursor on in its order, or in any order by `Link: rel=next`."""
    auth: Authentication | None = None

    @model_validator(mode="after")
    def _whole(self) -> "HttpPull":
        if (self.cursor_parameter is None) != (self.cursor_field is None):
            raise ValueError("cursor_parameter and cursor_field go together: give both or neither")
        if self.overlap is not None and (self.cursor_field is None or self.cursor_of != "record"):
            raise ValueError("an overlap needs `cursor_of: record`: the answer's cursor cannot be set back")
        if self.until_parameter is not None and self.overlap is None:
            raise ValueError("until_parameter needs `overlap`, which says how far behind the clock it is")
        return self


def _named(value: Any) -> Any:
    return {"kind": "http", **value} if isinstance(value, dict) else value


Pull = Annotated[HttpPull, BeforeValidator(_named)]
