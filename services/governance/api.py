"""Commands of governance. The gateway is the only caller."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from services.governance.handlers.audit import Anchors
from services.governance.handlers.erasure import Erasure
from services.governance.handlers.retention import Retention


class Run(BaseModel):
    model_config = ConfigDict(extra="forbid")
    dry_run: bool = True


class Subject(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: str
    field: str
    value: str = Field(min_length=1, max_length=1_000)
    pseudonym: str
    reason: str = Field(min_length=1, max_length=2_000)
    dry_run: bool = False


def routes(anchors: Anchors, retention: Retention, erasure: Erasure) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/audit/verify")
    async def verify() -> dict[str, Any]:
        """Hash the whole chain again, and compare it with the anchored heads."""
        return await anchors.verify()

    @router.post("/retention/run")
    async def run(order: Run, by: Annotated[str, Header(alias="x-sextant-subject")]) -> dict[str, Any]:
        return await retention.order(dry_run=order.dry_run, by=by)

    @router.post("/erasures")
    async def erase(order: Subject, by: Annotated[str, Header(alias="x-sextant-subject")]) -> dict[str, Any]:
        """Order that one subject be erased; its value is kept nowhere in clear when all stores have answered."""
        return await erasure.order(**order.model_dump(), by=by)

    @router.get("/erasures/{id}")
    async def erased(id: str) -> dict[str, Any]:
        return await erasure.of(id)

    return router
