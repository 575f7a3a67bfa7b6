"""Parity: what was published of a window beside what plain SQL makes of its events. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from libs.common.catalog import Catalog, Kpi
from libs.common.catalog.fields import fields_of
from libs.common.expressions import derive, value

TOLERANCE = 1e-9
"""Relative, of values: sums of the same numbers in another order."""

Key = tuple[str, int, int]
"""series key, start and end of the window (ms)."""


@dataclass(frozen=True)
class Figures:
    """What a window comes to. `measures` in the KPI's order."""

    value: float | None
    count: int
    measures: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A window with both figures; None where one side has no such window."""

    key: Key
    published: Figures | None
    batch: Figures | None


def incomparable(kpi: Kpi, catalog: Catalog) -> str | None:
    """Why a KPI cannot be compared while it runs; None if it can. DefinitionError if it does not compile."""
    if kpi.engine == "flink":
        return "computed by Flink, which keeps no record of what came too late"
    if kpi.enrich:
        return "enriched: the reference rows may have changed since"
    if kpi.window.session is not None:
        return "sessions: they may begin long before the stretch of time that is compared"
    if kpi.window.each is not None:
        return "each event is its own value"
    if kpi.over:
        return "over other KPIs, which are compared themselves"
    _, types = derive(kpi.let, fields_of(kpi, catalog))
    if any(value(text, types).error for text in (kpi.value, *kpi.measures.values())):
        return "approximate: its error is a standard error, which no single window can break"
    return None


def reach(kpi: Kpi) -> timedelta:
    """How far before its end a window begins at most."""
    window = kpi.window
    days = {"day": 2, "business_day": 14, "week": 8, "month": 32, "quarter": 93, "year": 367}
    return window.tumbling or window.sliding or timedelta(days=days[window.calendar or "day"])


def differences(published: Mapping[Key, Figures], batch: Mapping[Key, Figures]) -> list[Difference]:
    """The windows that are not the same on both sides, the first first."""
    found = [
        Difference(key, published.get(key), batch.get(key))
        for key in published.keys() | batch.keys()
        if not _same(published.get(key), batch.get(key))
    ]
    return sorted(found, key=lambda each: (each.key[2], each.key))


def _same(one: Figures | None, other: Figures | None) -> bool:
    if one is None or other is None:
        return one is other
    pairs = zip((one.value, *one.measures), (other.value, *other.measures), strict=True)
    return one.count == other.count and all(_near(*pair) for pair in pairs)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other), 1e-300)
