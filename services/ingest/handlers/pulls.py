"""Pulls: one task per source, whatever its connector, through the same validation and the same writer as a push.

The cursor is stored after the records up to it were accepted. A crash in between asks for them again, and the
dedup window answers that.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress

import asyncpg
import httpx

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Source
from libs.common.errors import Problem
from services.ingest import store
from services.ingest.core import answers
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Standing, portions
from services.ingest.handlers.connectors import CONNECTORS, Desk
from services.ingest.handlers.connectors.auth import Credentials
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.turns import listed
from services.ingest.handlers.writers import Writers

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
LONGEST_ASKED = 86_400.0
"""Seconds that an endpoint may ask us to stay away."""


class Pulls:
    """One task per source with `pull`; one of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, writers: Writers) -> None:
        self.pool, self.catalog, self.writers = pool, catalog, writers
        self.tasks: dict[str, tuple[Source, asyncio.Task[None]]] = {}
        self.changed = asyncio.Event()

    async def redefine(self, *_: object) -> None:
        self.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Starts, restarts and ends pulls as the catalog says."""
        try:
            while not stopping.is_set():
                self.changed.clear()
                wanted = {source.id: source for source in self.catalog.sources if source.pull}
                await self._end([id for id, (source, _) in self.tasks.items() if wanted.get(id) != source])
                for id in wanted.keys() - self.tasks.keys():
                    self.tasks[id] = (
                        wanted[id],
                        asyncio.create_task(self._pull(wanted[id]), name=f"pull {id}"),
                    )
                waits = [asyncio.create_task(event.wait()) for event in (self.changed, stopping)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        finally:
            await self._end(list(self.tasks))

    async def _end(self, ids: Iterable[str]) -> None:
        """Of two pulls of a source the one is over before the other begins: both would keep a cursor."""
        tasks = [self.tasks.pop(id)[1] for id in ids]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, source: Source) -> None:
        """Until cancelled: whatever goes wrong is told, and tried again."""
        assert source.pull is not None
        every, failures, known = source.pull.every.total_seconds(), 0, dict[str, None]()
        auth = Credentials(getattr(source.pull, "auth", None), self.writers.settings.secrets)
        async with httpx.AsyncClient(timeout=30, trust_env=False, auth=auth) as http:
            desk = Desk(settings=self.writers.settings, pool=self.pool, http=http)
            while True:
                try:
                    async for _ in self._round(desk, source, known):
                        failures = 0
                    failures, pause = 0, every
                except Exception as error:
                    failures += 1
                    pause = _pause(error, every, failures)
                    await self._failed(source, error, pause)
                await asyncio.sleep(pause)

    async def _failed(self, source: Source, error: Exception, pause: float) -> None:
        fields = {"source": source.id, "error": repr(error), "pause": round(pause, 1)}
        known = isinstance(error, (httpx.HTTPError, Problem, Unreadable, *store.UNREACHED))
        log.warning("pull failed", extra={"fields": fields}, exc_info=None if known else error)
        with suppress(*store.UNREACHED):
            await store.note_error(self.pool, source.id, repr(error)[:500], clock.now())

    async def _round(self, desk: Desk, source: Source, known: dict[str, None]) -> AsyncIterator[None]:
        """Hand in what the connector gives, and keep where the pull stands; something per page. What is `known` outlives
        the round."""
        assert source.pull is not None
        kind = source.pull.kind
        standing = Standing.of(*await store.standing(self.pool, source.id, kind))
        known.update(dict.fromkeys(key for key in standing.known if key not in known))
        standing.known = known
        async with aclosing(CONNECTORS[kind](desk, source, standing)) as pages:
            async for page in pages:
                statuses = await self._accept(source, standing.unknown(page))
                late = standing.settle(page, statuses, ids=source.event_id is not None)
                telemetry.LATE_ROWS.labels(source.id).inc(late)
                await self._keep(source, kind, standing)
                yield
        await self._keep(source, kind, standing)

    async def _accept(self, source: Source, records: list[bytes]) -> list[str]:
        """What became of each record. They are handed in as a request brings them, so much at a time: of what is more
        than there is room for nothing would ever be let in."""
        settings, statuses = self.writers.settings, list[str]()
        for some in portions(records, settings.max_records, settings.max_body):
            writer = self.writers.get(source.id)
            contract = writer.contract
            checked = await listed(contract.validator.texts(some))
            submission = Submission(contract, checked, unattended=True)
            await writer.submit(submission)
            statuses += [result["status"] for result in submission.results]
        return statuses

    async def _keep(self, source: Source, kind: str, standing: Standing) -> None:
        await store.set_standing(self.pool, source.id, kind, standing.cursor, standing.state(), clock.now())


def _pause(error: Exception, every: float, failures: int) -> float:
    """What the endpoint asks for; else longer each time, with jitter."""
    if isinstance(error, httpx.HTTPStatusError):
        asked = answers.asked_pause(error.response.headers.get("Retry-After", ""), clock.now())
        if asked is not None:
            return min(LONGEST_ASKED, asked)
    return min(LONGEST_PAUSE, min(every, 1.0) * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
