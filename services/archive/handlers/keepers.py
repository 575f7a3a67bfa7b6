"""What the archive does with a batch of each topic."""

import base64
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer, TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog
from libs.common.database import storable
from libs.common.errors import BadMessage, TryLater
from libs.common.events import (
    OBSERVATION_SCHEMA,
    BackfillChanged,
    DeadLetter,
    DisposalChanged,
    ErasureSubject,
    EventsWithdrawn,
    Expectation,
    LateEvents,
    LedgerEntry,
    SignalChanged,
    VersionReady,
)
from libs.common.kafka import Record
from libs.common.registry import Codecs
from libs.common.settings import ServiceSettings
from libs.common.stream.stored import Bad, Connection, parsed
from libs.common.topics import (
    BACKFILLS,
    DEAD,
    DISPOSALS,
    EXPECTATIONS,
    LATE,
    LEDGER,
    REFERENCE,
    SIGNALS,
    SUBJECTS,
    VERSIONS,
    WITHDRAWALS,
)
from libs.common.wire import record as avro_record
from services.archive import store
from services.archive.handlers.rows import event_rows, reference_rows, text_of
from services.archive.store import withdrawals

log = logging.getLogger(__name__)


class Keepers:
    """The keeper of every topic; `facts` serves the JSON topics, by name."""

    def __init__(
        self, settings: ServiceSettings, catalog: Catalog, codecs: Codecs, producer: AIOKafkaProducer
    ) -> None:
        self.settings, self.catalog, self.codecs, self.producer = settings, catalog, codecs, producer
        self.observed = Codecs(codecs.registry, OBSERVATION_SCHEMA)
        self.looked: dict[tuple[str, int], datetime] = {}
        """(KPI, version) → end of its newest window when silent series were last looked for."""
        self.end_of: Callable[[TopicPartition], int | None] = lambda tp: None
        """The end of a partition as last heard from the broker."""

    async def events(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """`events.<source>` and `reference.<source>`; control records are no events."""
        topic = tp.topic.removeprefix(self.settings.prefix)
        source = self.catalog.source(topic.partition(".")[2])
        if source is None:
            raise TryLater(f"the catalog does not say yet what {topic} is")
        data = [record for record in records if record.value]
        values = [record.value for record in data]
        frame, failed = await self.codecs.events(source, values)
        bad: Bad = [(data[index], error) for index, error in failed]
        now = clock.now()
        if topic.startswith(REFERENCE.of("")):
            rows, minutes = reference_rows(source, data, frame, now)
            await store.upsert_references(connection, rows)
            gone = [text_of(record.key) or "" for record in records if record.value is None and record.key]
            await store.delete_references(connection, source.id, gone)
        else:
            rows, minutes, timeless = event_rows(source, tp.partition, data, frame, now)
            bad += timeless
            await store.copy(connection, "events", store.EVENT_COLUMNS, rows)
        await store.add_landed(connection, source.id, minutes)
        await store.note_end(
            connection, topic, tp.partition, max(self.end_of(tp) or 0, records[-1].offset + 1)
        )
        return bad

    async def rested(self, pool: asyncpg.Pool, tp: TopicPartition, next_offset: int) -> None:
        """A topic of `events` was read to its end: what the marks of transactions take of it is nothing to wait for."""
        await store.note_read(pool, tp.topic.removeprefix(self.settings.prefix), tp.partition, next_offset)

    async def observations(
        self, connection: Connection, tp: TopicPartition, records: Sequence[Record]
    ) -> Bad:
        """Every revision into the hypertable, the newest into `latest`."""
        codecs = await self.observed.of([record.value for record in records])
        rows: list[tuple[Any, ...]] = []
        bad: Bad = []
        for record in records:
            try:
                found = avro_record(record.value, codecs)
                rows.append(tuple(found[name] for name in store.OBSERVATION_COLUMNS))
            except BadMessage as error:
                bad.append((record, error))
        if rows:
            await store.copy(connection, "observations", store.OBSERVATION_COLUMNS, rows)
            newest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
            retracted = []
            for row in rows:
                key, place = (row[0], row[1], row[2]), (row[4], row[6])
                if row[7] == "retracted":
                    retracted.append((*key, row[4]))
                    if key in newest and newest[key][4] == row[4]:
                        del newest[key]
                elif key not in newest or place > (newest[key][4], newest[key][6]):
                    newest[key] = row
            await store.withdraw_latest(connection, retracted)
            await store.upsert_latest(connection, [newest[key] for key in sorted(newest)])
            await self._forget_silent(connection, newest.values())
        return bad

    async def _forget_silent(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Series that have been silent for long leave `latest`; looked for whenever a twentieth of that has passed."""
        ends: dict[tuple[str, int], datetime] = {}
        for row in rows:
            ends[row[0], row[1]] = max(row[5], ends.get((row[0], row[1]), row[5]))
        for (id, version), end in ends.items():
            kpi = self.catalog.kpi(id)
            if (
                kpi is None
                or end - self.looked.get((id, version), end - kpi.forget_after) < kpi.forget_after / 20
            ):
                continue
            self.looked[id, version] = end
            await store.forget_latest(connection, id, version, kpi.forget_after)

    async def facts(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """The JSON topics."""
        keepers = {
            DEAD.name: self._dead_letters,
            LEDGER.name: self._ledger,
            EXPECTATIONS.name: self._expectations,
            LATE.name: self._late,
            SIGNALS.name: self._signals,
            DISPOSALS.name: self._disposals,
            VERSIONS.name: self._versions,
            SUBJECTS.name: self._subjects,
            BACKFILLS.name: self._backfills,
            WITHDRAWALS.name: self._withdrawals,
        }
        return await keepers[tp.topic.removeprefix(self.settings.prefix)](connection, records)

    async def _ledger(self, connection: Connection, records: Sequence[Record]) -> Bad:
        entries, bad = parsed(LedgerEntry, records)
        sums: dict[tuple[Any, ...], Counter[str]] = {}
        for _, entry in entries:
            total = sums.setdefault((entry.source, entry.minute), Counter())
            total.update(
                accepted=entry.accepted,
                published=entry.published,
                duplicate=entry.duplicate,
                dead_lettered=entry.dead_lettered,
                parked=entry.parked,
                erased=entry.erased,
            )
        names = ("accepted", "published", "duplicate", "dead_lettered", "parked", "erased")
        rows = [(*key, *(total[name] for name in names)) for key, total in sorted(sums.items())]
        await store.add_ledger(connection, rows)
        return bad

    async def _dead_letters(self, connection: Connection, records: Sequence[Record]) -> Bad:
        letters, bad = parsed(DeadLetter, records)
        erased = await store.erased_letters(connection, [letter.id for _, letter in letters])
        now = clock.now()
        rows = [
            (
                letter.id, letter.source, letter.stage, letter.error, storable(letter.reason),
                letter.field and storable(letter.field), letter.value and storable(letter.value),
                letter.rule and storable(letter.rule), letter.topic, letter.partition, letter.offset,
                base64.b64decode(letter.payload_b64),
                {storable(name): storable(text) for name, text in letter.headers.items()}, letter.attempts,
                letter.first_seen, letter.last_seen, letter.service, letter.receipt, letter.minute, now,
                letter.code, letter.schema_ids, letter.code_version, letter.trace_id,
            )
            for _, letter in letters
            if letter.id not in erased
        ]  # fmt: skip
        await store.add_dead_letters(connection, rows)
        for record, error in bad:
            log.error(
                "a dead letter cannot be read",
                extra={"fields": {"offset": record.offset, "error": error.reason}},
            )
        return []

    async def _expectations(self, connection: Connection, records: Sequence[Record]) -> Bad:
        found, bad = parsed(Expectation, records)
        rows = [tuple(getattr(event, name) for name in store.EXPECTATION_COLUMNS) for _, event in found]
        await store.copy(connection, "expectations", store.EXPECTATION_COLUMNS, rows)
        return bad

    async def _late(self, connection: Connection, records: Sequence[Record]) -> Bad:
        found, bad = parsed(LateEvents, records)
        rows = [tuple(getattr(event, name) for name in store.LATE_COLUMNS) for _, event in found]
        await store.copy(connection, "late_events", store.LATE_COLUMNS, rows)
        return bad

    async def _versions(self, connection: Connection, records: Sequence[Record]) -> Bad:
        found, bad = parsed(VersionReady, records)
        rows = [
            (each.kpi, each.kpi_version, each.partition, each.partitions, each.recorded_at)
            for _, each in found
        ]
        await store.add_ready(connection, rows)
        return bad

    async def _backfills(self, connection: Connection, records: Sequence[Record]) -> Bad:
        """How each stands; what is asked and answered about it (`id/…`) is the detector's own."""
        found, bad = parsed(BackfillChanged, [each for each in records if b"/" not in (each.key or b"")])
        newest = {told.id: told for _, told in found}
        rows = [tuple(getattr(told, name) for name in store.BACKFILL_COLUMNS) for told in newest.values()]
        await store.put_backfills(connection, rows)
        return bad

    async def _signals(self, connection: Connection, records: Sequence[Record]) -> Bad:
        found, bad = parsed(SignalChanged, records)
        rows = [
            (
                record.offset,
                signal.id,
                signal.model_dump(mode="json"),
                tuple(getattr(signal, name) for name in store.SIGNAL_COLUMNS),
            )
            for record, signal in found
        ]
        await store.add_signals(connection, rows)
        return bad

    async def _subjects(self, connection: Connection, records: Sequence[Record]) -> Bad:
        found, bad = parsed(ErasureSubject, records)
        for _, subject in found:
            await store.add_erasure(connection, subject.id, subject.model_dump(mode="json"))
        return bad

    async def _withdrawals(self, connection: Connection, records: Sequence[Record]) -> Bad:
        """Noted; they are carried out when the archive has what they speak of."""
        found, bad = parsed(EventsWithdrawn, records)
        await withdrawals.add(connection, [told for _, told in found])
        return bad

    async def _disposals(self, connection: Connection, records: Sequence[Record]) -> Bad:
        """Carry out what was ordered; the answer is sent before the commit and is the same when sent again."""
        found, bad = parsed(DisposalChanged, records)
        for _, order in found:
            if order.change == "done" and order.erasure is not None and order.by != "archive":
                await store.note_answer(connection, order.erasure, order.store)
            if order.change != "ordered" or order.store != "archive.events":
                continue
            now = clock.now()
            before, deleted, after = await store.dispose(
                connection, order.id, order.source, order.before, now
            )
            done = order.model_copy(
                update={
                    "change": "done", "rows_before": before, "rows_deleted": deleted, "rows_after": after,
                    "by": "archive", "recorded_at": now,
                }
            )  # fmt: skip
            name = self.settings.prefix + DISPOSALS.name
            await self.producer.send_and_wait(name, done.encode(), key=order.id.encode())
        return bad
