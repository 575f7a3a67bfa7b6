"""Orders of erasure: what is parked of a subject is taken out; its key is deleted, and with it whatever was encrypted
under it; so is the text behind a token that names it.

What is parked goes in a transaction of the source's writer, and the answer with it. Deletions in the vault, their answers
and the place on the topic are one database transaction, which comes after: a kill in between has the order carried out
again, finds nothing parked any more, and the first answer counts.

While the database or the brokers are away this waits, and nothing else of ingest does.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from libs.common import clock
from libs.common.errors import Problem, TryLater
from libs.common.events import DisposalChanged, ErasureSubject
from libs.common.kafka import Record, answering, ensure_topics
from libs.common.outbox import Publisher, put
from libs.common.service import Loop, Readiness
from libs.common.stream import StoredLoop
from libs.common.stream.stored import Bad, Connection, parsed
from libs.common.topics import DISPOSALS, SUBJECTS
from services.ingest import store
from services.ingest.core.parked import Parked
from services.ingest.handlers.batch import Batch
from services.ingest.handlers.parking import MOST
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.vault import Vault, no_secret
from services.ingest.handlers.writers import Writer, Writers
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

PARKED, KEYS, TOKENS = "ingest.parked", "ingest.keys", "ingest.tokens"
AGAIN_SECONDS = 1.0


class Shredder:
    """Two of the service's loops: follows `erasures.subjects`, and sends the answers."""

    def __init__(self, settings: Settings, vault: Vault, writers: Writers) -> None:
        self.settings, self.vault, self.writers = settings, vault, writers
        # Not parts of the service's readiness: pushes go on without the database.
        self.orders = StoredLoop(settings, "ingest.erasures", vault.pool, self.keep, Readiness())
        self.orders.follow([SUBJECTS.name])
        self.answers = Publisher(settings, "ingest", vault.pool, Readiness(), every=1.0)

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        subjects, bad = parsed(ErasureSubject, records)
        for _, subject in subjects:
            await self._shred(connection, subject)
        return bad

    async def _shred(self, connection: Connection, subject: ErasureSubject) -> None:
        try:
            if PARKED in subject.stores:
                await unpark(self.writers.get(subject.source), subject)
            keys, tokens = await self.vault.shred(connection, subject.source, subject.field, subject.value)
        except Problem as error:
            raise TryLater(error.detail) from error
        now = clock.now()
        for name, count in ((KEYS, keys), (TOKENS, tokens)):
            if name in subject.stores:
                event = _answer(subject, name, count, now)
                await put(connection, "ingest", DISPOSALS.name, event.id, event)
        log.info(
            "a subject's keys are deleted",
            extra={"fields": {"erasure": subject.id, "keys": keys, "tokens": tokens}},
        )

    async def follow(self, stopping: asyncio.Event) -> None:
        await _again_and_again("ingest.erasures", self.settings, self.orders.run, stopping)

    async def answer(self, stopping: asyncio.Event) -> None:
        await _again_and_again("ingest.outbox", self.settings, self.answers.run, stopping)


async def unpark(writer: Writer, subject: ErasureSubject) -> None:
    """Take out what waits of a subject since before the order, and answer, at once; Problem if the writer takes nothing.

    What is parked later is a new fact. What is published meanwhile says by its headers that it is none.
    """
    waiting = await _waiting(writer, subject)

    def done(batch: Batch) -> None:
        count = 0 if writer.parking is None else writer.parking.erase(batch, waiting)
        event = _answer(subject, PARKED, count, batch.now)
        batch.others[DISPOSALS.name].append((event.id.encode(), event.encode(), []))

    await writer.submit(Submission(writer.contract, [], does=done), writer.settings.confirm_seconds)


async def _waiting(writer: Writer, subject: ErasureSubject) -> list[Parked]:
    """Looked for in pieces: nothing else is done during one."""
    if writer.parking is None:
        return []
    minimiser = writer.contract.minimiser
    if minimiser is not None and minimiser.lacks:  # what they would be published as is not known
        raise no_secret(minimiser.lacks[0])
    ordered, found = clock.milliseconds(subject.ordered_at), list[Parked]()
    before = [event for event in writer.parking.lot.events.values() if event.at <= ordered]
    for start in range(0, len(before), MOST):
        piece = before[start : start + MOST]
        found += [event for event in piece if writer.parking.names(event, subject.field, subject.value)]
        await asyncio.sleep(0)
    return found


def _answer(subject: ErasureSubject, store: str, count: int, now: datetime) -> DisposalChanged:
    return DisposalChanged.build(
        id=f"{subject.id}/{store}", change="done", policy="erasure", store=store, source=subject.source,
        before=subject.ordered_at, rows_before=count, rows_deleted=count, rows_after=0, by="ingest",
        recorded_at=now, erasure=subject.id,
    )  # fmt: skip


async def _again_and_again(name: str, settings: Settings, run: Loop, stopping: asyncio.Event) -> None:
    """Until stopping, whatever is away in between."""
    while not stopping.is_set():
        try:
            if await answering(settings, stopping):
                await ensure_topics(
                    settings, [(each.name, each, each.partitions) for each in (SUBJECTS, DISPOSALS)]
                )
                await run(stopping)
        except (KafkaError, *store.UNREACHED) as error:
            log.warning("waiting", extra={"fields": {"loop": name, "reason": repr(error)}})
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), AGAIN_SECONDS)
