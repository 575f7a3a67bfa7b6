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


Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Table = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$", examples=["crew.shifts"])
]


class _Postgres(Definition):
    """Where the rows are."""

    address: str = Field(examples=["postgresql://reader@crew-db:5432/crew"])
    """Without the password."""
    password: SecretName | None = None
    """The name of the secret that is the password."""


class SqlPull(_Postgres):
    """Poll a table or a query of PostgreSQL by an ordered column, with an overlap for what is committed late.

    The columns that have the names of the source's fields are taken.
    """

    kind: Literal["sql"] = "sql"
    every: Duration = timedelta(seconds=30)
    table: Table | None = None
    query: str | None = None
    """One SELECT, without ORDER BY and LIMIT."""
    cursor: Column
    """A column of times or whole numbers that only grow, and that is never null."""
    tie_breaker: Column
    """A column that tells rows with the same cursor apart."""
    overlap: Overlapping
    page_size: int = Field(default=1_000, ge=1, le=50_000)

    @model_validator(mode="after")
    def _one_place(self) -> "SqlPull":
        if (self.table is None) == (self.query is None):
            raise ValueError("give exactly one of table and query")
        return self


class OutboxPull(_Postgres):
    """A transactional outbox in PostgreSQL: rows are read in the order of their ids, once no older transaction is open,
    and deleted or marked after they were accepted."""

    kind: Literal["outbox"] = "outbox"
    every: Duration = timedelta(seconds=1)
    table: Table
    id: Column = "id"
    payload: Column = "payload"
    """json, jsonb, text or bytea: one JSON object, the record."""
    mark: Column | None = None
    """A nullable timestamp that is set when the row was accepted; without one the row is deleted."""
    page_size: int = Field(default=1_000, ge=1, le=50_000)


class FilesPull(Definition):
    """Files in a folder or in a bucket of S3: CSV with a header, NDJSON or Parquet; text also as .gz or .zst.

    Each is taken once; one that grew is read on from its former end, one that was written anew from its beginning.
    """

    kind: Literal["files"] = "files"
    place: str = Field(examples=["crew/in", "s3://bucket/prefix/"])
    """A folder below SEXTANT_FILES of ingest, or a bucket and a prefix."""
    pattern: str = "*"
    """Of the path within the place; `*` matches `/` too."""
    format: Literal["csv", "ndjson", "parquet"] | None = None
    """Said by the name (.csv, .ndjson, .jsonl, .parquet) where it is not given."""
    every: Duration = timedelta(seconds=30)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quiet: Duration = timedelta(seconds=10)
    """A last line without an end is taken once a file has not changed for so long."""
    page_size: int = Field(default=5_000, ge=1, le=50_000)
    endpoint: str | None = None
    """Of another S3 than Amazon's."""
    region: str = "us-east-1"
    access_key: str | None = None
    """With `secret`; without both ingest's own role counts."""
    secret: SecretName | None = None

    @model_validator(mode="after")
    def _together(self) -> "FilesPull":
        if (self.access_key is None) != (self.secret is None):
            raise ValueError("access_key and secret go together: give both or neither")
        return self


class SsePull(Definition):
    """Server-sent events whose data is a JSON object; resumed by Last-Event-ID."""

    kind: Literal["sse"] = "sse"
    url: str
    event: str | None = None
    """Only events of this type."""
    every: Duration = timedelta(seconds=5)
    """Pause before connecting again."""
    silence: Duration = timedelta(minutes=5)
    """A connection on which nothing comes for so long is made anew."""
    auth: Authentication | None = None


class WebSocketPull(Definition):
    """A WebSocket whose messages are JSON objects."""

    kind: Literal["websocket"] = "websocket"
    url: str = Field(examples=["wss://feed.example/ships"])
    say: tuple[str, ...] = ()
    """Sent after connecting; `{cursor}` in it is where the pull stands."""
    cursor_parameter: str | None = None
    """Query parameter that carries the cursor."""
    cursor_field: str | None = None
    """Dotted path in a message. Without one, what is sent while there is no connection is not asked for."""
    every: Duration = timedelta(seconds=5)
    """Pause before connecting again."""
    silence: Duration = timedelta(minutes=5)
    """A connection on which nothing comes for so long is made anew."""
    auth: Annotated[HeaderKey | BearerToken, Field(discriminator="kind")] | None = None


class KafkaPull(Definition):
    """A topic of another Kafka cluster whose values are JSON objects."""

    kind: Literal["kafka"] = "kafka"
    servers: str = Field(examples=["broker-1:9092,broker-2:9092"])
    topic: str
    start: Literal["earliest", "latest"] = "earliest"
    """Where the first round begins."""
    every: Duration = timedelta(seconds=5)
    """Pause before connecting again."""
    page_size: int = Field(default=1_000, ge=1, le=50_000)
    tls: bool = False
    user: str | None = None
    password: SecretName | None = None
    """The name of the secret that is the password."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"

    @model_validator(mode="after")
    def _together(self) -> "KafkaPull":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together: give both or neither")
        return self


def _named(value: Any) -> Any:
    return {"kind": "http", **value} if isinstance(value, dict) else value


Pull = Annotated[
    HttpPull | SqlPull | OutboxPull | FilesPull | SsePull | WebSocketPull | KafkaPull,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]
