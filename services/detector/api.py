"""The detector's state, for those who ask why a number is late."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from libs.common import clock
from services.detector.core.merge import MergeState
from services.detector.handlers.flink import Jobs
from services.detector.handlers.merge import Merge, Partition
from services.detector.handlers.sizes import Sizes


def routes(merge: Merge, jobs: Jobs, sizes: Sizes) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/state")
    async def state() -> dict[str, Any]:
        """Per KPI and merge partition: watermark and what holds it back, open windows, state, growth, late events."""
        return {
            "parked": merge.definitions.parked | merge.parked | jobs.faults,
            "flink": jobs.state(),
            "kpis": [
                _shown(name, state, number, partition, sizes.per_hour(name, number))
                for number, partition in sorted(merge.partitions.items())
                for name, state in sorted(partition.engine.states.items())
            ],
        }

    return router


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
