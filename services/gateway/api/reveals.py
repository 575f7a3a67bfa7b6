"""What tokens and encrypted texts stand for: for few, and each time on record before it is answered."""

from typing import Any

from fastapi import APIRouter

from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call
from services.gateway.api.models.reveals import RevealBody, RevealedItem, RevealList
from services.gateway.api.problems import RESPONSES, Refused, not_found

router = APIRouter(prefix="/v1", tags=["retention"], responses=RESPONSES)
ACTION = "reveal values"


@router.post("/reveals")
async def reveal_values(body: RevealBody, asker: SignedIn) -> RevealList:
    """What tokens and encrypted texts of a field stand for (permission: steward). No idempotency key: what is revealed
    is kept nowhere."""
    resource = f"sources/{body.source}"
    details: dict[str, Any] = {
        "field": body.field,
        "values": [each[:48] for each in body.values],
        "reason": body.reason,
    }
    if not asker.rights.may("steward"):
        await asker.record(ACTION, resource, "refused", details)
        asker.require("steward")
    if asker.source(body.source).field(body.field) is None:
        raise not_found(f"field {body.field} of {body.source}")
    try:
        found = await call(
            asker, "ingest", "POST", "/v1/reveals", body.model_dump(include={"source", "field", "values"})
        )
    except Refused as error:
        outcome = "failed" if error.status >= 500 else "refused"
        await asker.record(ACTION, resource, outcome, {**details, "code": error.code})
        raise
    items = [_shown(asker, body, each) for each in found["items"]]
    await asker.record(
        ACTION, resource, "done", {**details, "known": sum(each.reason is None for each in items)}
    )
    return RevealList(items=items)


def _shown(asker: Asker, body: RevealBody, item: dict[str, Any]) -> RevealedItem:
    if item["clear"] is None:
        return RevealedItem.model_validate(item)
    shown = asker.veil.value(body.source, body.field, item["clear"])
    return RevealedItem(value=item["value"], clear=shown, reason=None)
