"""Pushing events in. Every record of a request is answered for; nothing is acknowledged before the brokers did."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import msgspec
from fastapi import APIRouter, Header, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from libs.common import clock, telemetry
from libs.common.catalog import Catalog
from libs.common.catalog.minimise import Tokenise
from libs.common.errors import (
    BadMessage,
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    Problem,
    UnsupportedMedia,
)
from libs.common.http import Direct
from services.ingest import store
from services.ingest.core import receipts
from services.ingest.core.admission import Hold
from services.ingest.core.cloudevents import unwrap, unwrap_binary
from services.ingest.core.fix import Fix
from services.ingest.core.records import Bad, Good, Validator, documents, too_many
from services.ingest.core.redrives import Command, Order
from services.ingest.handlers import binaries, bodies
from services.ingest.handlers.parking import Order as ParkingOrder
from services.ingest.handlers.pulls import Pulls
from services.ingest.handlers.redrive import Redrives
from services.ingest.handlers.replays import replayed
from services.ingest.handlers.schemas import Schemas
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.tries import attempt
from services.ingest.handlers.turns import listed
from services.ingest.handlers.vault import Vault
from services.ingest.handlers.writer import Writer
from services.ingest.handlers.writers import Writers
from services.ingest.settings import Settings

ACCEPTED = (
    "application/json, application/x-ndjson, application/cloudevents+json, application/cloudevents-batch+json,"
    " application/vnd.apache.avro, application/protobuf"
)

RESULTS: dict[str, Any] = {
    "parameters": [
        {"name": "results", "in": "query", "required": False,
         "schema": {"enum": ["all", "errors"], "default": "all", "type": "string"}},
    ]
}  # fmt: skip
"""Which records an answer tells of."""


class Watermark(BaseModel):
    """Nothing earlier will follow."""

    model_config = ConfigDict(extra="forbid")
    through: AwareDatetime


class Receipt(BaseModel):
    """The `proof` of a push, as it was answered."""

    model_config = ConfigDict(extra="forbid")
    id: str
    source: str
    sha256: str
    """Of the body, decoded."""
    count: int
    published: int
    duplicate: int
    dead_lettered: int
    parked: int | None = None
    refused: int
    offsets: dict[str, tuple[int, int]]
    """Partition → first and last of what was published."""
    at: str
    signature: str


class ParkedOrder(BaseModel):
    """What is to become of events that wait."""

    model_config = ConfigDict(extra="forbid")
    do: ParkingOrder
    """`retry`: try them now, whatever their tier; `give_up`: dead letters now."""
    key: str | None = None
    """Only those of this key."""


class Redrive(BaseModel):
    """Which dead letters of a source to drive again, and how."""

    model_config = ConfigDict(extra="forbid")
    source: str
    cause: str | None = None
    """Only those of this group."""
    ids: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None = None
    fix: Fix = Field(default_factory=list)
    dry_run: bool = False
    canary: int | None = Field(default=None, ge=1, le=1_000_000)
    rate: float = Field(default=1_000, ge=0.1, le=10_000)
    reason: str = Field(default="", max_length=500)


class Reveal(BaseModel):
    """Tokens, or encrypted texts, of one field."""

    model_config = ConfigDict(extra="forbid")
    source: str
    field: str
    values: Annotated[list[str], Field(min_length=1, max_length=100)]


class Try(BaseModel):
    """A pull, with a definition around it or without."""

    model_config = ConfigDict(extra="forbid")
    definition: dict[str, Any]
    limit: int = Field(default=100, ge=1, le=1_000)


class Candidate(BaseModel):
    """A definition that a source might have."""

    model_config = ConfigDict(extra="forbid")
    definition: dict[str, Any]


def push_routes(writers: Writers, schemas: Schemas) -> APIRouter:
    router = APIRouter(prefix="/v1")

    async def push(request: Request, source: str) -> Response:
        """200 when every record was accepted, 207 when some were refused, 422 when all were."""
        results = request.query_params.get("results", "all") if request.scope["query_string"] else "all"
        if results not in ("all", "errors"):
            raise Invalid("query.results: all, or errors", field="query.results", value=results[:100])
        try:
            writer = writers.get(source)
            writer.within_quota()
            with writers.admission.hold(source) as hold:
                submission = await _received(writer, schemas, request, hold)
                submission.brief = results == "errors"
                await writer.submit(submission, writers.settings.confirm_seconds)
        except Problem as problem:
            _state(problem, source)
            raise
        answer = {**submission.answer(source), "proof": _proof(writer, submission)}
        status = 200 if not answer["refused"] else 207 if answer["accepted"] else 422
        if status == 422:
            answer = {"title": "No record was accepted", "status": 422, "code": "refused", **answer}
        return Response(msgspec.json.encode(answer), status, media_type="application/json")

    router.add_api_route(
        "/sources/{source}/events", push, methods=["POST"], route_class_override=Direct, openapi_extra=RESULTS
    )

    @router.post("/sources/{source}/watermark")
    async def declare(source: str, watermark: Watermark) -> dict[str, Any]:
        """Declare that nothing earlier than `through` will follow: windows up to it can close."""
        writer = writers.get(source)
        submission = Submission(writer.contract, [], watermark.through)
        await writer.submit(submission, writers.settings.confirm_seconds)
        return {"receipt": submission.receipt, "source": source, "through": watermark.through}

    @router.post("/receipts/verify")
    async def verify(receipt: Receipt) -> dict[str, Any]:
        """Whether a receipt is one of ours, and unaltered; if not why."""
        secret = writers.settings.receipt_secret.get_secret_value().encode()
        why = receipts.fault(secret, receipt.model_dump(mode="json", exclude_unset=True))
        return {"valid": why is None, "reason": why, "id": receipt.id, "source": receipt.source}

    return router


def source_routes(writers: Writers, pulls: Pulls, pool: asyncpg.Pool) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/sources/{source}")
    async def describe(source: str) -> dict[str, Any]:
        """The writer's state, how its partitions are used, and where a pull stands."""
        writer = writers.find(source)
        pull, since = await store.pull_state(pool, source), writer.window.since
        return {
            "source": source,
            "version": writer.contract.version,
            "queued": writers.admission.records.held.get(source, 0),
            "remembered_ids": len(writer.window),
            "remembered_since": None if since is None else clock.moment(since),
            "partitions": writer.layout.shown(),
            "parked": None if writer.parking is None else writer.parking.state(),
            "pull": {**dict(pull), "running": source in pulls.tasks} if pull else None,
        }

    @router.post("/sources/{source}/parked")
    async def parked(source: str, order: ParkedOrder) -> dict[str, Any]:
        """Try what waits now, or give it up."""
        writer = writers.get(source)
        if writer.parking is None:
            raise Conflict(f"{source} has no `retry`: nothing of it is parked", code="never_parked")
        return await writer.parking.order(order.do, order.key)

    @router.post("/sources/{source}/replay")
    async def replay(source: str, candidate: Candidate) -> dict[str, Any]:
        """How a candidate definition would treat the source's last records and its dead letters. Nothing is kept."""
        most = writers.settings.replay_records
        return await replayed(pool, writers.get(source), candidate.definition, most)

    @router.post("/pulls/try")
    async def try_pull(order: Try) -> dict[str, Any]:
        """Fetch a sample of a pull, draft a definition for it, and say what would be refused. Nothing is kept."""
        return await attempt(writers.settings, pool, order.definition, order.limit)

    return router


