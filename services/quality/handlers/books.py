"""The books: every settled minute whose figures do not balance is looked into, record by record.

A minute is settled when it ended `settled_seconds` ago (by then the transactions that were begun in it are decided)
and the archive has since passed all that its source's topic, the ledger and the dead letters held after that. What is
then still out is no delay. The topics are read again for it: the incident names the records that the archive does not
have, and those that are in no books. It ends by itself when all minutes balance, and by a person's hand for good: the
minutes of before are then left alone.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Source
from libs.common.database import storable
from libs.common.events import DeadLetter, LedgerEntry
from libs.common.kafka import Record, has_records, high_watermarks, read_between, span_of
from libs.common.topics import DEAD, EVENTS, LEDGER, REFERENCE
from services.quality.core.books import NAMED, Found, Line, Seen, compare, letters, told
from services.quality.handlers.incidents import observe, recover
from services.quality.settings import Settings
from services.quality.store import books as store

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
LOOKS_BACK = timedelta(days=1)
SCANNED = 200_000
"""Records of a topic that are read again for one minute; of a fuller one the books alone say how many are missing."""
AT_ONCE = 10
"""Minutes of a source that are looked into in one round."""

Ends = dict[tuple[str, int], int]
"""(topic, partition) → offset."""


class Books:
    """One of the service's loops."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.settings, self.pool, self.catalog = settings, pool, catalog
        self.noted: dict[str, tuple[datetime, Ends]] = {}
        """Source → where its topics ended then; the archive has not passed it all yet."""
        self.settled: dict[str, datetime] = {}
        """Source → up to when all that was committed is archived."""
        self.found: dict[tuple[str, datetime], tuple[Line, Found]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            for source in self.catalog.sources:
                try:
                    await self._check(source, clock.now())
                except (
                    asyncpg.PostgresError,
                    asyncpg.InterfaceError,
                    KafkaError,
                    OSError,
                    TimeoutError,
                ) as error:
                    fields = {"loop": "quality.books", "source": source.id, "reason": repr(error)}
                    log.warning("waiting", extra={"fields": fields})
            await asyncio.sleep(EVERY_SECONDS)

    async def _check(self, source: Source, now: datetime) -> None:
        since, accepted = await store.books_since(self.pool, source.id, now - LOOKS_BACK)
        until = now - timedelta(minutes=1, seconds=self.settings.settled_seconds)
        lines = [Line(**row) for row in await store.unbalanced(self.pool, source.id, since, until)]
        lines = [line for line in lines if accepted is None or line.minute > accepted]
        if any(not self._is_settled(source, line) for line in lines):
            await self._settle(source, now)
            if source.id not in self.settled:  # since the start nothing is known: an incident stays as it is
                return
            lines = [line for line in lines if self._is_settled(source, line)]
        found, out, looked = Found(), list[Line](), 0
        for line in lines:
            known = self.found.get((source.id, line.minute))
            if known is None or known[0] != line:
                if looked < AT_ONCE:
                    async with asyncio.timeout(60):
                        known = line, await self._look(source, line)
                elif line.accepted == 0:  # nothing of it is in the books: no need to look
                    known = line, Found(unbooked=0 if source.format == "json" else line.landed)
                else:
                    return  # the rest in the next round, and then the incident
                self.found[source.id, line.minute] = known
                looked += 1
            if known[1].missing or known[1].unbooked:
                out.append(line)
                found.add(known[1])
        present = {line.minute for line in lines}
        for key in [key for key in self.found if key[0] == source.id and key[1] not in present]:
            del self.found[key]
        await self._tell(source, out, found, now)

    def _is_settled(self, source: Source, line: Line) -> bool:
        upto = self.settled.get(source.id)
        return upto is not None and line.end + timedelta(seconds=self.settings.settled_seconds) <= upto

    async def _settle(self, source: Source, now: datetime) -> None:
        """Note where the source's topics end; once the archive is there, all from before is settled."""
        if source.id not in self.noted:
            self.noted[source.id] = now, await self._ends(source)
        at, ends = self.noted[source.id]
        archived = await store.archived(self.pool)
        for (topic, partition), end in ends.items():
            place = archived.get((topic, partition), 0)
            tp = TopicPartition(self.settings.prefix + topic, partition)
            if place < end:  # what is left may be the marks of transactions
                async with asyncio.timeout(5):
                    if await has_records(self.settings, tp, place, end):
                        return
        self.settled[source.id] = at
        del self.noted[source.id]

    async def _ends(self, source: Source) -> Ends:
        topics = (_topic(source), LEDGER.name, DEAD.name)
        found = {name: await high_watermarks(self.settings, self.settings.prefix + name) for name in topics}
        return {(name, partition): end for name, ends in found.items() for partition, end in ends.items()}

    async def _look(self, source: Source, line: Line) -> Found:
        """Which records they are."""
        found = await self._letters(source, line) if line.letters > 0 else Found()
        if line.events == 0:
            return found
        topic = _topic(source)
        spans = await self._spans(topic, line)
        if source.reference or sum(last - first for first, last in spans.values()) > SCANNED:
            found.add(Found(missing=max(0, line.events)))
            return found
        hidden = _is_hidden(source)
        events = [
            _seen(topic, partition, record, hidden=hidden)
            for partition, (first, last) in spans.items()
            async for record in self._records(topic, partition, first, last)
            if record.value
        ]
        accounted = await store.accounted(self.pool, source.id, topic, spans)
        published: Counter[str] = Counter()
        first, last = (await self._spans(LEDGER.name, line)).get(0, (0, 0))
        async for record in self._records(LEDGER.name, 0, first, last):
            if record.key == source.id.encode():
                entry = LedgerEntry.decode(record.value or b"")
                if entry.minute == line.minute:
                    published[entry.receipt] += entry.published
        found.add(compare(line, events, accounted, published, produced_by_others=source.format == "json"))
        return found

    async def _letters(self, source: Source, line: Line) -> Found:
        """The dead letters of a minute that are not archived."""
        first, last = (await self._spans(DEAD.name, line)).get(0, (0, 0))
        if last - first > SCANNED:
            return Found(missing=line.letters)
        written: list[Seen] = []
        async for record in self._records(DEAD.name, 0, first, last):
            if record.key == source.id.encode():
                letter = DeadLetter.decode(record.value or b"")
                if letter.minute == line.minute:
                    written.append(Seen(DEAD.name, 0, record.offset, letter.id, letter.receipt))
        return letters(line, written, await store.letters_kept(self.pool, source.id, line.minute))

    async def _spans(self, topic: str, line: Line) -> dict[int, tuple[int, int]]:
        """Where a minute lies on a topic: what ingest writes is stamped with its arrival."""
        return await span_of(
            self.settings, topic, clock.milliseconds(line.minute), clock.milliseconds(line.end)
        )

    async def _records(self, topic: str, partition: int, first: int, last: int) -> AsyncIterator[Record]:
        tp = TopicPartition(self.settings.prefix + topic, partition)
        async for records in read_between(self.settings, tp, first, last):
            for record in records:
                yield record

    async def _tell(self, source: Source, lines: Iterable[Line], found: Found, now: datetime) -> None:
        """The incident as it is now, or its end."""
        lines = list(lines)
        telemetry.LEDGER_IMBALANCE.labels(source.id, "not_archived").set(found.missing)
        telemetry.LEDGER_IMBALANCE.labels(source.id, "not_in_books").set(found.unbooked)
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"books {source.id}")
            if not lines:
                await recover(connection, source.id, "ledger", "transport", now)
                return
            summary = f"{source.title}: {told(lines, found)}"
            await observe(
                connection, source=source.id, rule=None, kind="ledger",
                severity="critical" if found.missing else "info", owner=source.owner, summary=summary,
                seen_at=min(line.minute for line in lines), now=now, assessed=sum(line.accepted for line in lines),
                violations=found.missing + found.unbooked, missing=found.named[:NAMED],
            )  # fmt: skip


def _topic(source: Source) -> str:
    return (REFERENCE if source.reference else EVENTS).of(source.id)


def _is_hidden(source: Source) -> bool:
    """Whether its ids are personal: an incident outlives the erasure of a subject, and holds places alone."""
    field = source.field(source.event_id or "")
    return field is not None and field.classification in ("personal", "sensitive")


def _seen(topic: str, partition: int, record: Record, *, hidden: bool) -> Seen:
    id = None if hidden else _header(record, "ce_id")
    return Seen(topic, partition, record.offset, id, _header(record, "sx-receipt"))


def _header(record: Record, name: str) -> str | None:
    found = next((value for key, value in record.headers if key == name), None)
    return None if found is None else storable(found.decode("utf-8", "replace"))
