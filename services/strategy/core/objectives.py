"""Progress of objectives, from the final windows of their KPIs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.catalog import KeyResult, Objective
from libs.common.events import parse_series_key


@dataclass(frozen=True)
class Window:
    """One final window of a KPI."""

    series_key: str
    end: datetime
    value: float | None
    count: int


def key_result(result: KeyResult, windows: Iterable[Window]) -> dict[str, Any]:
    """The count-weighted mean of the windows that end within `over` of the newest one, and the progress to target.

    Progress is 0 at the baseline and 1 at the target, kept within that; None where nothing is known.
    """
    matching = [
        window
        for window in windows
        if _matches(result.series, window.series_key) and window.value is not None
    ]
    as_of = max((window.end for window in matching), default=None)
    shown: dict[str, Any] = {
        "id": result.id, "title": result.title, "kpi": result.kpi, "series": dict(result.series),
        "baseline": result.baseline, "target": result.target, "value": None, "progress": None, "as_of": None,
        "windows": 0,
    }  # fmt: skip
    if as_of is None:
        return shown
    recent = [window for window in matching if window.end > as_of - result.over]
    weight = sum(window.count for window in recent)
    if not weight:
        return shown
    mean = sum(window.value * window.count for window in recent if window.value is not None) / weight
    share = (mean - result.baseline) / (result.target - result.baseline)
    progress = min(1.0, max(0.0, share))
    return shown | {"value": mean, "progress": progress, "as_of": as_of, "windows": len(recent)}


def _matches(series: Mapping[str, str], key: str) -> bool:
    values = parse_series_key(key)
    return all(values.get(name) == value for name, value in series.items())


def progress(objective: Objective, results: Sequence[dict[str, Any]]) -> float | None:
    """The mean of the key results' progress; None as long as one of them is unknown."""
    known = [each["progress"] for each in results]
    if len(known) < len(objective.key_results) or any(each is None for each in known):
        return None
    return sum(known) / len(known)
