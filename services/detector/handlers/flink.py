"""The KPIs of `engine: flink`: one job each on the cluster, made the same as the catalog says, again and again.

A job's name says what it is (`sextant <prefix><kpi>@<version> <digest of its statements>`), so nothing else need be
remembered: what runs and is wanted stays, what is no longer wanted is cancelled, what is missing is submitted. A job that
is submitted reads its topic from the beginning; its values have the same keys and revisions whenever they are made, so
that consumers, who upsert, see them once.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from libs.common import clock
from libs.common.catalog import Catalog
from libs.common.errors import DefinitionError, TryLater
from libs.common.kafka import ensure_topics
from libs.common.topics import EVENTS
from libs.common.twins import flink
from libs.common.twins.flink_tables import Place
from services.detector.handlers.cluster import ENDED, Cluster, Job, Refused
from services.detector.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
"""Until a job that was refused, or has ended, is submitted again."""
UNSET = "runs on Flink, and SEXTANT_FLINK and SEXTANT_FLINK_GATEWAY do not say where that is"


@dataclass(frozen=True)
class Wanted:
    """A KPI's job as the catalog has it."""

    kpi: str
    version: int
    name: str
    statements: tuple[str, ...]


class Jobs:
    """`leads`: whether this process, of several, is the one that submits."""

    def __init__(
        self, settings: Settings, catalog: Catalog, cluster: Cluster | None, leads: Callable[[], bool]
    ) -> None:
        self.settings, self.catalog, self.cluster, self.leads = settings, catalog, cluster, leads
        self.faults: dict[str, str] = {}
        """KPI → why it does not run."""
        self.unreachable: str | None = None
        self.running: list[dict[str, Any]] = []
        self.not_before: dict[str, float] = {}
        """Job → when it may be submitted again (monotonic)."""

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
        if self.cluster is not None:
            await self.cluster.close()

    async def look(self) -> None:
        """Compare what runs with what should, once, and mend it."""
        kpis = [kpi.id for kpi in self.catalog.kpis if kpi.engine == "flink"]
        if self.cluster is None:
            self.faults = dict.fromkeys(kpis, UNSET)
            return
        if not kpis and not self.running and self.unreachable is None and not self.leads():
            return
        try:
            await self._mend(self.cluster, self._wanted(kpis))
            self.unreachable = None
        except TryLater as error:
            if self.unreachable is None and kpis:
                log.warning("Flink does not answer", extra={"fields": {"error": str(error)}})
            self.unreachable = str(error)

    def state(self) -> dict[str, Any]:
        """For `/v1/state`."""
        return {"cluster": self.settings.flink, "unreachable": self.unreachable, "jobs": self.running}

    def _wanted(self, kpis: list[str]) -> list[Wanted]:
        wanted, faults = list[Wanted](), dict[str, str]()
        place = Place(self.settings.kafka, self.settings.registry, self.settings.prefix)
        for id in kpis:
            kpi, version = self.catalog.kpi(id), self.catalog.version("kpi", id)
            assert kpi is not None
            try:
                statements = flink.script([(kpi, version)], self.catalog, place, f"flink.{id}@{version}")
            except DefinitionError as error:
                faults[id] = str(error)
                continue
            digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()[:12]
            wanted.append(Wanted(id, version, f"{self._mark}{id}@{version} {digest}", tuple(statements)))
        refused = {job: text for job, text in self.faults.items() if job in kpis and job not in faults}
        self.faults = refused | faults
        return wanted

    @property
    def _mark(self) -> str:
        """How the names of this mesh's jobs begin."""
        return f"sextant {self.settings.prefix}"

    def _is_ours(self, job: Job) -> bool:
        """A KPI's id has no dot, a prefix ends with one: no mesh takes another's jobs for its own."""
        return job.name.startswith(self._mark) and "." not in job.name.removeprefix(self._mark).split("@")[0]

    async def _mend(self, cluster: Cluster, wanted: list[Wanted]) -> None:
        ours = [job for job in await cluster.jobs() if self._is_ours(job)]
        alive = [job for job in ours if job.state not in ENDED]
        if self.leads():
            names = {each.name for each in wanted}
            first = {job.name: job for job in sorted(alive, key=lambda job: -job.started)}
            for job in alive:
                if job.name not in names or job.id != first[job.name].id:
                    await cluster.cancel(job.id)
                    log.info("a Flink job is cancelled", extra={"fields": {"job": job.name}})
            for each in wanted:
                if each.name not in first and clock.monotonic() >= self.not_before.get(each.name, 0.0):
                    await self._submit(cluster, each)
            ours = [job for job in await cluster.jobs() if self._is_ours(job)]
        self.running = [await self._shown(cluster, each, ours) for each in wanted]

    async def _submit(self, cluster: Cluster, wanted: Wanted) -> None:
        self.not_before[wanted.name] = clock.monotonic() + PATIENCE_SECONDS
        kpi = self.catalog.kpi(wanted.kpi)
        sources = self.catalog.sources_of(kpi) if kpi is not None else ()
        found = [source for id in sources if (source := self.catalog.source(id)) is not None]
        await ensure_topics(self.settings, [(EVENTS.of(each.id), EVENTS, each.partitions) for each in found])
        parallelism = min([self.settings.flink_parallelism, *(each.partitions for each in found)])
        more = {
            "execution.checkpointing.interval": f"{int(self.settings.flink_checkpoint_seconds * 1000)} ms",
            "parallelism.default": str(parallelism),
        }
        try:
            await cluster.submit(wanted.name, wanted.statements, flink.SETTINGS | more)
        except Refused as error:
            self.faults[wanted.kpi] = str(error)
            log.error("Flink refuses a KPI", extra={"fields": {"kpi": wanted.kpi, "error": str(error)}})
            return
        self.faults.pop(wanted.kpi, None)
        log.info("a Flink job is submitted", extra={"fields": {"job": wanted.name}})

    async def _shown(self, cluster: Cluster, wanted: Wanted, ours: list[Job]) -> dict[str, Any]:
        jobs = sorted((job for job in ours if job.name == wanted.name), key=lambda job: job.started)
        job = jobs[-1] if jobs else None
        troubled = job is not None and job.state not in ("RUNNING", "FINISHED", "CREATED", "INITIALIZING")
        return {
            "kpi": wanted.kpi,
            "version": wanted.version,
            "job": job.id if job else None,
            "state": job.state if job else "not submitted",
            "fault": await cluster.fault(job.id) if job and troubled else self.faults.get(wanted.kpi),
        }
