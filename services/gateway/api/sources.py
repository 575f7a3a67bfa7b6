"""Sources: their contracts, health and books; and the door for their events."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from libs.common.topics import EVENTS
from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call, forward, stream_through, written
from services.gateway.api.models.pushes import IngestReceipt, Parked, ParkedBody, WatermarkBody
from services.gateway.api.models.signals import Outcome
from services.gateway.api.models.sources import (
    Books,
    Cadence,
    FieldShown,
    Flow,
    FlowMinute,
    Health,
    LedgerMinute,
    LedgerPage,
    PartitionShown,
    RhythmShown,
    RuleSummary,
    SourceDetail,
    SourceExamples,
    SourceList,
    SourceSummary,
    TryBody,
)
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.partitions import partitions
from services.gateway.api.problems import RESPONSES, Refused
from services.gateway.core.cadence import measured
from services.gateway.core.examples import curl, event_of, needs, python
from services.gateway.store import sources as rows

router = APIRouter(prefix="/v1", tags=["sources"], responses=RESPONSES)

FLOW_HOURS = timedelta(hours=6)
"""Of arrival, that a source is shown with."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="The same key with the same request again gives the first answer, without doing it twice.",
    ),
]


NOTHING_PARKED: dict[str, Any] = {
    "events": 0, "keys": 0, "bytes": 0, "room": 0.0, "oldest": None, "next_try": None, "references": {},
}  # fmt: skip


async def _summaries(asker: Asker) -> dict[str, SourceSummary]:
    state = await rows.states(asker.desk.pool)
    catalog = asker.desk.catalog
    return {
        source.id: SourceSummary(
            id=source.id,
            title=source.title,
            description=source.description,
            owner=source.owner,
            version=catalog.version("source", source.id),
            reference=source.reference,
            expect_every_seconds=int(source.freshness.expect_every.total_seconds())
            if source.freshness
            else None,
            health=Health.model_validate(state.health[source.id]) if source.id in state.health else None,
            books=Books.model_validate(state.books[source.id]) if source.id in state.books else None,
            open_incidents=state.incidents.get(source.id, 0),
        )
        for source in sorted(catalog.sources, key=lambda source: source.id)
    }


@router.get("/sources")
async def list_sources(asker: SignedIn) -> SourceList:
    """Every source with health, freshness and books."""
    asker.require("read")
    found = await _summaries(asker)
    return await asker.answer(
        SourceList(items=list(found.values()), as_of=asker.desk.now()), "read sources", "sources"
    )


@router.get("/sources/{source}")
async def get_source(source: str, asker: SignedIn) -> SourceDetail:
    """One source, with its fields as the asker sees them, its rules and what they found."""
    asker.require("read")
    definition = asker.source(source)
    summary = (await _summaries(asker))[source]
    results = await rows.rule_totals(asker.desk.pool, source)
    catalog = asker.desk.catalog
    detail = SourceDetail(
        **summary.model_dump(),
        fields=[
            FieldShown(
                name=field.name,
                type=field.type,
                nullable=field.nullable,
                classification=field.classification,
                shown=asker.rights.transform(field.classification),
                purposes=None if field.purposes is None else list(field.purposes),
                description=field.description,
            )
            for field in definition.fields
        ],
        event_id=definition.event_id,
        event_time=definition.event_time,
        key=list(definition.key_reads),
        keyed_by=definition.keyed_by,
        partitions=await partitions(asker, definition),
        schema_id=catalog.schema_id(source),
        rules=[
            RuleSummary(
                id=rule.id,
                title=rule.title,
                severity=rule.severity,
                assessed=results.get(rule.id, (0, 0))[0],
                violations=results.get(rule.id, (0, 0))[1],
            )
            for rule in catalog.rules
            if rule.source == source
        ],
        kpis=[kpi for kpi in asker.visible_kpis() if _source_of(asker, kpi) == source],
        flow=None if definition.reference else await _flow(asker, source),
    )
    return await asker.answer(detail, "read source", f"sources/{source}")


