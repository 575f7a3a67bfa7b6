"""Sources, their health, freshness and books."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from libs.common.catalog.models import Classification, FieldType, Transform
from libs.common.events import Severity
from services.gateway.api.models.common import Answer, Paged, example
from services.gateway.api.models.partitions import PARTITIONS, Partitions

_BOOKS = {
    "accepted": 336776,
    "published": 336100,
    "duplicate": 400,
    "dead_lettered": 276,
    "landed": 336100,
    "in_flight": 0,
    "parked": 0,
    "erased": 0,
    "imbalance": 0,
}
_HEALTH = {
    "score": 0.97,
    "assessed_share": 1.0,
    "worst": "warning",
    "fresh": True,
    "last_event_at": "2013-02-08T17:04:00Z",
    "last_arrival_at": "2026-11-24T10:00:00Z",
    "events": 5120,
    "recorded_at": "2026-11-24T10:00:01Z",
}
_SOURCE = {
    "id": "departures",
    "title": "Departures",
    "description": "",
    "owner": "network-operations",
    "version": 1,
    "reference": False,
    "expect_every_seconds": 60,
    "health": _HEALTH,
    "books": _BOOKS,
    "open_incidents": 1,
}


class Books(Answer):
    """accepted = landed + dead_lettered + duplicate + in_flight + parked + erased; `imbalance` is what is left over."""

    accepted: int
    published: int
    duplicate: int
    dead_lettered: int
    landed: int
    in_flight: int
    parked: int
    """Of a source with `retry`: what waits for what it refers to."""
    erased: int
    """What was parked, and erased with its subject before it was published."""
    imbalance: int

    model_config = example(**_BOOKS)


class LedgerMinute(Answer):
    """The books of one source for one minute of arrival."""

    source: str
    minute: datetime
    accepted: int
    published: int
    duplicate: int
    dead_lettered: int
    landed: int
    parked: int
    erased: int

    model_config = example(
        source="departures", minute="2026-11-24T10:00:00Z", accepted=600, published=598, duplicate=1,
        dead_lettered=1, landed=598, parked=0, erased=0,
    )  # fmt: skip


class LedgerPage(Paged):
    """The books: totals per source, and the minutes newest first."""

    totals: dict[str, Books]
    items: list[LedgerMinute]

    model_config = example(
        totals={"departures": _BOOKS},
        items=[],
        next_page_token=None,
        as_of="2026-11-24T10:00:02Z",
    )


class Health(Answer):
    """Three figures that are shown together; a score of null is unknown, which is not healthy."""

    score: float | None
    assessed_share: float
    worst: Severity | None
    fresh: bool | None
    last_event_at: datetime | None
    last_arrival_at: datetime | None
    events: int
    recorded_at: datetime

    model_config = example(**_HEALTH)


class FieldShown(Answer):
    """One field, and how the asker sees it."""

    name: str
    type: FieldType
    nullable: bool
    classification: Classification
    shown: Transform
    purposes: list[str] | None
    description: str


class RuleSummary(Answer):
    """A quality rule, with what it found so far."""

    id: str
    title: str
    severity: Severity
    assessed: int
    violations: int


class SourceSummary(Answer):
    """A source with its present state."""

    id: str
    title: str
    description: str
    owner: str
    version: int
    reference: bool
    expect_every_seconds: int | None
    """Time without an arrival after which it is not fresh; null if it says nothing."""
    health: Health | None
    books: Books | None
    open_incidents: int

    model_config = example(**_SOURCE)


class SourceList(Answer):
    items: list[SourceSummary]
    as_of: datetime

    model_config = example(items=[_SOURCE], as_of="2026-11-24T10:00:02Z")


class FlowMinute(Answer):
    """A minute of arrival."""

    minute: datetime
    events: int
    errors: int
    """Dead letters."""


class PartitionShown(Answer):
    """How a partition of the source's topic is doing."""

    partition: int
    events_per_minute: int
    """In the last whole minute."""
    lag: int
    """Records that were read of it and are not archived yet."""
    last_event_at: datetime | None
    last_arrival_at: datetime | None
    heartbeat_at: datetime | None
    """When it was last heard of ingest there, by an event or by a heartbeat: with an old one the path may be dead."""


class RhythmShown(Answer):
    """What is to be expected by the rhythm that the source had; null: it is too irregular, or too new, to say."""

    minute: datetime
    """The end of the window that was looked at."""
    minutes: int | None
    """Its length."""
    events: int | None
    """What came in it."""
    expected: float | None
    low: float | None
    """With less it has dropped."""
    quiet_minutes: int
    """Whole minutes since the last event."""
    allowed_minutes: int | None
    """With more it has fallen silent."""


