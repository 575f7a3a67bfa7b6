"""Dead letters: what could not be used and why, and sending it in again."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call, written
from services.gateway.api.models.dead_letters import (
    DeadLetterGroup,
    DeadLetterGroups,
    DeadLetterItem,
    DeadLetterPage,
)
from services.gateway.api.models.redrives import (
    RedriveBody,
    RedriveCommand,
    RedriveList,
    RedriveShown,
    RedriveSummary,
)
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.problems import RESPONSES
from services.gateway.api.sources import IdempotencyKey
from services.gateway.core.deadletters import show_cause, show_dead_letter
from services.gateway.store import dead_letters as rows

router = APIRouter(prefix="/v1", tags=["dead letters"], responses=RESPONSES)

MOST_GROUPS = 100


@router.get("/dead-letters")
async def list_dead_letters(
    asker: SignedIn,
    source: Annotated[str | None, Query(description="Only this source")] = None,
    stage: Annotated[str | None, Query(description="Only this stage")] = None,
    cause: Annotated[str | None, Query(description="Only this group")] = None,
    limit: SmallLimit = 50,
    page_token: PageToken = None,
) -> DeadLetterPage:
    """Refused records, newest first, masked by field for the asker."""
    asker.require("read")
    parameters = {"list": "dead-letters", "source": source, "stage": stage, "cause": cause, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.dead_letters(asker.desk.pool, source, stage, cause, after, limit + 1),
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
    """Refused records by their cause, the most frequent first: what one thing mends is one group. The 100 largest:
    whoever sends another field that there is not with every record makes a group with every record."""
    asker.require("read")
    found = await rows.groups(asker.desk.pool, source, MOST_GROUPS)
    catalog = asker.desk.catalog
    shown = [show_cause(asker.rights, catalog.source(row["source"]), row) for row in found]
    groups = DeadLetterGroups(
        items=[
            DeadLetterGroup(**{name: each[name] for name in DeadLetterGroup.model_fields}) for each in shown
        ],
        groups_left_out=found[0]["all_groups"] - len(found) if found else 0,
        letters_left_out=found[0]["all_letters"] - sum(row["letters"] for row in found) if found else 0,
        as_of=asker.desk.now(),
    )
    return await asker.answer(groups, "read dead letters", f"dead-letters/{source or ''}")


def _shown(asker: Asker, answer: dict[str, Any]) -> RedriveShown:
    source = asker.desk.catalog.source(answer["source"])
    failures = [show_cause(asker.rights, source, each) for each in answer["failures"]]
    return RedriveShown.model_validate({**answer, "failures": failures})


@router.post("/redrives", response_model=RedriveShown)
async def order_redrive(
    body: RedriveBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Check dead letters against the present definition, mended first if a fix says how; then publish those that pass,
    unless it is a dry run, or a canary waits (permission: ingest or steward)."""

    async def run() -> dict[str, Any]:
        answer = await call(asker, "ingest", "POST", "/v1/redrives", body.model_dump(exclude_none=True))
        return _shown(asker, answer).model_dump(mode="json")

    details = {
        "cause": body.cause, "ids": None if body.ids is None else len(body.ids), "dry_run": body.dry_run,
        "canary": body.canary, "steps": len(body.fix), "reason": body.reason,
    }  # fmt: skip
    return await written(
        asker, request, key, ("ingest", "steward"), action="order redrive", resource=f"sources/{body.source}",
        details=details, run=run,
    )  # fmt: skip


@router.get("/redrives")
async def list_redrives(asker: SignedIn) -> RedriveList:
    """The newest 200, the newest first."""
    asker.require("ingest", "steward")
    answer = await call(asker, "ingest", "GET", "/v1/redrives")
    items = [RedriveSummary.model_validate(each) for each in answer["items"]]
    return await asker.answer(RedriveList(items=items, as_of=asker.desk.now()), "read redrives", "redrives")


@router.get("/redrives/{redrive}")
async def get_redrive(redrive: str, asker: SignedIn) -> RedriveShown:
    """How one goes, and why letters of it are not driven."""
    asker.require("ingest", "steward")
    found = _shown(asker, await call(asker, "ingest", "GET", f"/v1/redrives/{redrive}"))
    return await asker.answer(found, "read redrive", f"redrives/{redrive}")


@router.post("/redrives/{redrive}/{command}", response_model=RedriveShown)
async def command_redrive(
    redrive: str, command: RedriveCommand, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """`go` on after a dry run, a canary or a pause; `pause`; `cancel` stops it, what is published stays; `undo` takes
    back what it has published: those events count no more, their ids are free, KPIs are revised, the letters can be
    driven again (permission: ingest or steward)."""

    async def run() -> dict[str, Any]:
        answer = await call(asker, "ingest", "POST", f"/v1/redrives/{redrive}/{command}")
        return _shown(asker, answer).model_dump(mode="json")

    return await written(
        asker, request, key, ("ingest", "steward"), action=f"{command} redrive", resource=f"redrives/{redrive}", run=run,
    )  # fmt: skip