async def _flow(asker: Asker, source: str) -> Flow:
    now = asker.desk.now()
    since = now.replace(second=0, microsecond=0) - FLOW_HOURS
    found = await rows.flow(asker.desk.pool, source, EVENTS.of(source), since, now)
    errors = sum(row["errors"] for row in found.minutes)
    came = errors + sum(row["events"] for row in found.minutes)
    return Flow(
        since=since,
        minutes=[FlowMinute(**row) for row in found.minutes],
        error_share=errors / came if came else None,
        partitions=[PartitionShown(**row) for row in found.partitions],
        rhythm=RhythmShown(**found.rhythm) if found.rhythm else None,
    )


def _source_of(asker: Asker, kpi: str) -> str | None:
    definition = asker.desk.catalog.kpi(kpi)
    return definition.source if definition else None


@router.get("/sources/{source}/cadence")
async def get_cadence(source: str, asker: SignedIn) -> Cadence:
    """How the source's latest events came, and whether it should be pushed or pulled, how often and how fast it is."""
    asker.require("read")
    definition = asker.source(source)
    arrivals = await rows.arrivals(asker.desk.pool, source)
    answer = Cadence(
        source=source,
        pulled=definition.pull is not None,
        as_of=asker.desk.now(),
        **asdict(measured(arrivals)),
    )
    return await asker.answer(answer, "read cadence", f"sources/{source}")


@router.get("/sources/{source}/examples")
async def get_examples(source: str, request: Request, asker: SignedIn) -> SourceExamples:
    """How to send events to the source: one that it accepts, and curl and Python that send it."""
    asker.require("read")
    definition = asker.source(source)
    rules = [rule for rule in asker.desk.catalog.rules if rule.source == source]
    event = event_of(definition, rules, asker.desk.now())
    url = f"{request.base_url}v1/sources/{source}/events"
    return SourceExamples(
        source=source,
        event=event,
        curl=curl(definition, url, event),
        python=python(definition, url, event),
        needs=needs(definition),
    )


