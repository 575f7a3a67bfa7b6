"""What a KPI needs of the engine, and what its state will cost. Pure; estimates, from the definition alone.

State is kept per series as partial rows: one per pane and input partition, for as long as a window that the pane lies
in takes events. Sizes are those of the columns (Arrow: 8 bytes a number, 1 bit a null); sketches grow with what they
see, up to the bound given.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from math import gcd
from typing import Any

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.check import Change
from libs.common.catalog.fields import fields_of
from libs.common.catalog.kpis import Kpi, Window
from libs.common.catalog.sources import Source
from libs.common.errors import DefinitionError
from libs.common.expressions import Value, derive, value

ROW_BYTES = 96
"""Of a partial row without the KPI's own states: series, pane, partition, counts, offsets, schema ids."""
DISTINCT_BYTES = 4 * 4096
"""Of a distinct count, at most: one entry per register of the sketch."""
QUANTILE_BYTES = 12 * 4096
"""Of a quantile, for values that span 35 orders of magnitude (117 buckets of 12 bytes for each)."""

FLINK = "Flink: a job and a slot of its own; each window once, when its lateness has passed"

_DAYS = {"day": 1, "business_day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


@dataclass(frozen=True)
class Cost:
    """Of one KPI. `rows` and bytes are per series; bytes without sketches, `sketch_bytes` at most beside them."""

    kpi: str
    needs: tuple[str, ...]
    """Parts of the engine: `two-step merge`, `panes`, `sketches`, `enrichment`, … each with its reason."""
    panes: int
    """Panes of a window; 0: sessions, 1: the window is its pane."""
    rows: int
    """Partial rows of a series at a time, at most."""
    row_bytes: int
    bytes: int
    sketch_bytes: int

    def text(self) -> str:
        """One line for people, without the needs."""
        if not self.rows:
            return "no state here: the Flink job keeps it" if FLINK in self.needs else "no state"
        sketches = f", and sketches of up to {_size(self.sketch_bytes)}" if self.sketch_bytes else ""
        panes = f"{self.panes} panes a window, " if self.panes > 1 else ""
        return f"{panes}up to {self.rows} rows of {self.row_bytes} bytes = {_size(self.bytes)} per series{sketches}"

    def summary(self) -> dict[str, Any]:
        """As the plan's answer carries it."""
        return {**asdict(self), "needs": list(self.needs), "text": self.text()}


def costs(found: Iterable[Change], catalog: Catalog) -> list[Cost]:
    """Of the KPIs that a plan creates or changes."""
    kpis = [
        catalog.kpi(each.id) for each in found if each.kind == "kpi" and each.action in ("create", "update")
    ]
    found_costs = [cost(kpi, catalog) for kpi in kpis if kpi is not None]
    return [each for each in found_costs if each is not None]


def cost(kpi: Kpi, catalog: Catalog) -> Cost | None:
    """None if the KPI does not fit the catalog: `check` says why."""
    types = fields_of(kpi, catalog)
    if kpi.engine == "flink":
        return Cost(kpi.id, (FLINK, *_needs_of_fields(kpi, catalog)), 0, 0, 0, 0, 0)
    needs = [*_needs_of_origin(kpi, catalog), *_needs_of_fields(kpi, catalog)]
    if kpi.window.each is not None:
        return Cost(kpi.id, (*needs, "pass-through: every event is a value of its own"), 0, 0, 0, 0, 0)
    try:
        _, types = derive(kpi.let, types)
        values = [value(text, types) for text in (kpi.value, *kpi.measures.values())]
    except DefinitionError:
        return None
    needs += [*_needs_of_window(kpi.window), *_needs_of_values(values)]
    states = {state.name: str(state.dtype) for each in values for state in each.states}
    lists = [name for name, dtype in states.items() if dtype.startswith("List")]
    sketches = sum(
        DISTINCT_BYTES if name.startswith("approx_count") else QUANTILE_BYTES // 2 for name in lists
    )
    row_bytes = ROW_BYTES + 8 * (len(states) - len(lists))
    rows = _rows(kpi, catalog)
    return Cost(kpi.id, tuple(needs), _panes(kpi.window), rows, row_bytes, rows * row_bytes, rows * sketches)


def _needs_of_origin(kpi: Kpi, catalog: Catalog) -> list[str]:
    if kpi.over:
        inputs = ", ".join(dict.fromkeys(kpi.over.values()))
        rolled = "" if kpi.by else ", rolled up to one series"
        return [f"KPI over KPIs: final values of {inputs} of the same window{rolled}"]
    source = catalog.source(kpi.source or "")
    if source is None or kpi.window.each is not None:
        return []
    if _in_one_partition(kpi, catalog):
        return [f"two-step merge: each series comes from one partition of {source.id}, whose key it contains"]
    return [f"two-step merge: a series comes from up to {source.partitions} partitions of {source.id}"]


def _enrichment(reference: Source | None, id: str) -> str:
    if reference is not None and reference.versioned:
        return f"enrichment: the row of {id} that was valid at event time; every version of a row is kept in memory"
    return f"enrichment: the last row of {id}; every row is kept in memory"


def _needs_of_fields(kpi: Kpi, catalog: Catalog) -> list[str]:
    needs = [_enrichment(catalog.source(each.reference), each.reference) for each in kpi.enrich]
    if kpi.let:
        needs.append(f"derived fields: {', '.join(kpi.let)}")
    return needs


def _needs_of_window(window: Window) -> list[str]:
    match window.kind:
        case "sliding" if _panes(window) > 1:
            return [f"panes: a window is put together from {_panes(window)}"]
        case "session":
            return ["sessions: late events may join two that were published, which are then withdrawn"]
        case "calendar":
            return [f"calendar: {window.calendar} in {window.zone}"]
        case _:
            return []


def _needs_of_values(values: list[Value]) -> list[str]:
    found = {aggregate: None for each in values for aggregate in each.aggregates}
    needs = [
        f"sketches: {', '.join(each.forms)} to {each.error:.1%}, not exact" for each in found if each.error
    ]
    if any(each.ordered for each in found):
        needs.append("order: first and last by event time, then partition and offset")
    return needs


def _panes(window: Window) -> int:
    if window.sliding is not None and window.every is not None:
        return _seconds(window.sliding) // gcd(_seconds(window.sliding), _seconds(window.every))
    return 0 if window.session is not None else 1


def _rows(kpi: Kpi, catalog: Catalog) -> int:
    """Open panes at a time (those of the newest window and of windows that still take late events) × partitions."""
    window = kpi.window
    source = catalog.source(kpi.source or "")
    if kpi.over:
        inputs = len(kpi.over)
        return inputs * (1 + _up(kpi.lateness, _length(window)))
    wait = kpi.lateness + (source.watermark.delay if source else timedelta(0))
    partitions = 1 if source is None or _in_one_partition(kpi, catalog) else source.partitions
    if window.session is not None:
        return partitions * (1 + _up(wait, window.session))
    length = _length(window)
    return partitions * (1 + _up(length + wait, length // max(_panes(window), 1)))


def _in_one_partition(kpi: Kpi, catalog: Catalog) -> bool:
    source = catalog.source(kpi.source or "")
    return source is not None and (
        source.partitions == 1 or (bool(source.key_reads) and set(source.key_reads) <= set(kpi.by))
    )


def _length(window: Window) -> timedelta:
    if window.calendar is not None:
        return timedelta(days=_DAYS[window.calendar])
    return window.tumbling or window.sliding or window.session or timedelta(seconds=1)


def _up(length: timedelta, step: timedelta) -> int:
    return -(-length // step)


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
