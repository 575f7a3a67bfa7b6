"""Sources: streams of events and tables of reference rows."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from libs.common.catalog.definition import Classification, Definition, FieldType, Named
from libs.common.catalog.duration import Duration
from libs.common.catalog.minimise import Minimise
from libs.common.catalog.pulls import Pull
from libs.common.expressions.typed import columns_of, parse


class SourceField(Definition):
    """One field of a source's events."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    type: FieldType
    nullable: bool = False
    classification: Classification = "internal"
    purposes: tuple[str, ...] | None = None
    """What the field may be used for; None allows every purpose, () none."""
    minimise: Minimise | None = None
    """What is left of its values before anything of them is written."""
    description: str = ""


class Watermark(Definition):
    """How far events may be out of order, and when a silent partition no longer holds windows back."""

    delay: Duration = timedelta(0)
    idle: Duration = timedelta(seconds=60)
    ahead: Duration = timedelta(hours=1)
    """An event later than its arrival by more has a wrong clock: it is set aside and closes no window."""


class Freshness(Definition):
    expect_every: Duration
    """Wall-clock time without an arrival after which the source is not fresh."""


class Quota(Definition):
    """How many events may be pushed; what is more is answered 429."""

    events_per_second: float = Field(gt=0, le=1_000_000)
    burst: int | None = Field(default=None, ge=1)
    """Events at once after a silence; by default those of ten seconds."""

    @property
    def most(self) -> int:
        return self.burst or max(1, round(10 * self.events_per_second))


class Webhook(Definition):
    """Every push has to be signed by Standard Webhooks."""

    secret: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", examples=["STRIPE"])]
    """Its name: ingest finds it in SEXTANT_SECRET_<name>, while it is changed several with spaces between."""


class KeyExpression(Definition):
    """A key that is worked out from the fields of an event."""

    expression: Annotated[str, Field(min_length=1, max_length=2_000, examples=["upper(carrier)"])]
    """SQL over the source's fields that gives text, a whole number, a boolean, a date or a time. Events for which it is
    NULL have the empty key: all of them are in one partition."""


Unkeyed = Literal["random", "sticky"]
"""Events in no order: one partition after the other, record by record, or for up to a second at a time."""


def _kind_of_key(key: Any) -> str | None:
    if isinstance(key, str):
        return "unkeyed" if key in ("random", "sticky") else None
    if isinstance(key, list | tuple):
        return "fields"
    return "expression" if isinstance(key, dict | KeyExpression) else None


Key = Annotated[
    Annotated[tuple[str, ...], Tag("fields")]
    | Annotated[KeyExpression, Tag("expression")]
    | Annotated[Unkeyed, Tag("unkeyed")],
    Discriminator(
        _kind_of_key,
        custom_error_type="key",
        custom_error_message="a key is a list of fields, {expression: …}, random or sticky",
    ),
]


class Retry(Definition):
    """What is accepted but cannot be used yet, and may pass by itself, is parked and tried again.

    Events of its key wait behind it, in order; other keys flow. `reference_missing`: a referential rule of the source
    does not hold, for the row has not come yet. A message whose schema the registry does not know is not parked: its
    key, behind which others would wait, and what of it may be written are known only when it is read. While the
    registry is away its sender keeps it (503); who writes by a schema registers it first, so an unknown one is a fault.
    """

    when: tuple[Literal["reference_missing"], ...] = Field(default=("reference_missing",), min_length=1)
    tiers: tuple[Annotated[Duration, Field(gt=timedelta(0))], ...] = Field(
        min_length=1, max_length=10, examples=[["10s", "1m", "10m"]]
    )
    """How long it waits before each try; after the last it is a dead letter. At most a day in all."""

    @model_validator(mode="after")
    def _at_most_a_day(self) -> "Retry":
        if sum(self.tiers, timedelta(0)) > timedelta(days=1):
            raise ValueError(
                "the tiers are longer than a day in all: what takes longer is driven again by an order"
            )
        return self


class Source(Named):
    """A stream of events, or (`reference`) a table of reference rows: the last row per key.

    A reference with `event_time` has versions: of each key the last row per time from which it is valid.
    """

    kind: Literal["source"] = "source"
    fields: tuple[SourceField, ...] = Field(min_length=1)
    event_id: str | None = None
    """The field that names an event: the same id again is a duplicate. References need none."""
    event_time: str | None = None
    """The timestamp field that says when it happened; of a reference, which needs none, from when on a row is valid."""
    key: Key = ()
    """What chooses the partition: fields (of a reference its primary key), an `expression`, or without a key `random`
    or `sticky`. Events of one key keep their order; of no fields, all have the same key."""
    partitions: int = Field(default=4, ge=1, le=64)
    """Can be raised: the order per key holds across it. Never lowered."""
    format: Literal["avro", "json"] = "avro"
    """Of the values on `events.<source>`: the Confluent wire format around Avro, or plain JSON objects from
    producers that write to Kafka themselves."""
    reference: bool = False
    watermark: Watermark = Watermark()
    freshness: Freshness | None = None
    compatibility: Literal["BACKWARD", "FORWARD", "FULL", "NONE"] = "BACKWARD"
    on_malformed: Literal["refuse", "dead_letter"] = "refuse"
    """Refuse a malformed record to its sender, or accept it as a dead letter."""
    dedup: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=7))] = timedelta(days=7)
    """How long an id is remembered: the same id again is a duplicate until then, and a new event afterwards.

    At most as long as the topic keeps the events, from which the ids are read back, and at most
    SEXTANT_DEDUP_WINDOW ids.
    """
    quota: Quota | None = None
    webhook: Webhook | None = None
    retry: Retry | None = None
    pull: Pull | None = None

    @property
    def field_types(self) -> dict[str, str]:
        """Name → type, as the expression language needs them."""
        return {field.name: field.type for field in self.fields}

    @property
    def keyed_by(self) -> Literal["fields", "expression", "random", "sticky"]:
        """What chooses the partition."""
        match self.key:
            case KeyExpression():
                return "expression"
            case "random" | "sticky":
                return self.key
            case _:
                return "fields"

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields whose values are the key; none if it is not by fields."""
        return self.key if isinstance(self.key, tuple) else ()

    @property
    def key_reads(self) -> tuple[str, ...]:
        """The fields that the key is made of. DefinitionError if its expression is none."""
        if isinstance(self.key, KeyExpression):
            return tuple(sorted(columns_of(parse(self.key.expression))))
        return self.key_fields

    @property
    def versioned(self) -> bool:
        """Whether it is a reference that keeps, of each key, the rows of all times."""
        return self.reference and self.event_time is not None

    @property
    def minimises(self) -> bool:
        """Whether any field of it is minimised."""
        return any(field.minimise is not None for field in self.fields)

    def field(self, name: str) -> SourceField | None:
        return next((field for field in self.fields if field.name == name), None)

    def avro_schema(self) -> dict[str, Any]:
        """The Avro record that the source's events are written as; nullable fields default to null."""
        return {
            "type": "record",
            "name": self.id.replace("-", "_"),
            "namespace": "sextant.events",
            "fields": [_avro_field(field) for field in self.fields],
        }


_AVRO: dict[str, Any] = {
    "timestamp": {"type": "long", "logicalType": "timestamp-millis"},
    "date": {"type": "int", "logicalType": "date"},
}


def _avro_field(field: SourceField) -> dict[str, Any]:
    kind = _AVRO.get(field.type, field.type)
    if field.nullable:
        return {"name": field.name, "type": ["null", kind], "default": None}
    return {"name": field.name, "type": kind}
