"""Dead letters: what could not be used and why, and sending it in again."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.gateway.api.asking import SignedIn
from services.gateway.api.commands import forward, written
from services.gateway.api.models.dead_letters import (
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterItem,
    DeadLetterPage,
    RedriveBody,
)
from services.gateway.api.models.signals import Outcome
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.problems import RESPONSES
from services.gateway.api.sources import IdempotencyKey
from services.gateway.core.deadletters import show_dead_letter
from services.gateway.store import dead_letters as rows

router = APIRouter(prefix="/v1", tags=["dead letters"], responses=RESPONSES)


@router.get("/dead-letters")
async def list_dead_letters(
    asker: SignedIn,
    source: Annotated[str | None, Query(description="Only this source")] = None,
    stage: Annotated[str | None, Query(description="Only this stage")] = None,
    limit: SmallLimit = 50,
    page_token: PageToken = None,
) -> DeadLetterPage:
    """Refused records, newest first, masked by field for the asker."""
    asker.require("read")
    parameters = {"list": "dead-letters", "source": source, "stage": stage, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.dead_letters(asker.desk.pool, source, stage, after, limit + 1),
        limit,
        ("recorded_at", "id"),
    )
    items = []
    for row in found:
        definition = asker.desk.catalog.source(row["source"])
        veil = asker.desk.veil(asker.rights)
        items.append(DeadLetterItem.model_validate(show_dead_letter(veil, definition, row)))
        asker.veil.shown |= veil.shown
        asker.veil.masked |= veil.masked
    page = DeadLetterPage(
        items=items, next_page_token=asker.next_page(last, parameters), as_of=asker.desk.now()
    )
    return await asker.answer(page, "read dead letters", f"dead-letters/{source or ''}")


@router.get("/dead-letters/groups")
async def group_dead_letters(
    asker: SignedIn, source: Annotated[str | None, Query(description="Only this source")] = None
) -> DeadLetterGroups:
    """Refused records by their cause, the most frequent first: what one thing mends is one group."""
    asker.require("read")
    found = await rows.groups(asker.desk.pool, source)
    groups = DeadLetterGroups(
        items=[DeadLetterGroup.model_validate(dict(row)) for row in found], as_of=asker.desk.now()
    )
    return await asker.answer(groups, "read dead letters", f"dead-letters/{source or ''}")


@router.post("/dead-letters/redrive", response_model=Outcome)
async def redrive(
    body: RedriveBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Send dead letters in again (permission: ingest or steward)."""

    async def run() -> dict[str, Any]:
        answer = await forward(
            asker, "ingest", "/v1/dead-letters/redrive", body.model_dump(exclude_none=True)
        )
        if not asker.rights.sees_every_class:
            # A reason may quote the record.
            answer["result"]["results"] = [
                {name: value for name, value in one.items() if name != "reason"}
                for one in answer["result"]["results"]
            ]
        return answer

    return await written(
        asker, request, key, ("ingest", "steward"), action="redrive dead letters", resource=f"sources/{body.source}",
        details={"ids": len(body.ids) if body.ids is not None else None, "dry_run": body.dry_run}, run=run,
    )  # fmt: skip
