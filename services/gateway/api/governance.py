"""Incidents, the audit, receipts and retention."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call, forward, written
from services.gateway.api.models.governance import (
    AuditItem,
    AuditPage,
    ChainVerdict,
    Difference,
    ErasureBody,
    ErasureItem,
    IncidentBody,
    IncidentItem,
    IncidentPage,
    ParityItem,
    ParityList,
    ReceiptItem,
    ReceiptPage,
    RetentionBody,
    RetentionReport,
)
from services.gateway.api.models.signals import Outcome
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.positions import present_position
from services.gateway.api.problems import RESPONSES
from services.gateway.api.showing import incident_shown
from services.gateway.api.sources import IdempotencyKey
from services.gateway.core.masking import conceal
from services.gateway.store import governance as rows

router = APIRouter(prefix="/v1", responses=RESPONSES)


@router.get("/incidents", tags=["incidents"])
async def list_incidents(
    asker: SignedIn,
    state: Annotated[
        Literal["open", "acknowledged", "resolved"] | None, Query(description="Only in this state")
    ] = None,
    source: Annotated[str | None, Query(description="Only of this source")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> IncidentPage:
    """Quality incidents, newest first."""
    asker.require("read")
    parameters = {"list": "incidents", "state": state, "source": source, "limit": limit}
    after = asker.open_page(page_token, parameters)
    position = await present_position(asker, "incidents") if page_token is None else None
    found, last = cut(
        await rows.incidents(asker.desk.pool, state, source, after, limit + 1), limit, ("opened_at", "id")
    )
    page = IncidentPage(
        items=[
            IncidentItem.model_validate(incident_shown(asker.desk.catalog, asker.veil, row)) for row in found
        ],
        stream=position,
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )
    return await asker.answer(page, "read incidents", "incidents")


@router.post("/incidents/{incident}", tags=["incidents"], response_model=Outcome)
async def act_on_incident(
    incident: str, body: IncidentBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Acknowledge, assign, resolve or reopen (permission: acknowledge or steward)."""
    return await written(
        asker, request, key, ("acknowledge", "steward"), action=f"{body.action} incident",
        resource=f"incidents/{incident}",
        run=lambda: forward(asker, "quality", f"/v1/incidents/{incident}", body.model_dump(exclude_none=True)),
    )  # fmt: skip


@router.get("/parity", tags=["incidents"])
async def list_parity(asker: SignedIn) -> ParityList:
    """Of each KPI that may be seen: how many settled windows were compared with plain SQL over their events, and the
    first that differed, with both inputs."""
    asker.require("read")
    found = [row for row in await rows.parity(asker.desk.pool) if asker.sees(row["kpi"])]
    items = [
        ParityItem(
            **{name: row[name] for name in ParityItem.model_fields if name != "first_difference"},
            first_difference=_first_difference(asker, row),
        )
        for row in found
    ]
    return await asker.answer(ParityList(items=items, as_of=asker.desk.now()), "read parity", "parity")


def _first_difference(asker: Asker, row: Mapping[str, Any]) -> Difference | None:
    found = row["first_difference"]
    if found is None:
        return None
    shown = Difference.model_validate(
        {**found, "series_key": asker.veil.series_key(row["kpi"], found["series_key"])}
    )
    if shown.batch is not None:
        shown.batch.inputs = [
            each.model_copy(update={"series_key": asker.veil.series_key(each.kpi, each.series_key)})
            for each in shown.batch.inputs
            if asker.sees(each.kpi)
        ]
    return shown


@router.get("/audit", tags=["audit"])
async def list_audit(
    asker: SignedIn,
    actor: Annotated[str | None, Query(description="Only by this person")] = None,
    action: Annotated[str | None, Query(description="Only this action")] = None,
    resource: Annotated[str | None, Query(description="Only resources that begin with this")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> AuditPage:
    """The chain of reads of classified data and of writes, newest first (permission: audit)."""
    asker.require("audit")
    parameters = {"list": "audit", "actor": actor, "action": action, "resource": resource, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.audit(asker.desk.pool, actor, action, resource, after, limit + 1), limit, ("seq",)
    )
    items = [
        AuditItem(
            **{name: row[name] for name in AuditItem.model_fields if name != "details"},
            details=asker.veil.document(row["details"] or {}),
        )
        for row in found
    ]
    page = AuditPage(items=items, next_page_token=asker.next_page(last, parameters), as_of=asker.desk.now())
    return await asker.answer(page, "read audit", "audit")


@router.get("/audit/verify", tags=["audit"])
async def verify_audit(asker: SignedIn) -> ChainVerdict:
    """Hash every entry again, walk the chain, compare with the heads kept outside (permission: audit)."""
    asker.require("audit")
    return ChainVerdict.model_validate(await call(asker, "governance", "GET", "/v1/audit/verify"))


@router.get("/receipts", tags=["retention"])
async def list_receipts(
    asker: SignedIn,
    source: Annotated[str | None, Query(description="Only of this source")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> ReceiptPage:
    """What was disposed of, newest first (permission: audit or steward)."""
    asker.require("audit", "steward")
    parameters = {"list": "receipts", "source": source, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.receipts(asker.desk.pool, source, after, limit + 1), limit, ("ordered_at", "id")
    )
    return ReceiptPage(
        items=[ReceiptItem(**{name: row[name] for name in ReceiptItem.model_fields}) for row in found],
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )


@router.post("/retention/run", tags=["retention"], response_model=RetentionReport)
async def run_retention(
    body: RetentionBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Order what the retention policies ask for, or count it (`dry_run`) (permission: steward)."""

    async def run() -> dict[str, Any]:
        report = await call(asker, "governance", "POST", "/v1/retention/run", body.model_dump())
        return RetentionReport.model_validate(report).model_dump(mode="json")

    return await written(
        asker, request, key, ("steward",), action="run retention", resource="retention", run=run,
        details={"dry_run": body.dry_run},
    )  # fmt: skip


@router.post("/erasures", tags=["retention"], response_model=Outcome, status_code=202)
async def erase_subject(
    body: ErasureBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Erase one subject from every store, with a receipt for each (permission: steward).

    `GET /v1/erasures/{id}` shows how far it is. An event of the subject that comes after the order is a new fact.
    """
    pseudonym = str(conceal("pseudonym", asker.desk.secret, body.field, body.value))
    reason = body.reason.replace(body.value, pseudonym)
    order = {**body.model_dump(), "pseudonym": pseudonym, "reason": reason}
    return await written(
        asker, request, key, ("steward",), action="erase subject", resource=f"sources/{body.source}",
        run=lambda: forward(asker, "governance", "/v1/erasures", order),
        details={"subject_field": body.field, "pseudonym": pseudonym, "reason": reason, "dry_run": body.dry_run},
        status=202,
    )  # fmt: skip


@router.get("/erasures/{erasure}", tags=["retention"])
async def show_erasure(erasure: str, asker: SignedIn) -> ErasureItem:
    """One erasure, with what each store has answered (permission: audit or steward)."""
    asker.require("audit", "steward")
    return ErasureItem.model_validate(await call(asker, "governance", "GET", f"/v1/erasures/{erasure}"))
