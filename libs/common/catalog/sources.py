"""Sources: streams of events and tables of reference rows."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from libs.common.catalog.definition import Classification, Definition, FieldType, Named
from libs.common.catalog.duration import Duration
from libs.common.catalog.minimise import Minimise
from libs.common.catalog.pulls import Pull


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
    scan: Literal["sample", "redact", "off"] | None = None
    """Free text is looked through for personal data. `redact`: before anything is written, what is found becomes
    `<email>` and the like. `sample`: some of it afterwards, and what is found opens an incident; so is every text that
    is public or internal and not minimised, but the event's id, unless it says `off`."""
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
    key: tuple[str, ...] = ()
    """The fields that choose the partition; of a reference, its primary key."""
    partitions: int = Field(default=4, ge=1, le=64)
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
    pull: Pull | None = None

    @property
    def field_types(self) -> dict[str, str]:
        """Name → type, as the expression language needs them."""
        return {field.name: field.type for field in self.fields}

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
    if field.nullable:
        return {"name": field.name, "type": ["null", kind], "default": None}
    return {"name": field.name, "type": kind}
