"""Pull connectors: HTTP polling with a cursor, through the same validation and the same writer as a push.

The cursor is stored after the records up to it were accepted. A crash in between asks for them again, and the
dedup window answers that.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg
import httpx

from libs.common import clock
from libs.common.catalog import Catalog, Source
from libs.common.errors import Problem
from services.ingest import store
from services.ingest.core import answers
from services.ingest.core.answers import Unreadable
from services.ingest.handlers.writers import Submission, Writers

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
LONGEST_ASKED = 86_400.0
"""Seconds that an endpoint may ask us to stay away."""
MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
MOST_EMPTY = 100
"""Pages without a record that are followed at once; then it is the next round's turn."""


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
                for id, (source, task) in list(self.tasks.items()):
                    if wanted.get(id) != source:
                        task.cancel()
                        del self.tasks[id]
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
            for _, task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self.tasks.values()), return_exceptions=True)

    async def _pull(self, source: Source) -> None:
        """Until cancelled: whatever goes wrong is told, and tried again."""
        assert source.pull is not None
        every, failures, empty = source.pull.every.total_seconds(), 0, 0
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                try:
                    records, more = await self._page(http, source)
                    failures, empty = 0, 0 if records else empty + 1
                    pause = 0.0 if more and empty < MOST_EMPTY else every
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

    async def _page(self, http: httpx.AsyncClient, source: Source) -> tuple[int, bool]:
        """Fetch one page and hand it in: how many records, and whether there may be more at once."""
        pull = source.pull
        assert pull is not None
        cursor = await store.cursor_of(self.pool, source.id)
        parameters: dict[str, Any] = {} if cursor is None else {pull.cursor_parameter: cursor}
        if pull.page_size_parameter:
            parameters[pull.page_size_parameter] = pull.page_size
        answer = await _answer(http, pull.url, parameters)
        records = answers.list_at(answer, pull.records)
        writer = self.writers.get(source.id)
        await writer.submit(Submission(writer.validator.texts(records), unattended=True))
        last = records[-1] if records else None
        following = answers.text_at(answer if pull.cursor_of == "answer" else last, pull.cursor_field)
        await store.set_cursor(self.pool, source.id, following or cursor, clock.now())
        return len(records), following is not None and following != cursor


async def _answer(http: httpx.AsyncClient, url: str, parameters: Mapping[str, Any]) -> bytes:
    body = bytearray()
    async with http.stream("GET", url, params=parameters) as response:
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise Unreadable(f"the answer has more than {MOST_BYTES:,} bytes: ask for smaller pages")
    return bytes(body)


def _pause(error: Exception, every: float, failures: int) -> float:
    """What the endpoint asks for; else longer each time, with jitter."""
    if isinstance(error, httpx.HTTPStatusError):
        asked = answers.asked_pause(error.response.headers.get("Retry-After", ""), clock.now())
        if asked is not None:
            return min(LONGEST_ASKED, asked)
    return min(LONGEST_PAUSE, min(every, 1.0) * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
