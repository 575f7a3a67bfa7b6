"""Sources: streams of events and tables of reference rows."""

from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from libs.common.catalog.definition import Classification, Definition, FieldType, Named
from libs.common.catalog.duration import Duration
from libs.common.catalog.minimise import Minimise
from libs.common.catalog.pulls import Pull
from libs.common.catalog.zone import zone_of
from libs.common.clock import EPOCH, milliseconds
from libs.common.expressions.typed import columns_of, parse

Compatibility = Annotated[
    Literal[
        "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", "NONE"
    ],
    BeforeValidator(lambda mode: mode.upper() if isinstance(mode, str) else mode),
]
"""The modes of the schema registry, in whatever case. `compatibility` says what they mean."""


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
    default: StrictBool | StrictInt | StrictFloat | StrictStr | None = None
    """What a record that lacks the field has in it, one written before there was the field too. Times and dates are
    text (RFC 3339). It goes with fields that are not nullable: the default of those is null."""
    unit: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    """What its values are measured in. It can be declared later, and then no longer be changed."""
    zone: str | None = None
    """IANA time zone of times that come without an offset, which are refused without it. A time that clocks show twice
    is the first one; one that they skip is malformed."""
    scan: Literal["sample", "redact", "off"] | None = None
    """Free text is looked through for personal data. `redact`: before anything is written, what is found becomes
    `<email>` and the like. `sample`: some of it afterwards, and what is found opens an incident; so is every text that
    is public or internal and not minimised, but the event's id, unless it says `off`."""
    description: str = ""

    @model_validator(mode="after")
    def _declared(self) -> "SourceField":
        if self.default is not None:
            if self.nullable:
                raise ValueError(f"{self.name} is nullable: its default is null")
            _parsed(self.type, self.default)
        if self.zone is not None:
            if self.type != "timestamp":
                raise ValueError(f"{self.name} is {self.type}: a zone is of a timestamp")
            zone_of(self.zone)
        return self


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
    compatibility: Compatibility = "BACKWARD"
    """Which changes of its fields are let in, by `sextant plan` and by the registry to whoever produces to the topic:
    BACKWARD: the new schema reads what was written by the last one. FORWARD: who has the last one reads what is
    written by the new one. FULL: both. _TRANSITIVE: not only the last one but every earlier one. NONE: any."""
    unknown_fields: Literal["refuse", "drop"] = "refuse"
    """Of records that are pushed or pulled: fields that are not defined here make a record malformed, or are left
    out."""
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
    def defaults(self) -> dict[str, Any]:
        """Name → what the field is where it lacks: number, text, bool, time in UTC or date."""
        return {
            field.name: _parsed(field.type, field.default)
            for field in self.fields
            if field.default is not None
        }

    @property
    def versioned(self) -> bool:
        """Whether it is a reference that keeps, of each key, the rows of all times."""
        return self.reference and self.event_time is not None

    @property
    def minimises(self) -> bool:
        """Whether any field of it is minimised."""
        return any(field.minimise is not None or field.scan == "redact" for field in self.fields)

    @property
    def sampled(self) -> tuple[str, ...]:
        """The fields of which some values are looked through for personal data."""
        return tuple(
            field.name
            for field in self.fields
            if field.scan == "sample"
            or (
                field.scan is None
                and field.type == "string"
                and field.classification in ("public", "internal")
                and field.minimise is None
                and field.name != self.event_id
            )
        )

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
    declared = {} if field.unit is None else {"unit": field.unit}
    if field.nullable:
        return {"name": field.name, "type": ["null", kind], "default": None, **declared}
    if field.default is None:
        return {"name": field.name, "type": kind, **declared}
    default = _parsed(field.type, field.default)
    if isinstance(default, datetime):
        default = milliseconds(default)
    elif isinstance(default, date):
        default = (default - EPOCH.date()).days
    return {"name": field.name, "type": kind, "default": default, **declared}


_RANGES = {"int": 2**31, "long": 2**63}


def _parsed(kind: FieldType, default: Any) -> Any:
    """A default as a value of its field; ValueError if it is none."""
    fault = ValueError(f"the default {default!r} is no {kind}")
    match kind, default:
        case "boolean", bool():
            return default
        case "string", str() if "\0" not in default:
            return default
        case (("int" | "long"), int()) if not isinstance(default, bool):
            if -_RANGES[kind] <= default < _RANGES[kind]:
                return default
        case "double", int() | float() if not isinstance(default, bool):
            if isfinite(default):
                return float(default)
        case "date", str():
            try:
                return date.fromisoformat(default)
            except ValueError:
                raise fault from None
        case "timestamp", str():
            try:
                time = datetime.fromisoformat(default)
                if time.tzinfo is not None:
                    return time.astimezone(UTC)
            except (ValueError, OverflowError):
                raise fault from None
        case _:
            pass
    raise fault
