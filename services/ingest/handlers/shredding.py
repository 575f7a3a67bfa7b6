"""Orders of erasure: a subject's key is deleted, and with it whatever was encrypted under it; so is the text behind a
token that names the subject. Deletions, the answers and the place on the topic are one database transaction.

While the database or the brokers are away this waits, and nothing else of ingest does.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

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
from services.ingest.handlers.vault import Vault
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

KEYS, TOKENS = "ingest.keys", "ingest.tokens"
AGAIN_SECONDS = 1.0


class Shredder:
    """Two of the service's loops: follows `erasures.subjects`, and sends the answers."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.settings, self.vault = settings, vault
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
            keys, tokens = await self.vault.shred(connection, subject.source, subject.field, subject.value)
        except Problem as error:
            raise TryLater(error.detail) from error
        now = clock.now()
        for name, count in ((KEYS, keys), (TOKENS, tokens)):
            if name not in subject.stores:
                continue
            event = DisposalChanged.build(
                id=f"{subject.id}/{name}", change="done", policy="erasure", store=name, source=subject.source,
                before=subject.ordered_at, rows_before=count, rows_deleted=count, rows_after=0, by="ingest",
                recorded_at=now, erasure=subject.id,
            )  # fmt: skip
            await put(connection, "ingest", DISPOSALS.name, event.id, event)
        log.info(
            "a subject's keys are deleted",
            extra={"fields": {"erasure": subject.id, "keys": keys, "tokens": tokens}},
        )

    async def follow(self, stopping: asyncio.Event) -> None:
        await _again_and_again("ingest.erasures", self.settings, self.orders.run, stopping)

    async def answer(self, stopping: asyncio.Event) -> None:
        await _again_and_again("ingest.outbox", self.settings, self.answers.run, stopping)


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
