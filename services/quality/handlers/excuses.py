"""Why windows that differ are no fault: what they were made of cannot be had again as it was."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from libs.common.catalog import Catalog, Kpi
from libs.common.clock import milliseconds, moment
from libs.common.topics import EVENTS
from services.quality import store
from services.quality.core.parity import (
    Difference,
    Key,
    Reason,
    Span,
    spread,
    touched,
    uncorrected,
    within,
)
from services.quality.core.plain import Compared
from services.quality.handlers.sides import Inputs, Published


class Excuses:
    """Looks for them, in the archive's views."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog

    async def of_events(self, kpi: Kpi, version: int, compared: Compared) -> dict[Key, Reason]:
        """Of a KPI over a source: events are gone, or were withdrawn and still count, came before what the version could
        read, had other reference rows, or count since a backfill although they were late."""
        assert kpi.source is not None
        assert EVENTS.retention is not None
        found = compared.found
        bounds = _bounds(found)
        spans = await self._spans(kpi, version, found)
        kept = await store.begins(self.pool, kpi.source)
        erased = await store.erased(self.pool, kpi.source, *bounds)
        unread = await store.arrived_before(self.pool, kpi.id, version, kpi.source, EVENTS.retention, *bounds)
        backfilled = await store.backfilled(self.pool, kpi.id, version)
        withdrawn = await store.withdrawn(self.pool, kpi.source, *bounds)
        reasons: dict[Key, Reason] = {}
        for each in found:
            key, mine = each.key, spans.get(each.key, ())
            if any(span["first"] < kept.get(span["partition"], 0) for span in mine):
                reasons[key] = "disposed"
            elif any(
                touched(key, [milliseconds(event["event_time"])])
                and within((event["partition"], event["offset"]), mine)
                for event in erased
            ):
                reasons[key] = "erased"
            elif uncorrected(key, mine, withdrawn, backfilled):
                reasons[key] = "withdrawn"
            elif any(place in unread for place in compared.members.get(key, ())):
                reasons[key] = "unread"
            elif touched(key, compared.outdated):
                reasons[key] = "reference"
            elif kpi.window.session and any(
                key.start < milliseconds(row["closed_to"]) and milliseconds(row["start"]) < key.stop
                for row in backfilled
            ):
                reasons[key] = "backfilled"
        return spread(reasons, found) if kpi.window.session else reasons

    async def _spans(self, kpi: Kpi, version: int, found: Sequence[Difference]) -> dict[Key, Sequence[Span]]:
        """The offset ranges of what was published."""
        if kpi.window.each is not None:
            return {
                each.key: [{"partition": place[0], "first": place[1], "last": place[1]}]
                for each in found
                if (place := each.key.place) is not None
            }
        rows = await store.ranges_of(
            self.pool, kpi.id, version, [(each.key.series, moment(each.key.start)) for each in found]
        )
        known = {(row["series_key"], milliseconds(row["window_start"])): row["offsets"] for row in rows}
        return {each.key: known.get((each.key.series, each.key.start), ()) for each in found}

    async def of_inputs(
        self, kpi: Kpi, version: int, found: Sequence[Difference], inputs: Inputs, published: Published
    ) -> dict[Key, Reason]:
        """Of a KPI over others: their values came too late for it, are of another version, were backfilled or erased
        since, or stood before it began."""
        start, stop = _bounds(found)
        late = await store.late(self.pool, kpi.id, version, start, stop)
        too_late = {(row["series_key"], milliseconds(row["window_start"])) for row in late}
        began = {
            row["kpi_version"]: milliseconds(row["since"])
            for row in await store.caught_up(self.pool, [kpi.id])
        }.get(version)
        erased: list[int] = []
        for source in self.catalog.sources_of(kpi):
            rows = await store.erased(self.pool, source, start, stop)
            erased = sorted([*erased, *(milliseconds(row["event_time"]) for row in rows)])
        reasons: dict[Key, Reason] = {}
        for each in found:
            key, parts = each.key, inputs.parts.get(each.key, [])
            made = published.recorded.get(key)
            made_of = [milliseconds(part["recorded_at"]) for part in parts]
            if (key.series, key.start) in too_late:
                reasons[key] = "late"
            elif key in inputs.unsure:
                reasons[key] = "version"
            elif touched(key, erased):
                reasons[key] = "erased"
            elif made is None and began is not None and parts and max(made_of) <= began:
                reasons[key] = "unread"
            elif made is not None and await self._backfilled(key, parts, made):
                reasons[key] = "backfilled"
        return reasons

    async def _backfilled(self, key: Key, parts: Sequence[Mapping[str, Any]], made: int) -> bool:
        """Whether a value of an input was revised by a backfill after the window's own was made (ms)."""
        for part in parts:
            if milliseconds(part["recorded_at"]) <= made:
                continue
            rows = await store.backfilled(self.pool, part["kpi"], part["kpi_version"])
            if any(
                milliseconds(row["start"]) <= key.start < milliseconds(row["stop"])
                and key.stop <= milliseconds(row["closed_to"])
                for row in rows
            ):
                return True
        return False


def _bounds(found: Sequence[Difference]) -> tuple[datetime, datetime]:
    """From the first start to the last stop."""
    return moment(min(each.key.start for each in found)), moment(max(each.key.stop for each in found))
