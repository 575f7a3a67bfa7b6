"""The detector's state, for those who ask why a number is late; and its backfills."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import AwareDatetime, BaseModel, Field

from libs.common import clock
from libs.common.events import BackfillChanged
from libs.common.references import References
from services.detector.core.merge import MergeState
from services.detector.handlers.flink import Jobs
from services.detector.handlers.merge import Merge, Partition
from services.detector.handlers.orders import Orders
from services.detector.handlers.sizes import Sizes


def routes(merge: Merge, jobs: Jobs, sizes: Sizes, references: References) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/state")
    async def state() -> dict[str, Any]:
        """Per KPI and merge partition: watermark and what holds it back, open windows, state, growth, late events.

        Of states that are made anew, what is being read for them. Of the references that events are enriched with or
        judged by, the rows held in memory.
        """
        return {
            "parked": merge.definitions.parked | merge.parked | jobs.faults,
            "flink": jobs.state(),
            "references": references.sizes(),
            "rebuilding": {str(number): text for number, text in sorted(merge.rebuild.shown.items())},
            "kpis": [
                _shown(name, state, number, partition, sizes.per_hour(name, number))
                for number, partition in sorted(merge.partitions.items())
                for name, state in sorted(partition.engine.states.items())
            ],
        }

    return router


SHOWN = 200
"""Backfills in a list."""


class BackfillBody(BaseModel):
    """The windows of a KPI that begin in [from, to)."""

    kpi: str
    start: AwareDatetime = Field(alias="from")
    stop: AwareDatetime = Field(alias="to")
    dry_run: bool = False
    reason: str = ""


def backfill_routes(orders: Orders) -> APIRouter:
    router = APIRouter(prefix="/v1/backfills")

    @router.post("")
    async def order(
        body: BackfillBody, x_sextant_subject: Annotated[str, Header()] = "unknown"
    ) -> dict[str, Any]:
        told = await orders.order(
            body.kpi, body.start, body.stop, dry_run=body.dry_run, reason=body.reason, by=x_sextant_subject
        )
        return show_backfill(told)

    @router.get("")
    async def listed() -> dict[str, Any]:
        """The newest first."""
        return {"items": [show_backfill(told) for told in orders.newest[:SHOWN]]}

    @router.get("/{id}")
    async def one(id: str) -> dict[str, Any]:
        return show_backfill(orders.found(id))

    @router.post("/{id}/cancel")
    async def cancel(id: str) -> dict[str, Any]:
        return show_backfill(await orders.cancel(id))

    return router


def show_backfill(told: BackfillChanged) -> dict[str, Any]:
    shown = told.model_dump(mode="json", exclude={"version", "partition", "ends", "start", "stop", "open_to"})
    if told.withdrawal is not None:
        shown["withdrawal"] = told.withdrawal.partition("/")[
            0
        ]  # the re-drive; which part of it is nobody's concern
    return {**shown, "from": told.start.isoformat(), "to": told.stop.isoformat()}


def _shown(
    name: str, state: MergeState, number: int, partition: Partition, growth: float | None
) -> dict[str, Any]:
    engine, kpi = partition.engine, partition.engine.kpis[name]
    at = engine.watermark(name)
    track = engine.tracks[name]
    marks = {str(place): each for place, each in sorted(track.watermark.marks.items())}
    return {
        "kpi": kpi.kpi.id,
        "version": kpi.version,
        "partition": number,
        "watermark": _time(at),
        "held_by": track.watermark.held_by if kpi.source else engine.held_by(name),
        "marks": {place: {"at": _time(each.at), "idle": each.idle} for place, each in marks.items()},
        "live": sorted(track.live),
        "open_windows": state.open_windows,
        "state_rows": state.rows,
        "state_bytes": state.size,
        "bytes_per_hour": None if growth is None else round(growth),
        "late_events": partition.late.get(name, 0),
    }


def _time(at: int | None) -> datetime | None:
    return None if at is None else clock.moment(at)
