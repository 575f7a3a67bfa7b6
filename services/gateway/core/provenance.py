"""The events of a window: those of its offset ranges and times that the KPI's definition takes."""

from collections.abc import Mapping, Sequence
from typing import Any


def canonical_dimension(value: Any) -> str | None:
    """A dimension value as series carry it (text)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def belongs(data: Mapping[str, Any], series: Mapping[str, str | None]) -> bool:
    """Whether an event's dimension values are the series' own."""
    return all(canonical_dimension(data.get(name)) == value for name, value in series.items())


def left_out(rows: Sequence[Mapping[str, Any]], late: set[tuple[int, int]]) -> list[Mapping[str, Any]]:
    """The rows without those that were set aside as too late."""
    return [row for row in rows if (row["partition"], row["offset"]) not in late]
