"""Pull connectors: HTTP polling with a cursor, through the same validation and the same writer as a push.

The cursor is stored after the records up to it were accepted. A crash in between asks for them again, and the
dedup window answers that.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx
import msgspec

from libs.common import clock
from libs.common.catalog import Catalog, Source
from libs.common.errors import Problem
from services.ingest import store
from services.ingest.core.records import Bad
from services.ingest.handlers.writers import Submission, Writers

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0


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
        assert source.pull is not None
        failures = 0
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                try:
                    more = await self._page(http, source)
                    failures, pause = 0, 0.0 if more else source.pull.every.total_seconds()
                except (httpx.HTTPError, Problem, Unreadable) as error:
                    failures += 1
                    pause = _pause(error, source.pull.every.total_seconds(), failures)
                    log.warning(
                        "pull failed",
                        extra={"fields": {"source": source.id, "error": repr(error), "pause": pause}},
                    )
                    await store.note_error(self.pool, source.id, repr(error)[:500], clock.now())
                await asyncio.sleep(pause)

    async def _page(self, http: httpx.AsyncClient, source: Source) -> bool:
        """Fetch one page and hand it in; whether there may be more at once."""
        pull = source.pull
        assert pull is not None
        cursor = await store.cursor_of(self.pool, source.id)
        parameters: dict[str, Any] = {} if cursor is None else {pull.cursor_parameter: cursor}
        if pull.page_size_parameter:
            parameters[pull.page_size_parameter] = pull.page_size
        response = await http.get(pull.url, params=parameters)
        response.raise_for_status()
        try:
            answer = msgspec.json.decode(response.content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable(f"the answer is not JSON: {error}") from error
        records = _at(answer, pull.records)
        if not isinstance(records, list):
            raise Unreadable(f"there is no list of records at {pull.records or 'the top'} of the answer")
        writer = self.writers.get(source.id)
        checked = writer.validator.texts(msgspec.json.encode(each) for each in records)
        submission = Submission(checked)
        await writer.submit(submission)
        refused = [each for each in checked if isinstance(each, Bad)]
        if refused and source.on_malformed == "refuse":
            log.warning(
                "pulled records refused",
                extra={
                    "fields": {"source": source.id, "refused": len(refused), "first": refused[0].error.reason}
                },
            )
        last = records[-1] if records else None
        found = _at(answer if pull.cursor_of == "answer" else last, pull.cursor_field)
        following = None if found is None else str(found)
        await store.set_cursor(self.pool, source.id, following or cursor, clock.now())
        return bool(records) and following is not None and following != cursor


class Unreadable(Exception):
    """The endpoint answered something else than was agreed."""


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; None where it leads nowhere."""
    for part in path.split(".") if path else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _pause(error: Exception, every: float, failures: int) -> float:
    """Retry-After where the endpoint says so; else longer each time, with jitter."""
    if isinstance(error, httpx.HTTPStatusError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(LONGEST_PAUSE, float(asked))
    return min(LONGEST_PAUSE, min(every, 1.0) * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