@router.post("/sources/try", response_model=Outcome)
async def try_source(
    body: TryBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Fetch a sample of a pull: what it brings, a draft of a definition, and what would be refused. Nothing is kept.
    (permission: configure)"""

    async def run() -> dict[str, Any]:
        return await forward(asker, "ingest", "/v1/pulls/try", body.model_dump())

    return await written(
        asker, request, key, ("configure",), action="try a pull", resource="sources/try", run=run,
    )  # fmt: skip


_EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "One record or many, in any of the content types, as it is or by Content-Encoding gzip or zstd. "
            "Avro: an object container file, or messages in the Confluent wire format, as Protobuf always is: "
            "one alone, or several with the length of each before it. Events of a source with `webhook` are "
            "signed by Standard Webhooks. The answer has a result per record, and a signed proof."
        ),
        "content": {
            "application/json": {"schema": {}, "example": [{"flight_id": "2013-02-08-UA-1545", "carrier": "UA"}]},
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"flight_id": "2013-02-08-UA-1545", "carrier": "UA"}\n',
            },
            "application/cloudevents+json": {
                "schema": {"type": "object"},
                "example": {
                    "specversion": "1.0", "id": "1", "source": "/flights", "type": "departure",
                    "data": {"carrier": "UA"},
                },
            },
            "application/vnd.apache.avro": {
                "schema": {"type": "string", "format": "binary"}, "example": "\0\0\0\0\x03\x021",
            },
            "application/protobuf": {
                "schema": {"type": "string", "format": "binary"}, "example": "\0\0\0\0\x04\0\n\x011",
            },
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "example": [
                    {"specversion": "1.0", "id": "1", "source": "/flights", "type": "departure", "data": {}}
                ],
            },
        },
    }
}  # fmt: skip


_EVENTS_ANSWERS: dict[int | str, dict[str, Any]] = {
    207: {"model": IngestReceipt, "description": "Some records were refused: see their results"},
    400: {
        "description": "`malformed`, `malformed_encoding`, `too_deep`, `not_a_number`, `invalid_utf8`, `cut_off`"
    },
    401: {
        "description": "`unauthenticated`; of a signed webhook `webhook_unsigned`, `webhook_wrong_signature`, "
        "`webhook_stale`, `webhook_replayed`"
    },
    408: {"description": "`body_too_slow`: the body did not come in time"},
    413: {"description": "`too_large`, `too_large_decoded`: send it in parts"},
    415: {"description": "`unsupported_media`, `unsupported_encoding`: `accepted` says what is"},
    429: {"description": "`quota` of the source: come again after Retry-After"},
    503: {
        "description": "`overloaded`, `repartitioning`, `registry_away`, `webhook_secret_missing`, `unavailable`: "
        "again after Retry-After"
    },
}


@router.post(
    "/sources/{source}/events",
    response_model=IngestReceipt,
    responses=_EVENTS_ANSWERS,
    openapi_extra=_EVENTS_BODY,
)
async def send_events(source: str, request: Request, asker: SignedIn) -> Response:
    """Hand events in. Passed on to ingest as it comes; duplicates are known by event id, so sending again is safe."""
    await written_gate(asker, "ingest", action="send events", resource=f"sources/{source}")
    limit = asker.desk.settings.max_body_bytes
    kept = {
        name: value
        for name, value in request.headers.items()
        if name in ("content-type", "content-encoding", "traceparent") or name.startswith(("ce-", "webhook-"))
    }
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise Refused(413, "too_large", f"at most {limit} bytes a request")
    return await stream_through(
        asker, "ingest", f"/v1/sources/{source}/events", query=request.url.query,
        content=_limited(request.stream(), limit), headers=kept, action="send events", resource=f"sources/{source}",
    )  # fmt: skip


async def _limited(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """The body as it comes, up to `limit` bytes; a length that was not declared is found out here."""
    total = 0
    async for chunk in stream:
        total += len(chunk)
        if total > limit:
            raise Refused(413, "too_large", f"at most {limit} bytes a request")
        yield chunk


async def written_gate(asker: Asker, *permissions: Any, action: str, resource: str) -> None:
    """Refuse a write that is not allowed, on record."""
    if not asker.rights.may(*permissions):
        await asker.record(action, resource, "refused")
    asker.require(*permissions)


@router.post("/sources/{source}/watermark", response_model=Outcome)
async def declare_watermark(
    source: str, body: WatermarkBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Declare that nothing earlier than `through` will follow, so that windows up to it can close."""
    return await written(
        asker, request, key, ("ingest",), action="declare watermark", resource=f"sources/{source}",
        run=lambda: forward(asker, "ingest", f"/v1/sources/{source}/watermark", body.model_dump(mode="json")),
    )  # fmt: skip


@router.get("/sources/{source}/parked")
async def get_parked(source: str, asker: SignedIn) -> Parked:
    """What of a source with `retry` waits for what it refers to."""
    asker.require("read", "ingest", "steward")
    state = (await call(asker, "ingest", "GET", f"/v1/sources/{source}"))["parked"] or NOTHING_PARKED
    return Parked.model_validate({**state, "source": source, "as_of": asker.desk.now()})


@router.post("/sources/{source}/parked", response_model=Parked)
async def order_parked(
    source: str, body: ParkedBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Try now what waits, or give it up: what is given up is a dead letter, and can be driven again (permission: ingest
    or steward)."""

    async def run() -> dict[str, Any]:
        said = body.model_dump(include={"do", "key"}, exclude_none=True)
        state = await call(asker, "ingest", "POST", f"/v1/sources/{source}/parked", said)
        found = Parked.model_validate({**state, "source": source, "as_of": asker.desk.now()})
        return found.model_dump(mode="json")

    return await written(
        asker, request, key, ("ingest", "steward"), action=f"{body.do} parked", resource=f"sources/{source}",
        details={"one key": body.key is not None, "reason": body.reason}, run=run,
    )  # fmt: skip


@router.get("/ledger", tags=["ledger"])
async def read_ledger(
    asker: SignedIn,
    source: Annotated[str | None, Query(description="Only this source")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> LedgerPage:
    """The books: what was accepted, and where every record of it is."""
    asker.require("read")
    parameters = {"list": "ledger", "source": source, "limit": limit}
    after = asker.open_page(page_token, parameters)
    state = await rows.states(asker.desk.pool)
    minutes, last = cut(
        await rows.ledger(asker.desk.pool, source, after, limit + 1), limit, ("minute", "source")
    )
    return LedgerPage(
        totals={
            name: Books.model_validate(books) for name, books in state.books.items() if source in (None, name)
        },
        items=[LedgerMinute(**row) for row in minutes],
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )
