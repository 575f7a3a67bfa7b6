"""Backfills: ordered here, carried out by the detector."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call, written
from services.gateway.api.models.backfills import BackfillBody, BackfillList, BackfillShown
from services.gateway.api.problems import RESPONSES, not_found
from services.gateway.api.sources import IdempotencyKey

router = APIRouter(prefix="/v1/backfills", tags=["backfills"], responses=RESPONSES)


def _shown(answer: Any) -> dict[str, Any]:
    return BackfillShown.model_validate(answer).model_dump(mode="json", by_alias=True)


async def _found(asker: Asker, id: str) -> BackfillShown:
    found = BackfillShown.model_validate(await call(asker, "detector", "GET", f"/v1/backfills/{id}"))
    if not asker.sees(found.kpi):
        raise not_found(f"backfill {id}")
    return found


@router.post("", response_model=BackfillShown)
async def order_backfill(
    body: BackfillBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Compute the closed windows of a KPI that begin in [from, to) again, from the archive; what differs becomes their
    next revision, and what came too late is counted (permission: configure)."""

    async def run() -> dict[str, Any]:
        asker.kpi(body.kpi)
        order = body.model_dump(mode="json", by_alias=True)
        return _shown(await call(asker, "detector", "POST", "/v1/backfills", order))

    details = {"from": body.start.isoformat(), "to": body.stop.isoformat(), "dry_run": body.dry_run}
    return await written(
        asker, request, key, ("configure",), action="order backfill", resource=f"kpis/{body.kpi}", run=run,
        details={**details, "reason": body.reason},
    )  # fmt: skip


@router.get("")
async def list_backfills(asker: SignedIn) -> BackfillList:
    """The newest 200, the newest first."""
    asker.require("read", "configure")
    answer = await call(asker, "detector", "GET", "/v1/backfills")
    items = [BackfillShown.model_validate(each) for each in answer["items"]]
    shown = [each for each in items if asker.sees(each.kpi)]
    return await asker.answer(
        BackfillList(items=shown, as_of=asker.desk.now()), "read backfills", "backfills"
    )


@router.get("/{backfill}")
async def get_backfill(backfill: str, asker: SignedIn) -> BackfillShown:
    """How one goes."""
    asker.require("read", "configure")
    return await asker.answer(await _found(asker, backfill), "read backfill", f"backfills/{backfill}")


@router.post("/{backfill}/cancel", response_model=BackfillShown)
async def cancel_backfill(
    backfill: str, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """End it where it is; what it has published stays (permission: configure)."""

    async def run() -> dict[str, Any]:
        await _found(asker, backfill)
        return _shown(await call(asker, "detector", "POST", f"/v1/backfills/{backfill}/cancel"))

    return await written(
        asker,
        request,
        key,
        ("configure",),
        action="cancel backfill",
        resource=f"backfills/{backfill}",
        run=run,
    )
