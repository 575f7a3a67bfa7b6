"""A writer for each source in force, and who of them takes a request."""

import asyncio

import asyncpg

from libs.common.catalog import Catalog, Source
from libs.common.errors import NotFound, Overloaded
from libs.common.kafka import answering, ensure_topics, read_all
from libs.common.topics import DEAD, used_by
from services.ingest.core.admission import Admission
from services.ingest.handlers.known import Known
from services.ingest.handlers.layout import Layout
from services.ingest.handlers.recalled import Letters
from services.ingest.handlers.refusals import absent, brokers_away
from services.ingest.handlers.vault import Vault
from services.ingest.handlers.writer import Writer
from services.ingest.settings import Settings


class Writers:
    """The writers of the sources in force; one of the service's loops."""

    def __init__(
        self, settings: Settings, catalog: Catalog, loaded: asyncio.Event, pool: asyncpg.Pool, vault: Vault
    ) -> None:
        self.settings, self.catalog, self.loaded, self.pool, self.vault = (
            settings,
            catalog,
            loaded,
            pool,
            vault,
        )
        self.admission = Admission(settings.max_queued_bytes, settings.max_queued)
        self.known = Known(settings, catalog)
        self.letters = Letters(lambda since: read_all(settings, DEAD.name, since=since, undecided=True))
        self.writers: dict[str, Writer] = {}
        self.changed = asyncio.Event()

    def find(self, source: str) -> Writer:
        """NotFound if there is no such source, Overloaded while its writer starts."""
        if not self.loaded.is_set():
            raise Overloaded("the catalog is being read", retry_after=1, scope="system", retryable=True)
        if self.catalog.source(source) is None:
            known = ", ".join(sorted(each.id for each in self.catalog.sources)) or "none"
            raise NotFound(
                f"there is no source {source}; there are: {known}",
                code="unknown_source",
                scope="source",
                source=source,
            )
        writer = self.writers.get(source)
        if writer is None or not writer.layout.count:
            raise absent(source)
        return writer

    def get(self, source: str) -> Writer:
        """As `find`; Overloaded also while it takes nothing, or the brokers do not answer."""
        writer = self.find(source)
        writer.check()
        if writer.is_stuck:
            raise brokers_away()
        return writer

    async def redefine(self, *_: object) -> None:
        self.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Starts a writer for each source that appears; one that fails ends the process."""
        if not await answering(self.settings, stopping):
            return
        await ensure_topics(self.settings, used_by("ingest"))
        async with asyncio.TaskGroup() as group:
            self.known.begin(group, stopping)
            while not stopping.is_set():
                self.changed.clear()
                is_loaded = self.loaded.is_set()  # else it is not known yet who reads a source
                for source in self.catalog.sources if is_loaded else ():
                    self._start(group, source, stopping)
                events = (self.changed if is_loaded else self.loaded, stopping)
                waits = [asyncio.create_task(event.wait()) for event in events]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    def _start(self, group: asyncio.TaskGroup, source: Source, stopping: asyncio.Event) -> None:
        schema_id, version = self.catalog.schema_id(source.id), self.catalog.version("source", source.id)
        if schema_id is None:
            return
        writer = self.writers.get(source.id)
        if writer is None:
            layout = Layout(self.settings, self.pool, self.catalog, source)
            writer = self.writers[source.id] = Writer(
                self.settings, self.admission, layout, self.known, self.vault, source, schema_id, version
            )
            group.create_task(writer.run(self.letters, stopping), name=f"writer {source.id}")
        elif writer.contract.version != version:
            writer.redefine(source, schema_id, version)
        elif writer.parking is not None:
            writer.parking.define()