def redrive_routes(redrives: Redrives) -> APIRouter:
    router = APIRouter(prefix="/v1/redrives")

    @router.post("")
    async def order(body: Redrive, x_sextant_subject: Annotated[str, Header()] = "unknown") -> dict[str, Any]:
        """Every letter is checked; then those that pass are published, unless it is a dry run, or a canary waits."""
        now = clock.now()
        said = body.model_dump(exclude={"ids", "fix"})
        order = Order(
            **said, id=uuid4().hex, fix=[step.model_dump() for step in body.fix], by=x_sextant_subject,
            state="checking", note="", ordered_at=now, changed_at=now,
        )  # fmt: skip
        return await redrives.order(order, body.ids)

    @router.get("")
    async def listed() -> dict[str, Any]:
        """The newest first."""
        return {"items": await redrives.listed()}

    @router.get("/{id}")
    async def one(id: str) -> dict[str, Any]:
        return await redrives.shown(id)

    @router.post("/{id}/{command}")
    async def command(
        id: str, command: Command, x_sextant_subject: Annotated[str, Header()] = "unknown"
    ) -> dict[str, Any]:
        return await redrives.command(id, command, x_sextant_subject)

    return router


def vault_routes(vault: Vault, catalog: Catalog) -> APIRouter:
    router = APIRouter(prefix="/v1/reveals")

    @router.post("")
    async def reveal(body: Reveal) -> dict[str, Any]:
        """What tokens and encrypted texts of a field stand for. The gateway says who may ask, and keeps a record."""
        source = catalog.source(body.source)
        field = None if source is None else source.field(body.field)
        if field is None:
            raise NotFound(f"field: there is no {body.field} of {body.source}", code="unknown_field")
        secret = field.minimise.secret if isinstance(field.minimise, Tokenise) else None
        return {"items": await vault.reveal(f"{body.source}/{body.field}", body.values, secret)}

    return router


