"""Signals and what is done about them: acknowledge, playbooks."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from libs.common.events import Verdict, series_key
from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import forward, written
from services.gateway.api.models.signals import (
    AcknowledgeBody,
    Escalation,
    LoopStamps,
    Outcome,
    PlaybookRun,
    PlaybookRunList,
    SignalDetail,
    SignalItem,
    SignalListed,
    SignalPage,
    StepBody,
)
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.positions import signals_position
from services.gateway.api.problems import RESPONSES, not_found
from services.gateway.api.sources import IdempotencyKey
from services.gateway.store import signals as rows

router = APIRouter(prefix="/v1", tags=["signals"], responses=RESPONSES)


def signal_fields(asker: Asker, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a signal as the asker sees them; its reason may name masked values, so it is searched."""
    veil = asker.veil
    fields = {name: row[name] for name in SignalItem.model_fields if name in row}
    fields["series"] = veil.series(row["kpi"], row["series"])
    fields["series_key"] = veil.series_key(row["kpi"], row["series_key"])
    fields["reason"] = veil.prose(row["reason"])
    fields["state"] = "closed" if row["change"] == "closed" else "open"
    return fields


def show_signal(asker: Asker, row: Mapping[str, Any]) -> SignalItem:
    return SignalItem(**signal_fields(asker, row))


def show_listed(asker: Asker, row: Mapping[str, Any], loop: Mapping[str, Any] | None) -> SignalListed:
    stamps = LoopStamps(**{name: loop[name] for name in LoopStamps.model_fields}) if loop else None
    return SignalListed(**signal_fields(asker, row), owner=loop["owner"] if loop else None, loop=stamps)


async def visible_signal(asker: Asker, id: str) -> Mapping[str, Any]:
    """A signal of a KPI that the asker may see, or 404."""
    row = await rows.signal(asker.desk.pool, id)
    if row is None or not asker.sees(row["kpi"]):
        raise not_found(f"signal {id}")
    return row


@router.get("/signals")
async def list_signals(
    asker: SignedIn,
    state: Annotated[Literal["open", "closed"] | None, Query(description="Only open or closed ones")] = None,
    verdict: Annotated[Verdict | None, Query(description="Only this verdict")] = None,
    kpi: Annotated[str | None, Query(description="Only this KPI")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> SignalPage:
    """Signals of the KPIs that the asker may see, newest first."""
    asker.require("read")
    kpis = [asker.kpi(kpi).id] if kpi else asker.visible_kpis()
    parameters = {"list": "signals", "state": state, "verdict": verdict, "kpi": kpi, "limit": limit}
    after = asker.open_page(page_token, parameters)
    position = await signals_position(asker) if page_token is None else None
    found, last = cut(
        await rows.signals(asker.desk.pool, kpis, state, verdict, after, limit + 1),
        limit,
        ("detected_at", "id"),
    )
    loops = await rows.loops(asker.desk.pool, [row["id"] for row in found])
    page = SignalPage(
        items=[show_listed(asker, row, loops.get(row["id"])) for row in found],
        stream=position,
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )
    return await asker.answer(page, "read signals", "signals")


@router.get("/signals/{signal}")
async def get_signal(signal: str, asker: SignedIn) -> SignalDetail:
    """One signal: its history, stamps, escalation, playbook runs and decisions."""
    asker.require("read")
    row = await visible_signal(asker, signal)
    pool = asker.desk.pool
    loop = (await rows.loops(pool, [signal])).get(signal)
    listed = show_listed(asker, row, loop)
    detail = SignalDetail(
        **listed.model_dump(),
        history=[show_signal(asker, change) for change in await rows.history(pool, signal)],
        escalations=[
            Escalation(**{name: item[name] for name in Escalation.model_fields})
            for item in await rows.escalations(pool, signal)
        ],
        playbook_runs=[show_run(asker, run) for run in await rows.playbook_runs_of(pool, signal)],
        decisions=await rows.decisions_on(pool, signal),
    )
    return await asker.answer(detail, "read signal", f"signals/{signal}")


def show_run(asker: Asker, row: Mapping[str, Any]) -> PlaybookRun:
    """A run; its notes may name values of the series, which the veil hears of first."""
    playbook = asker.desk.catalog.playbook(row["playbook"])
    series = asker.veil.series(row["kpi"], row["series"])
    names = ("id", "playbook", "signal", "kpi", "state", "opened_at", "closed_at")
    return PlaybookRun(
        **{name: row[name] for name in names},
        title=playbook.title if playbook else None,
        series=series,
        series_key=series_key(series),
        steps=[asker.veil.document(step) for step in row["steps"]],
    )


@router.post("/signals/{signal}/acknowledge", response_model=Outcome)
async def acknowledge(
    signal: str, body: AcknowledgeBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Say that somebody is on it; the escalation stops."""

    async def run() -> dict[str, Any]:
        await visible_signal(asker, signal)
        return await forward(asker, "strategy", f"/v1/signals/{signal}/acknowledge", body.model_dump())

    return await written(
        asker,
        request,
        key,
        ("acknowledge",),
        action="acknowledge signal",
        resource=f"signals/{signal}",
        run=run,
    )


@router.get("/playbook-runs", tags=["playbooks"])
async def list_playbook_runs(
    asker: SignedIn,
    state: Annotated[str | None, Query(description="Only runs in this state")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> PlaybookRunList:
    """Playbooks that signals opened, newest first."""
    asker.require("read")
    parameters = {"list": "playbook-runs", "state": state, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.playbook_runs(asker.desk.pool, asker.visible_kpis(), state, after, limit + 1),
        limit,
        ("opened_at", "id"),
    )
    page = PlaybookRunList(
        items=[show_run(asker, row) for row in found],
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )
    return await asker.answer(page, "read playbook runs", "playbook-runs")


@router.post("/playbook-runs/{run}/steps/{step}", tags=["playbooks"], response_model=Outcome)
async def playbook_step(
    run: str, step: str, body: StepBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Mark a step done, or not done after all (permission: acknowledge or decide)."""

    async def pass_on() -> dict[str, Any]:
        row = await rows.playbook_run(asker.desk.pool, run)
        if row is None or not asker.sees(row["kpi"]):
            raise not_found(f"playbook run {run}")
        return await forward(asker, "strategy", f"/v1/playbook-runs/{run}/steps/{step}", body.model_dump())

    return await written(
        asker, request, key, ("acknowledge", "decide"), action="do playbook step",
        resource=f"playbook-runs/{run}", run=pass_on, details={"step": step, "done": body.done},
    )  # fmt: skip
