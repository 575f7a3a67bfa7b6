"""Decisions with what their makers saw, annotations, objectives."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from libs.common.canonical import fingerprint
from libs.common.events import series_key
from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import forward, written
from services.gateway.api.models.decisions import (
    AnnotationBody,
    AnnotationItem,
    AnnotationPage,
    DecisionBody,
    DecisionDetail,
    DecisionItem,
    DecisionPage,
    KeyResultItem,
    ObjectiveItem,
    ObjectiveList,
)
from services.gateway.api.models.signals import Outcome
from services.gateway.api.paging import PageToken, SmallLimit, cut
from services.gateway.api.problems import RESPONSES, Refused, not_found
from services.gateway.api.signals import visible_signal
from services.gateway.api.sources import IdempotencyKey
from services.gateway.core.evidence import gather, moment
from services.gateway.store import decisions as rows
from services.gateway.store import signals as signal_rows

router = APIRouter(prefix="/v1", tags=["decisions"], responses=RESPONSES)
_PROSE = ("title", "choice", "rationale", "expected")


async def evidence_for(asker: Asker, signal: str, as_of: datetime) -> dict[str, Any]:
    """What was known of a signal and of its windows at `as_of`, in clear; 404 if nothing was."""
    row = await signal_rows.signal_as_of(asker.desk.pool, signal, as_of)
    if row is None:
        raise not_found(f"signal {signal} as of {moment(as_of)}")
    observations = await signal_rows.windows_of(asker.desk.pool, row, as_of)
    return gather(row, observations, as_of)


async def evidence_again(
    asker: Asker, signal: str, kept: Mapping[str, Any], as_of: datetime
) -> dict[str, Any]:
    """What a decision's maker saw, read again from the record: the same change and the same revisions, in clear.

    By their names and not by `as_of`: what had been recorded then but was still on its way was not seen. What the
    record no longer holds is left out.
    """
    try:
        recorded_at = datetime.fromisoformat(kept["signal"]["recorded_at"])
        names = [
            (datetime.fromisoformat(one["window_start"]), int(one["revision"]))
            for one in kept["observations"]
        ]
    except (KeyError, TypeError, ValueError):
        return {}  # it was not gathered here, or was tampered with: it names nothing
    row = await signal_rows.change_at(asker.desk.pool, signal, recorded_at)
    if row is None:
        return {}
    return gather(row, await signal_rows.revisions_named(asker.desk.pool, row, names), as_of)


def show_evidence(asker: Asker, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Evidence, masked: the signal's and each observation's series, and the signal's reason."""
    veil = asker.veil
    signal = dict(evidence.get("signal") or {})
    observations = [dict(row) for row in evidence.get("observations") or ()]
    for row in (signal, *observations):
        if "series" in row:
            row["series"] = veil.series(row.get("kpi", ""), row["series"])
            row["series_key"] = series_key(row["series"])
    if "reason" in signal:
        signal["reason"] = veil.prose(signal["reason"])
    rest = {
        key: veil.document(value) for key, value in evidence.items() if key not in ("signal", "observations")
    }
    return {**rest, "signal": signal, "observations": observations}


def show_decision(asker: Asker, row: Mapping[str, Any]) -> DecisionItem:
    """A decision; its maker's words may name values of the series that the asker may not see."""
    if row["series"] is not None:
        asker.veil.series(row["signal_kpi"], row["series"])
    fields: dict[str, Any] = {name: row[name] for name in DecisionItem.model_fields}
    prose: dict[str, Any] = {name: asker.veil.prose(row[name] or "") for name in _PROSE}
    return DecisionItem(**{**fields, **prose})


def show_decision_detail(asker: Asker, row: Mapping[str, Any]) -> DecisionDetail:
    evidence = show_evidence(asker, row["evidence"] or {})
    item = show_decision(asker, row)
    return DecisionDetail(**item.model_dump(), evidence=evidence, masked=sorted(asker.veil.masked))


async def visible_decision(asker: Asker, id: str) -> Mapping[str, Any]:
    row = await rows.decision(asker.desk.pool, id)
    if row is None or not asker.sees(row["kpi"]):
        raise not_found(f"decision {id}")
    return row


