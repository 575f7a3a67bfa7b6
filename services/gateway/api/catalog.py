"""The catalog: what is in force, every version, plan and apply."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.commands import call, written
from services.gateway.api.conditional import conditional
from services.gateway.api.models.catalog import CatalogBody, CatalogItem, CatalogList, CatalogPlan
from services.gateway.api.problems import RESPONSES, Refused, not_found
from services.gateway.api.sources import IdempotencyKey
from services.gateway.core.contracts import told
from services.gateway.store import catalog as rows

router = APIRouter(prefix="/v1/catalog", tags=["catalog"], responses=RESPONSES)


def show_definition(asker: Asker, row: Mapping[str, Any]) -> CatalogItem:
    fields = {name: row[name] for name in CatalogItem.model_fields if name != "definition"}
    definition = row["definition"]
    return CatalogItem(
        **fields, definition=None if definition is None else asker.veil.definition(row["kind"], definition)
    )


def _visible(asker: Asker, kind: str, id: str) -> bool:
    """Definitions of KPIs that the asker may not see are left out; who configures sees all."""
    return kind != "kpi" or asker.rights.may("configure") or asker.sees(id)


@router.get("", response_model=CatalogList)
async def list_catalog(
    asker: SignedIn,
    request: Request,
    kind: Annotated[str | None, Query(description="Only this kind")] = None,
) -> Response:
    """The definitions in force (permission: read or configure). Answers 304 to a known ETag."""
    asker.require("read", "configure")
    items = [
        show_definition(
            asker,
            {
                "kind": entry.kind, "id": entry.id, "version": entry.definition_version,
                "definition": entry.definition, "applied_at": entry.applied_at, "applied_by": entry.applied_by,
                "removed": False,
            },
        )
        for _, entry in sorted(asker.desk.catalog.entries.items())
        if kind in (None, entry.kind) and _visible(asker, entry.kind, entry.id)
    ]  # fmt: skip
    listed = CatalogList(items=items, as_of=asker.desk.now())
    return conditional(request, await asker.answer(listed, "read catalog", "catalog"))


@router.get("/{kind}/{id}/history")
async def catalog_history(kind: str, id: str, asker: SignedIn) -> CatalogList:
    """Every version of one definition, newest first."""
    asker.require("read", "configure")
    found = await rows.history(asker.desk.pool, kind, id)
    if not found or not _visible(asker, kind, id):
        raise not_found(f"definition {kind}/{id}")
    listed = CatalogList(items=[show_definition(asker, row) for row in found], as_of=asker.desk.now())
    return await asker.answer(listed, "read catalog", f"catalog/{kind}/{id}")


@router.post("/plan", response_model=CatalogPlan)
async def plan(body: CatalogBody, request: Request, asker: SignedIn, key: IdempotencyKey = None) -> Response:
    """What a workspace would change, what is inconsistent in it, and what changed sources break: by rule, and by replay
    of their last records and dead letters (permission: configure)."""
    return await _judge("plan", body, request, asker, key)


@router.post("/apply", response_model=CatalogPlan)
async def apply(body: CatalogBody, request: Request, asker: SignedIn, key: IdempotencyKey = None) -> Response:
    """Put a workspace in force, whole or not at all (permission: configure)."""
    return await _judge("apply", body, request, asker, key)


async def _judge(verb: str, body: CatalogBody, request: Request, asker: Asker, key: str | None) -> Response:
    async def run() -> dict[str, Any]:
        answer = await call(asker, "strategy", "POST", f"/v1/catalog/{verb}", body.model_dump())
        contracts = answer.pop("contracts")
        if verb == "plan":
            named = {str(each.get("id")): each for each in body.definitions if each.get("kind") == "source"}
            answer["evidence"] = [await _evidence(asker, each, named[each["source"]]) for each in contracts]
        return CatalogPlan.model_validate(answer).model_dump(mode="json")

    return await written(
        asker, request, key, ("configure",), action=f"{verb} catalog", resource="catalog", run=run,
        details={"definitions": len(body.definitions), "remove_missing": body.remove_missing},
    )  # fmt: skip


async def _evidence(asker: Asker, contract: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """What strategy says of a candidate by rule, beside what ingest makes of real records with it. Where ingest cannot
    say, the plan stands without."""
    replay, why_not = None, ""
    try:
        path = f"/v1/sources/{contract['source']}/replay"
        replay = await call(asker, "ingest", "POST", path, {"definition": definition})
    except Refused as error:
        why_not = error.detail or error.code
    return {**contract, "replay": replay, "text": told(contract, replay, why_not)}