class Flow(Answer):
    """How the source arrives."""

    since: datetime
    minutes: list[FlowMinute]
    """From then on, those in which anything arrived."""
    error_share: float | None
    """Dead letters of all that arrived since then."""
    partitions: list[PartitionShown]
    rhythm: RhythmShown | None

    model_config = example(
        since="2026-11-24T04:00:00Z",
        minutes=[{"minute": "2026-11-24T09:59:00Z", "events": 598, "errors": 2}],
        error_share=0.003,
        partitions=[
            {
                "partition": 0, "events_per_minute": 150, "lag": 0, "last_event_at": "2013-02-08T17:04:00Z",
                "last_arrival_at": "2026-11-24T10:00:00Z", "heartbeat_at": "2026-11-24T10:00:00Z",
            }
        ],
        rhythm={
            "minute": "2026-11-24T10:00:00Z", "minutes": 5, "events": 2990, "expected": 3000.0, "low": 1500.0,
            "quiet_minutes": 0, "allowed_minutes": 5,
        },
    )  # fmt: skip


class SourceDetail(SourceSummary):
    """A source, with its contract and how it arrives."""

    fields: list[FieldShown]
    event_id: str | None
    event_time: str | None
    key: list[str]
    """The fields that the key is made of."""
    keyed_by: Literal["fields", "expression", "random", "sticky"]
    """What chooses the partition of an event."""
    partitions: Partitions | None
    """Null while ingest does not say."""
    schema_id: int | None
    rules: list[RuleSummary]
    kpis: list[str]
    """The KPIs made of it that the asker may see."""
    flow: Flow | None
    """Null for a table of references."""

    model_config = example(
        **_SOURCE,
        fields=[
            {
                "name": "tailnum",
                "type": "string",
                "nullable": True,
                "classification": "confidential",
                "shown": "pseudonym",
                "purposes": None,
                "description": "",
            }
        ],
        event_id="flight_id",
        event_time="departed_at",
        key=["carrier"],
        keyed_by="fields",
        partitions=PARTITIONS,
        schema_id=3,
        rules=[
            {
                "id": "known_aircraft",
                "title": "Aircraft known",
                "severity": "warning",
                "assessed": 5120,
                "violations": 800,
            }
        ],
        kpis=["departures_per_hour"],
        flow=None,
    )


class SourceExamples(Answer):
    """An event that the source accepts, and programs that send it."""

    source: str
    event: dict[str, str | bool | int | float]
    """Each field has a value."""
    curl: str
    """For a POSIX shell."""
    python: str
    """With httpx."""
    needs: list[str]
    """What has to be in the environment of both."""

    model_config = example(
        source="departures",
        event={"flight_id": "example-20261124T100000", "departed_at": "2026-11-24T10:00:00.000Z"},
        curl="curl -sS --fail-with-body http://127.0.0.1:8080/v1/sources/departures/events …",
        python="import httpx …",
        needs=["SEXTANT_TOKEN: a token of POST /v1/token, of somebody with the permission to ingest"],
    )


class TryBody(Answer):
    """A definition of a source with `pull`; without `fields` one is drafted."""

    definition: dict[str, Any]
    limit: int = Field(default=100, ge=1, le=1_000)
    """Records of the sample, at most."""

    model_config = example(
        definition={"pull": {"url": "http://crew.example/shifts", "records": "items"}}, limit=100
    )


class Cadence(Answer):
    """How a source's events come, measured on its latest ones, and what follows for how it should be connected."""

    source: str
    events: int
    """Looked at."""
    deliveries: int
    """Groups of events that arrived within a second."""
    span_seconds: float
    """Between the first and the last arrival."""
    delivery_gap_p50: float | None
    """Seconds between deliveries; null with fewer than three of them."""
    delivery_gap_p95: float | None
    delay_p50: float | None
    """Seconds between an event's time and its arrival; null without events."""
    delay_p95: float | None
    pulled: bool
    """Whether it is pulled now."""
    connect: Literal["push", "pull", "undecided"]
    every_seconds: int | None
    """Of a pull: how often to ask."""
    latency: Literal["seconds", "minutes", "hours", "days", "undecided"]
    """How old values made of it are, for the most part, when they can be shown."""
    why: str
    as_of: datetime

    model_config = example(
        source="weather", events=2000, deliveries=40, span_seconds=140400.0, delivery_gap_p50=3600.0,
        delivery_gap_p95=3660.0, delay_p50=310.0, delay_p95=940.0, pulled=False, connect="pull",
        every_seconds=1800, latency="minutes",
        why="it comes in lots of 50, one in 3,600 s: asking every 1,800 s misses none by more than half a gap",
        as_of="2026-11-24T10:00:02Z",
    )  # fmt: skip