@router.get("/decisions")
async def list_decisions(
    asker: SignedIn,
    kpi: Annotated[str | None, Query(description="Only on this KPI")] = None,
    signal: Annotated[str | None, Query(description="Only on this signal")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> DecisionPage:
    """Decisions on what the asker may see, newest first."""
    asker.require("read")
    kpis = [asker.kpi(kpi).id] if kpi else asker.visible_kpis()
    parameters = {"list": "decisions", "kpi": kpi, "signal": signal, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(
        await rows.decisions(asker.desk.pool, kpis, signal, after, limit + 1), limit, ("decided_at", "id")
    )
    page = DecisionPage(
        items=[show_decision(asker, row) for row in found],
        next_page_token=asker.next_page(last, parameters),
        as_of=asker.desk.now(),
    )
    return await asker.answer(page, "read decisions", "decisions")


@router.get("/decisions/{decision}")
async def get_decision(decision: str, asker: SignedIn) -> DecisionDetail:
    """One decision with the evidence its maker saw, masked for the asker."""
    asker.require("read")
    detail = show_decision_detail(asker, await visible_decision(asker, decision))
    return await asker.answer(detail, "read decision", f"decisions/{decision}")


@router.post("/decisions", response_model=Outcome, status_code=201)
async def decide(
    body: DecisionBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Decide on a signal. What was known of it at `as_of` is kept with its hash, as the gateway itself reads it."""

    async def run() -> dict[str, Any]:
        await visible_signal(asker, body.signal)
        now = asker.desk.now()
        as_of = body.as_of or now
        if as_of > now:
            raise Refused(422, "invalid", "as_of lies in the future: nothing is known as of then")
        evidence = await evidence_for(asker, body.signal, as_of)
        command = {
            **body.model_dump(mode="json"),
            "as_of": moment(as_of),
            "evidence": evidence,
            "evidence_hash": fingerprint(evidence),
        }
        return await forward(asker, "strategy", "/v1/decisions", command)

    return await written(
        asker, request, key, ("decide",), action="decide signal", resource=f"signals/{body.signal}", run=run,
        status=201,
    )  # fmt: skip


@router.post("/decisions/{decision}/dispatched", response_model=Outcome)
async def dispatched(
    decision: str, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """The decision went out to those who carry it out."""
    return await _step(decision, "dispatched", request, asker, key)


@router.post("/decisions/{decision}/executed", response_model=Outcome)
async def executed(decision: str, request: Request, asker: SignedIn, key: IdempotencyKey = None) -> Response:
    """The decision was carried out."""
    return await _step(decision, "executed", request, asker, key)


async def _step(decision: str, step: str, request: Request, asker: Asker, key: str | None) -> Response:
    async def run() -> dict[str, Any]:
        await visible_decision(asker, decision)
        return await forward(asker, "strategy", f"/v1/decisions/{decision}/{step}", {})

    return await written(
        asker,
        request,
        key,
        ("decide",),
        action=f"mark decision {step}",
        resource=f"decisions/{decision}",
        run=run,
    )


@router.get("/annotations", tags=["annotations"])
async def list_annotations(
    asker: SignedIn,
    kpi: Annotated[str | None, Query(description="Only on this KPI")] = None,
    limit: SmallLimit = 100,
    page_token: PageToken = None,
) -> AnnotationPage:
    """Remarks on the charts that the asker may see, newest first."""
    asker.require("read")
    kpis = [asker.kpi(kpi).id] if kpi else asker.visible_kpis()
    parameters = {"list": "annotations", "kpi": kpi, "limit": limit}
    after = asker.open_page(page_token, parameters)
    found, last = cut(await rows.annotations(asker.desk.pool, kpis, after, limit + 1), limit, ("at", "id"))
    items = []
    for row in found:
        fields = {name: row[name] for name in AnnotationItem.model_fields}
        if row["series_key"] is not None:
            fields["series_key"] = asker.veil.series_key(row["kpi"], row["series_key"])
        items.append(AnnotationItem.model_validate({**fields, "text": asker.veil.prose(row["text"])}))
    page = AnnotationPage(
        items=items, next_page_token=asker.next_page(last, parameters), as_of=asker.desk.now()
    )
    return await asker.answer(page, "read annotations", "annotations")


@router.post("/annotations", tags=["annotations"], response_model=Outcome, status_code=201)
async def annotate(
    body: AnnotationBody, request: Request, asker: SignedIn, key: IdempotencyKey = None
) -> Response:
    """Remark on a KPI's chart."""

    async def run() -> dict[str, Any]:
        definition = asker.kpi(body.kpi)
        command = body.model_dump(mode="json")
        if body.series_key is not None:
            command["series_key"] = await asker.clear_key(definition, body.series_key)
        return await forward(asker, "strategy", "/v1/annotations", command)

    return await written(
        asker,
        request,
        key,
        ("annotate",),
        action="annotate kpi",
        resource=f"kpis/{body.kpi}",
        run=run,
        status=201,
    )


@router.get("/objectives", tags=["objectives"])
async def list_objectives(asker: SignedIn) -> ObjectiveList:
    """Objectives with the progress of their key results."""
    asker.require("read")
    items = [_objective(asker, row) for row in await rows.objectives(asker.desk.pool)]
    return await asker.answer(
        ObjectiveList(items=items, as_of=asker.desk.now()), "read objectives", "objectives"
    )


def _objective(asker: Asker, row: Mapping[str, Any]) -> ObjectiveItem:
    results = [result for result in row["key_results"] or () if asker.sees(result.get("kpi"))]
    restricted = len(results) < len(row["key_results"] or ())
    names = ("id", "title", "owner", "framework", "perspective", "as_of", "recorded_at")
    return ObjectiveItem(
        **{name: row[name] for name in names},
        progress=None if restricted else row["progress"],
        restricted=restricted,
        key_results=[
            KeyResultItem(
                **{
                    name: result.get(name)
                    for name in ("id", "title", "kpi", "baseline", "target", "progress")
                },
                current=result.get("value"),
                series=asker.veil.series(result["kpi"], result.get("series") or {}),
            )
            for result in results
        ],
    )
