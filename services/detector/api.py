"""The detector's state, for those who ask why a number is late."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from services.detector.handlers.merge import Merge, moment


def routes(merge: Merge) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/state")
    async def state() -> dict[str, Any]:
        """Per KPI and merge partition: watermark and what holds it back, open windows, state, late events."""
        return {
            "parked": merge.definitions.parked,
            "kpis": [
                {
                    "kpi": state.compiled.kpi.id,
                    "version": state.compiled.version,
                    "partition": number,
                    "watermark": _time(mark.at)
                    if (mark := partition.watermarks.get(state.compiled.source.id))
                    else None,
                    "held_by": mark.held_by if mark else None,
                    "marks": {
                        str(each): {"at": _time(part.at), "idle": part.idle}
                        for each, part in (mark.marks if mark else {}).items()
                    },
                    "open_windows": state.windows.height,
                    "state_rows": state.rows.height,
                    "state_bytes": int(state.rows.estimated_size() + state.windows.estimated_size()),
                    "late_events": partition.late.get(name, 0),
                }
                for number, partition in sorted(merge.partitions.items())
                for name, state in sorted(partition.states.items())
            ],
        }

    return router


def _time(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
