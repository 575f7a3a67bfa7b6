"""Objectives: progress from the final windows of the KPIs that their key results name."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog
from libs.common.errors import BadMessage
from libs.common.events import OBSERVATION_SCHEMA, Observation
from libs.common.kafka import Record
from libs.common.registry import Codecs, Registry
from libs.common.stream.stored import Bad, Connection
from libs.common.wire import record as avro_record
from services.strategy import store
from services.strategy.core.objectives import Window, key_result, progress

log = logging.getLogger(__name__)

KEEP = timedelta(days=2)
"""Windows are kept this much longer than any key result needs."""


class ObjectiveKeeper:
    """The keeper of `kpi.observations`, and the loop that computes progress after it."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, registry: Registry) -> None:
        self.pool, self.catalog = pool, catalog
        self.codecs = Codecs(registry, OBSERVATION_SCHEMA)
        self.stale: set[str] = set()
        """KPIs with new windows."""

    def _needed(self) -> dict[str, timedelta]:
        """KPI → the longest stretch that a key result looks back."""
        needed: dict[str, timedelta] = {}
        for objective in self.catalog.objectives:
            for result in objective.key_results:
                needed[result.kpi] = max(needed.get(result.kpi, timedelta(0)), result.over)
        return needed

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """The windows of the KPIs that objectives need; the others are passed over unread."""
        needed = self._needed()
        rows, gone = [], []
        bad: Bad = []
        codecs = await self.codecs.of([record.value for record in records])
        for record in records:
            if (record.key or b"").decode().partition("|")[0] not in needed:
                continue
            try:
                seen = Observation.model_validate(avro_record(record.value, codecs))
            except BadMessage as error:
                bad.append((record, error))
                continue
            key = (seen.kpi, seen.kpi_version, seen.series_key, seen.window_start)
            if seen.status == "final":
                rows.append((*key, seen.window_end, seen.value, seen.count, seen.revision))
            elif seen.status == "retracted":
                gone.append(key)
            else:
                continue
            self.stale.add(seen.kpi)
        await store.drop_windows(connection, gone)
        await store.put_windows(connection, rows)
        return bad

    async def run(self, stopping: asyncio.Event) -> None:
        """Computes what is stale, at most once a second."""
        self.stale |= set(self._needed())
        while not stopping.is_set():
            if self.stale:
                stale, self.stale = self.stale, set()
                await self._compute(stale)
            await asyncio.sleep(1.0)

    def refresh(self) -> None:
        """Definitions changed."""
        self.stale |= {*self._needed(), ""}

    async def _compute(self, stale: set[str]) -> None:
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            for objective in self.catalog.objectives:
                if not stale & {"", *(result.kpi for result in objective.key_results)}:
                    continue
                results = []
                for result in objective.key_results:
                    version = await store.served_version(connection, result.kpi)
                    found = await store.windows_since(connection, result.kpi, version, result.over)
                    windows = [
                        Window(row["series_key"], row["window_end"], row["value"], row["count"])
                        for row in found
                    ]
                    results.append(key_result(result, windows))
                as_of = max((each["as_of"] for each in results if each["as_of"]), default=None)
                row = (
                    objective.id, objective.title, objective.owner, objective.framework, objective.perspective,
                    progress(objective, results), results, as_of, now,
                )  # fmt: skip
                await store.put_objective(connection, row)
            await store.keep_objectives(connection, [each.id for each in self.catalog.objectives])
            for kpi, over in self._needed().items():
                if kpi in stale:
                    await store.forget_windows(connection, kpi, over + KEEP)
