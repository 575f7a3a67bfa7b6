"""Commands of strategy. The gateway is the only caller: it has authenticated, authorised and audited."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.strategy.handlers.catalog import CatalogKeeper
from services.strategy.handlers.commands import Commands

Subject = Annotated[str, Header(alias="x-sextant-subject")]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Workspace(Order):
    definitions: list[dict[str, Any]]
    remove_missing: bool = False


class Acknowledgement(Order):
    note: str = Field(default="", max_length=2_000)


class Decision(Order):
    signal: str | None = None
    kpi: str | None = None
    title: str = Field(min_length=1, max_length=200)
    choice: str = Field(min_length=1, max_length=2_000)
    rationale: str = Field(default="", max_length=10_000)
    expected: str = Field(default="", max_length=2_000)
    as_of: AwareDatetime
    evidence: Any
    evidence_hash: str | None = None


class Annotation(Order):
    kpi: str
    series_key: str | None = None
    at: AwareDatetime
    until: AwareDatetime | None = None
    text: str = Field(min_length=1, max_length=2_000)


class Tick(Order):
    done: bool = True
    note: str = Field(default="", max_length=2_000)


def routes(catalog: CatalogKeeper, commands: Commands) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/catalog/plan")
    async def plan(workspace: Workspace) -> dict[str, Any]:
        return await catalog.plan(workspace.definitions, remove_missing=workspace.remove_missing)

    @router.post("/catalog/apply")
    async def apply(workspace: Workspace, by: Subject) -> dict[str, Any]:
        return await catalog.apply(workspace.definitions, remove_missing=workspace.remove_missing, by=by)

    @router.post("/signals/{signal}/acknowledge")
    async def acknowledge(signal: str, order: Acknowledgement, by: Subject) -> dict[str, Any]:
        return await commands.acknowledge(signal, order.note, by)

    @router.post("/decisions", status_code=201)
    async def decide(order: Decision, by: Subject) -> dict[str, Any]:
        return await commands.decide(order.model_dump(), by)

    @router.post("/decisions/{decision}/dispatched")
    async def dispatched(decision: str, by: Subject) -> dict[str, Any]:
        return await commands.move(decision, "dispatched", by)

    @router.post("/decisions/{decision}/executed")
    async def executed(decision: str, by: Subject) -> dict[str, Any]:
        return await commands.move(decision, "executed", by)

    @router.post("/annotations", status_code=201)
    async def annotate(order: Annotation, by: Subject) -> dict[str, Any]:
        return await commands.annotate(order.model_dump(), by)

    @router.post("/playbook-runs/{run}/steps/{step}")
    async def tick(run: str, step: str, order: Tick, by: Subject) -> dict[str, Any]:
        return await commands.tick(run, step, order.done, order.note, by)

    return router
