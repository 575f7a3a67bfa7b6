"""The parity check: every settled window once, compared with plain SQL (DuckDB) over its archived events.

A window is settled when the KPI's watermark is its lateness past the window's end; the value of a single event, when a
later one was published a while ago. A stretch of time is compared at a time, as long as its events are few enough for
one round; after each the loop rests nine times as long as it took, so that the check costs a tenth of a core at most.
Sessions are looked for further back until none may begin before what was read, within bounds. KPIs over others are
compared with SQL over their inputs' published values. The archive may be behind with events or values: what differs is
looked at again, and only what still differs after `PATIENCE_SECONDS`, when the events that the value was made of are
archived, is told. What came too late counts in windows that were backfilled since (`read.backfilled`), and after a
backfill that changed values all windows are compared again. Windows that differ since what they were made of cannot be
had again are left out, and counted by reason (`core.parity.Reason`).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import duckdb
import polars as pl

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Kpi
from libs.common.clock import milliseconds, moment
from libs.common.errors import DefinitionError
from libs.common.stream.stored import Connection
from services.quality import store
from services.quality.core.parity import Difference, Key, Reason, Span, dropped, reach, step
from services.quality.core.plain import Compared, Tables, compared
from services.quality.handlers.excuses import Excuses
from services.quality.handlers.incidents import observe
from services.quality.handlers.sides import ROUND, Inputs, Published, Sides, Stretch, first_of

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
SETTLE_SECONDS = 10.0
"""Single events have no watermark: those before one that was published so long ago are settled."""
LOOKED_BACK = timedelta(days=1)
"""Single events that come when their time was compared already are counted so far back."""
SHOWN = 20
"""Events, or values of inputs, of a differing window that are kept."""
FIRST_STRETCH = timedelta(days=1)


@dataclass
class Round:
    """What one round compared."""

    kpi: Kpi
    version: int
    stretch: Stretch
    published: Published
    compared: Compared
    inputs: Inputs | None
    """Of a KPI over others."""
    left: Counter[Reason]


class Parity:
    """One of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.pool, self.catalog = pool, catalog
        self.sides, self.excuses = Sides(pool, catalog), Excuses(pool, catalog)
        self.stretches: dict[str, timedelta] = {}
        self.doubts: dict[tuple[str, int], float] = {}
        """KPI and version → since when (monotonic) the stretch at hand has differed."""

        self.backfills: dict[tuple[str, int], set[str]] = {}
        """KPI and version → the backfills that its values were compared after."""

        self.newest: dict[tuple[str, int], tuple[datetime | None, datetime, float]] = {}
        """Of single events: up to when they are settled, and what will be `SETTLE_SECONDS` after a moment (monotonic)."""

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            for kpi in self.catalog.kpis:
                began = clock.monotonic()
                await self._attempt(kpi, self.catalog.version("kpi", kpi.id))
                if stopping.is_set():
                    return
                await asyncio.sleep(min(30.0, 9 * (clock.monotonic() - began)))
            await asyncio.sleep(1.0)

    async def _attempt(self, kpi: Kpi, version: int) -> None:
        """One KPI that cannot be compared stops neither the others nor the service."""
        try:
            await self._check(kpi, version)
        except (duckdb.Error, DefinitionError, pl.exceptions.PolarsError) as error:
            reason = str(error).partition("\n")[0]
            log.error("a KPI cannot be compared", extra={"fields": {"kpi": kpi.id, "reason": reason}})
            await self._explain(kpi, version, f"cannot be compared: {reason}")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("waiting", extra={"fields": {"loop": "quality.parity", "reason": repr(error)}})

    async def _explain(self, kpi: Kpi, version: int, reason: str) -> None:
        async with self.pool.acquire() as connection:
            await store.put_parity(connection, (kpi.id, version, None, 0, 0, None, reason, clock.now(), {}))

    async def _check(self, kpi: Kpi, version: int) -> None:
        """The next stretch of one KPI."""
        known = await store.parity_of(self.pool, kpi.id, version)
        if await self._begins_anew(kpi, version, known["checked_at"] if known else None):
            await self._explain(kpi, version, "")
            known = None
        stretch = await self._stretch(kpi, version, known["checked_to"] if known else None)
        if stretch is None:
            return
        published = await self.sides.published(kpi, version, stretch)
        inputs = None
        if kpi.over:
            inputs = await self.sides.of_inputs(kpi, published, stretch)
            found = inputs and await self._compared(kpi, inputs.tables, published, stretch, stretch[0])
        else:
            found = await self._over_events(kpi, version, published, stretch)
        if found is None:
            await self._too_many(kpi, version, stretch, len(published.figures))
            return
        left = Counter[Reason]({"long": len(found.unsure)})
        if kpi.window.each is not None and known and known["checked_to"]:
            left["late"] = await store.published_since(
                self.pool, kpi.id, version, stretch[0] - LOOKED_BACK, stretch[0], known["checked_at"]
            )
        await self._conclude(Round(kpi, version, stretch, published, found, inputs, left))

    async def _stretch(self, kpi: Kpi, version: int, checked_to: datetime | None) -> Stretch | None:
        """What is settled and was not compared yet, as much of it as one round takes."""
        row = await store.settled(self.pool, kpi.id, version)
        if row is None or row["newest"] is None:
            return None
        settled = row["watermark"]
        if kpi.window.each is not None:
            settled = self._settled_singly(kpi, version, row["newest"])
        if settled is None:
            return None
        lower = checked_to or row["first_end"] - timedelta(milliseconds=1)
        length = self.stretches.setdefault(kpi.id, FIRST_STRETCH)
        upper = min(lower + length, settled - kpi.lateness)
        return (lower, upper) if upper > lower else None

    def _settled_singly(self, kpi: Kpi, version: int, newest: datetime) -> datetime | None:
        now = clock.monotonic()
        settled, next, since = self.newest.get((kpi.id, version), (None, newest, now))
        if now - since >= SETTLE_SECONDS:
            settled, next, since = next, newest, now
        self.newest[kpi.id, version] = settled, next, since
        return settled

    async def _compared(
        self, kpi: Kpi, tables: Tables, published: Published, stretch: Stretch, start: datetime
    ) -> Compared | None:
        rows = sum(frame.height for name, frame in tables.frames.items() if not name.startswith("__"))
        if rows < ROUND // 4:
            self.stretches[kpi.id] = min(self.stretches[kpi.id] * 2, timedelta(days=366))
        bounds = milliseconds(stretch[0]), milliseconds(stretch[1])
        return await asyncio.to_thread(
            compared, kpi, self.catalog, tables, published.figures, bounds, milliseconds(start)
        )

    async def _over_events(
        self, kpi: Kpi, version: int, published: Published, stretch: Stretch
    ) -> Compared | None:
        """None if there are too many events. Sessions are looked for further back until it is sure where they begin."""
        lower, upper = stretch
        gap = kpi.window.session or timedelta(0)
        furthest = lower - reach(kpi)
        start = first_of(published, lower - gap if gap else furthest) - gap
        found = None
        while True:
            tables = await self.sides.of_events(kpi, version, start, upper)
            more = tables and await self._compared(kpi, tables, published, stretch, start)
            if more is None or not more.unsure or start <= furthest:
                return more or found
            found = more
            start = max(furthest, start - 2 * (lower - start))

    async def _too_many(self, kpi: Kpi, version: int, stretch: Stretch, windows: int) -> None:
        """A shorter stretch; windows that are too large by themselves are left out."""
        if self.stretches[kpi.id] > step(kpi):
            self.stretches[kpi.id] = max(self.stretches[kpi.id] / 2, step(kpi))
            return
        left = {"large": windows} if windows else {}
        row = (kpi.id, version, stretch[1], 0, 0, None, "", clock.now(), left)
        async with self.pool.acquire() as connection:
            await store.add_parity(connection, row)
        telemetry.PARITY_LEFT_OUT.labels(kpi.id, "large").inc(windows)

    async def _begins_anew(self, kpi: Kpi, version: int, checked_at: datetime | None) -> bool:
        """Whether a backfill has changed values since they were compared: then all are compared again."""
        rows = await store.backfills(self.pool, kpi.id, version)
        ended: set[str] = {row["id"] for row in rows}
        before = {row["id"] for row in rows if checked_at is not None and row["ended_at"] <= checked_at}
        known = self.backfills.setdefault((kpi.id, version), before)
        self.backfills[kpi.id, version] = ended
        return checked_at is not None and not ended <= known

    # --- what came of it ---------------------------------------------------------------------------------

    async def _reasons(self, round: Round) -> dict[Key, Reason]:
        """Why windows that differ are left out."""
        found = round.compared.found
        if not found:
            return {}
        if round.inputs is not None:
            return await self.excuses.of_inputs(
                round.kpi, round.version, found, round.inputs, round.published
            )
        return await self.excuses.of_events(round.kpi, round.version, round.compared)

    async def _conclude(self, round: Round) -> None:
        kpi, version = round.kpi, round.version
        reasons = await self._reasons(round)
        found = [each for each in round.compared.found if each.key not in reasons]
        if found:
            since = self.doubts.setdefault((kpi.id, version), clock.monotonic())
            if clock.monotonic() - since < PATIENCE_SECONDS or not await self._archived(round, found[0]):
                return
        if kpi.engine == "flink":
            gone = dropped(kpi, found)
            reasons |= dict.fromkeys(gone, "late")
            found = [each for each in found if each.key not in gone]
        self.doubts.pop((kpi.id, version), None)
        windows = round.compared.windows - len(reasons)
        left = round.left + Counter(reasons.values())
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            first = await self._shown(connection, round, found[0]) if found else None
            row = (kpi.id, version, round.stretch[1], windows, len(found), first, "", now, dict(left))
            total = await store.add_parity(connection, row)
            if found:
                made_of = "the values of their inputs" if kpi.over else "their events"
                await observe(
                    connection, source=self.catalog.sources_of(kpi)[0], rule=kpi.id, kind="parity",
                    severity="critical", owner=kpi.owner,
                    summary=f"{kpi.title}: {total['differing']} of {total['windows']} windows differ from plain SQL"
                    f" over {made_of}; see GET /v1/parity",
                    seen_at=moment(found[0].key.stop), now=now, assessed=total["windows"],
                    violations=total["differing"],
                )  # fmt: skip
                fields = {"kpi": kpi.id, "windows": len(found), "first": str(found[0])}
                log.error("values differ from batch", extra={"fields": fields})
        telemetry.PARITY.labels(kpi.id, "agreeing").inc(windows - len(found))
        telemetry.PARITY.labels(kpi.id, "differing").inc(len(found))
        for reason, count in left.items():
            telemetry.PARITY_LEFT_OUT.labels(kpi.id, reason).inc(count)

    async def _spans(
        self, connection: Connection | asyncpg.Pool, round: Round, key: Key
    ) -> Sequence[Span] | None:
        """The offset ranges of what was published; None if nothing was."""
        if key.place is not None:
            return [{"partition": key.place[0], "first": key.place[1], "last": key.place[1]}]
        return await store.ranges(connection, round.kpi.id, round.version, key.series, moment(key.start))

    async def _archived(self, round: Round, found: Difference) -> bool:
        """Whether the archive holds the events that a value was made of."""
        if round.kpi.source is None:
            return True
        spans = await self._spans(self.pool, round, found.key)
        ends = await store.ends(self.pool, round.kpi.source)
        return all(each["last"] <= ends.get(each["partition"], -1) for each in spans or ())

    async def _shown(self, connection: Connection, round: Round, found: Difference) -> dict[str, Any]:
        """The window with both inputs: the offset ranges of the one side; the events' places, or the inputs' values, of
        the other."""
        key = found.key
        spans = await self._spans(connection, round, key)
        places = round.compared.members.get(key, [])[:SHOWN]
        names = ("kpi", "kpi_version", "series_key", "revision", "value", "count")
        parts = round.inputs.parts.get(key, [])[:SHOWN] if round.inputs else []
        made_of = {
            "events": [{"partition": partition, "offset": offset} for partition, offset in places],
            "inputs": [{name: part[name] for name in names} for part in parts],
        }
        return {
            "series_key": key.series, "window_start": moment(key.start).isoformat(),
            "window_end": moment(key.stop).isoformat(),
            "published": found.published and {**asdict(found.published), "offsets": spans},
            "batch": found.batch and {**asdict(found.batch), **made_of},
        }  # fmt: skip
