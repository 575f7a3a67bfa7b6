"""Commands on incidents. The gateway is the only caller."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from libs.common.events import Cause
from services.quality.core.incidents import Action
from services.quality.handlers.incidents import IncidentCommands


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: Action
    assignee: str | None = Field(default=None, max_length=200)
    cause: Cause | None = None
    note: str = Field(default="", max_length=2_000)


def routes(commands: IncidentCommands) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/incidents/{incident}")
    async def act(
        incident: str, order: Move, by: Annotated[str, Header(alias="x-sextant-subject")]
    ) -> dict[str, Any]:
        return await commands.act(
            incident, order.action, by, assignee=order.assignee, cause=order.cause, note=order.note
        )

    return router