def _state(problem: Problem, source: str) -> None:
    """Whoever is refused is told whom it concerns, and whether it helps to try again: a request, and no, unless said."""
    problem.more = {"retryable": False, "scope": "request", **problem.more}
    if problem.code != "unknown_source":
        telemetry.REFUSED.labels(source, problem.code).inc()


async def _received(writer: Writer, schemas: Schemas, request: Request, hold: Hold) -> Submission:
    """What a request brings, read and validated."""
    contract = writer.contract
    writer.verified(request.headers)
    body = await bodies.read(request, writer.settings, hold)
    delivery = writer.verified(request.headers, body)
    sha256 = hashlib.sha256(body).hexdigest()
    records = await _records(contract.validator, schemas, request, body, writer.settings)
    limit = writer.settings.max_records
    if len(records) > limit:
        raise too_many(limit)
    hold.take(records=len(records))
    writer.charge(len(records))
    secret = writer.settings.receipt_secret.get_secret_value().encode() if contract.minimiser else None
    receipt = receipts.id_of(writer.source.id, sha256, secret)
    return Submission(contract, records, hold=hold, delivery=delivery, receipt=receipt, sha256=sha256)


def _proof(writer: Writer, submission: Submission) -> dict[str, Any]:
    """The signed receipt of a batch."""
    proof: dict[str, Any] = {
        "id": submission.receipt,
        "source": writer.source.id,
        "sha256": submission.sha256,
        "count": len(submission.records),
        **submission.counts,
        "offsets": {str(partition): list(span) for partition, span in sorted(submission.places.items())},
        "at": submission.at.isoformat() if submission.at else None,
    }
    secret = writer.settings.receipt_secret.get_secret_value().encode()
    return {**proof, "signature": receipts.sign(secret, proof)}


async def _records(
    validator: Validator, schemas: Schemas, request: Request, body: bytes, settings: Settings
) -> Sequence[Good | Bad]:
    """The records of a body, by its content type; Malformed if it cannot be cut into records."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    try:
        if "ce-specversion" in request.headers:
            return [_event(validator, 0, body, dict(request.headers))]
        match kind:
            case "application/x-ndjson" | "application/jsonl":
                return await listed(validator.lines(body, settings.max_records))
            case "application/json" if body[:1] == b"\0":  # no JSON begins so: the wire format around it
                return await binaries.registered(validator, schemas, body, settings)
            case "application/json":
                return await listed(validator.texts(documents(body, settings.max_records)))
            case "application/cloudevents+json":
                return [_event(validator, 0, body)]
            case "application/cloudevents-batch+json":
                events = documents(body, settings.max_records)
                return await listed(_event(validator, index, raw) for index, raw in enumerate(events))
            case "application/vnd.apache.avro" | "application/avro" | "avro/binary":
                return await binaries.avro(validator, schemas, body, settings)
            case "application/protobuf" | "application/x-protobuf" | "application/vnd.google.protobuf":
                return await binaries.registered(validator, schemas, body, settings)
            case _:
                raise UnsupportedMedia(
                    f"{kind[:100]} is not understood; send {ACCEPTED}",
                    field="content-type",
                    value=kind[:100],
                    accepted=ACCEPTED.split(", "),
                )
    except BadMessage as error:
        raise Malformed(error.reason, code=error.code, rule=error.rule) from error


def _event(validator: Validator, index: int, raw: bytes, headers: dict[str, str] | None = None) -> Good | Bad:
    """One CloudEvent; what is wrong with the envelope is an error of that record."""
    source = validator.source
    try:
        data, trace = unwrap(source, raw) if headers is None else unwrap_binary(source, headers, raw)
    except BadMessage as error:
        return Bad(index, error, raw)
    return validator.single(index, data, trace)
