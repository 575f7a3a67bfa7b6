"""Commands of governance. The gateway is the only caller."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict

from services.governance.handlers.audit import Anchors
from services.governance.handlers.retention import Retention


class Run(BaseModel):
    model_config = ConfigDict(extra="forbid")
    dry_run: bool = True


def routes(anchors: Anchors, retention: Retention) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/audit/verify")
    async def verify() -> dict[str, Any]:
        """Hash the whole chain again, and compare it with the anchored heads."""
        return await anchors.verify()

    @router.post("/retention/run")
    async def run(order: Run, by: Annotated[str, Header(alias="x-sextant-subject")]) -> dict[str, Any]:
        return await retention.order(dry_run=order.dry_run, by=by)

    return router
