"""Writers: one per source, with all effects of a request in one Kafka transaction.

A writer takes what waits for its source, up to a bound, and publishes events, dead letters and ledger entries
together (group commit). Requests are answered after the commit; ids enter the dedup window only then. Whatever
fails in between ends the process: the restart fences this writer and reads the window back from the topic.
"""

import asyncio
import base64
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from libs.common import clock, telemetry
from libs.common.catalog import Catalog, Source
from libs.common.errors import NotFound, Overloaded
from libs.common.events import DeadLetter, LedgerEntry
from libs.common.kafka import Headers, ensure_topics, producer, read_all
from libs.common.partitioning import partition_for
from libs.common.topics import DEAD, EVENTS, LEDGER, REFERENCE
from libs.common.wire import Codec
from services.ingest.core.admission import Admission, Hold
from services.ingest.core.quota import Bucket
from services.ingest.core.records import Bad, Good, Validator, partition_key
from services.ingest.core.window import Window
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

GROUP = 5_000
"""Records of one transaction, unless one request alone has more."""


@dataclass
class Submission:
    """What one request brings."""

    records: Sequence[Good | Bad]
    through: datetime | None = None
    """Declares a watermark, after the records."""
    hold: Hold | None = None
    """What it holds already; given back when it is committed."""
    unattended: bool = False
    """Nobody waits for an answer who could mend a record: what is malformed becomes a dead letter, never refused."""
    receipt: str = field(default_factory=lambda: uuid4().hex)
    headers: Headers = field(default_factory=telemetry.inject)
    results: list[dict[str, Any]] = field(default_factory=list)
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def answer(self, source: str, *, errors_only: bool = False) -> dict[str, Any]:
        """Counts, and a result per record."""
        counts = dict.fromkeys(("published", "duplicate", "dead_lettered", "refused"), 0)
        for result in self.results:
            counts[result["status"]] += 1
        results = [each for each in self.results if not errors_only or each["status"] != "published"]
        accepted = len(self.results) - counts["refused"]
        return {"receipt": self.receipt, "source": source, "accepted": accepted, **counts, "results": results}


class Writer:
    """The only writer of one source."""

    def __init__(
        self, settings: Settings, admission: Admission, source: Source, schema_id: int, version: int
    ) -> None:
        self.settings, self.admission = settings, admission
        self.source, self.schema_id, self.version = source, schema_id, version
        self.topic = (REFERENCE if source.reference else EVENTS).of(source.id)
        self.partitions = 1 if source.reference else source.partitions
        self.validator = Validator(source)
        self.codec = Codec(source.avro_schema())
        self.window = Window(settings.dedup_window)
        self.queue: asyncio.Queue[Submission] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.bucket = Bucket(source.quota, clock.monotonic()) if source.quota else None
        for room in (admission.bytes, admission.records):
            held = telemetry.WAITING.labels(source.id, room.unit)
            held.set_function(partial(room.held.get, source.id, 0))

    def redefine(self, source: Source, schema_id: int, version: int) -> None:
        """A new version of the source; takes effect with the next request."""
        if source.quota != self.source.quota:
            self.bucket = Bucket(source.quota, clock.monotonic()) if source.quota else None
        self.source, self.schema_id, self.version = source, schema_id, version
        self.validator, self.codec = Validator(source), Codec(source.avro_schema())

    def within_quota(self) -> None:
        """QuotaExceeded if the source may push nothing now: said before its body is read."""
        if self.bucket is not None:
            self.bucket.check(self.source.id, 1, clock.monotonic())

    def charge(self, events: int) -> None:
        """QuotaExceeded if the source may not push so many now."""
        if self.bucket is not None:
            self.bucket.take(self.source.id, events, clock.monotonic())

    async def submit(self, submission: Submission) -> None:
        """Returns when everything of it is committed; Overloaded if too much waits already."""
        if submission.hold is None:
            submission.hold = self.admission.hold(self.source.id)
            size = sum(len(record.raw) for record in submission.records)
            submission.hold.take(bytes=size, records=len(submission.records))
        submission.hold.passed_on = True
        self.queue.put_nowait(submission)
        await submission.answered

    async def run(self, stopping: asyncio.Event) -> None:
        """Until stopping and nothing waits any more."""
        topic = REFERENCE if self.source.reference else EVENTS
        await ensure_topics(self.settings, [(self.topic, topic, self.partitions)])
        writer = producer(self.settings, f"ingest.{self.source.id}")
        await writer.start()
        try:
            await self._remember()
            self.ready.set()
            stop = asyncio.create_task(stopping.wait())
            while not (stopping.is_set() and self.queue.empty()):
                take = asyncio.create_task(self.queue.get())
                await asyncio.wait({take, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not take.done():
                    take.cancel()
                    continue
                await self._publish(writer, self._group(take.result()))
            stop.cancel()
        finally:
            await writer.stop()

    async def _remember(self) -> None:
        """Read the dedup window back from what was committed. The former writer is fenced by now."""
        if self.source.event_id is None:
            return
        async for records in read_all(self.settings, self.topic):
            for record in records:
                for name, value in record.headers:
                    if name == "ce_id":
                        self.window.add(value.decode())
        log.info("dedup window read", extra={"fields": {"source": self.source.id, "ids": len(self.window)}})

    def _group(self, first: Submission) -> list[Submission]:
        group, records = [first], len(first.records)
        while records < GROUP and not self.queue.empty():
            group.append(self.queue.get_nowait())
            records += len(group[-1].records)
        return group

    async def _publish(self, writer: AIOKafkaProducer, group: Sequence[Submission]) -> None:
        """One transaction; then the window, then the answers."""
        batch = Batch(self, clock.now())
        for submission in group:
            batch.take(submission)
        if batch.records:
            async with writer.transaction():
                await batch.send(writer)
        for event_id in batch.ids:
            self.window.add(event_id)
        for submission in group:
            if submission.hold is not None:
                submission.hold.give_back()
            if not submission.answered.done():
                submission.answered.set_result(None)


class Batch:
    """The records of one transaction."""

    def __init__(self, writer: Writer, now: datetime) -> None:
        self.writer, self.now = writer, now
        self.minute = now.replace(second=0, microsecond=0)
        self.ids: dict[str, None] = {}
        self.records: dict[tuple[str, int], list[tuple[bytes | None, bytes, Headers]]] = defaultdict(list)

    def take(self, submission: Submission) -> None:
        """Decide on every record of a request."""
        stamp = [
            ("sx-receipt", submission.receipt.encode()),
            ("sx-ingested", str(int(self.now.timestamp() * 1000)).encode()),
            ("sx-contract", str(self.writer.version).encode()),
        ]
        counts = {"published": 0, "duplicate": 0, "dead_lettered": 0, "refused": 0}
        for record in submission.records:
            result = (
                self._good(record, submission, stamp)
                if isinstance(record, Good)
                else self._bad(record, submission)
            )
            counts[result["status"]] += 1
            submission.results.append(result)
        if submission.through is not None:
            self._declare(submission.through)
        accepted = counts["published"] + counts["duplicate"] + counts["dead_lettered"]
        if accepted:
            entry = LedgerEntry.build(
                source=self.writer.source.id,
                minute=self.minute,
                accepted=accepted,
                published=counts["published"],
                dead_lettered=counts["dead_lettered"],
                duplicate=counts["duplicate"],
                receipt=submission.receipt,
                recorded_at=self.now,
            )
            self._add(LEDGER.name, 0, self.writer.source.id.encode(), entry.encode(), [])

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Headers) -> None:
        self.records[topic, partition].append((key, value, headers))

    def _good(self, record: Good, submission: Submission, stamp: Headers) -> dict[str, Any]:
        writer = self.writer
        result: dict[str, Any] = {"index": record.index, "status": "published", "event_id": record.event_id}
        if record.event_id is not None:
            if record.event_id in self.ids or record.event_id in writer.window:
                return result | {"status": "duplicate"}
            self.ids[record.event_id] = None
        key = partition_key(writer.source, record.fields)
        trace = [("traceparent", record.traceparent.encode())] if record.traceparent else submission.headers
        headers = [*stamp, *trace]
        if record.event_id is not None and record.event_time is not None:
            headers += [
                ("ce_specversion", b"1.0"),
                ("ce_id", record.event_id.encode()),
                ("ce_source", b"/sources/" + writer.source.id.encode()),
                ("ce_type", b"sextant.event." + writer.source.id.encode()),
                ("ce_time", record.event_time.isoformat().encode()),
            ]
        value = writer.codec.encode(writer.schema_id, record.fields)
        self._add(writer.topic, partition_for(key, writer.partitions), key, value, headers)
        return result

    def _bad(self, record: Bad, submission: Submission) -> dict[str, Any]:
        error = record.error
        shown = {"reason": error.reason, "field": error.field, "value": error.value, "rule": error.rule}
        result: dict[str, Any] = {
            "index": record.index,
            "status": "refused",
            "event_id": record.event_id,
            "error": shown,
        }
        if self.writer.source.on_malformed == "refuse" and not submission.unattended:
            return result
        letter = DeadLetter.build(
            id=f"{submission.receipt}/{record.index}",
            source=self.writer.source.id,
            stage="validate",
            error=type(error).__name__,
            **shown,
            payload_b64=base64.b64encode(record.raw).decode(),
            first_seen=self.now,
            last_seen=self.now,
            service="ingest",
            receipt=submission.receipt,
            minute=self.minute,
        )
        telemetry.DEAD_LETTERS.labels("ingest", self.writer.topic).inc()
        self._add(DEAD.name, 0, self.writer.source.id.encode(), letter.encode(), submission.headers)
        return result | {"status": "dead_lettered", "dead_letter": letter.id}

    def _declare(self, through: datetime) -> None:
        mark = [("sx-control", b"watermark"), ("sx-watermark", str(int(through.timestamp() * 1000)).encode())]
        for partition in range(self.writer.partitions):
            self._add(self.writer.topic, partition, None, b"", mark)

    async def send(self, writer: AIOKafkaProducer) -> None:
        """Whole batches per partition: an await per batch and not per record."""
        sent = []
        stamp = int(self.now.timestamp() * 1000)
        for (topic, partition), records in self.records.items():
            name = self.writer.settings.prefix + topic
            batch = writer.create_batch()
            for key, value, headers in records:
                if batch.append(key=key, value=value, timestamp=stamp, headers=headers) is None:
                    sent.append(await writer.send_batch(batch, name, partition=partition))
                    batch = writer.create_batch()
                    batch.append(key=key, value=value, timestamp=stamp, headers=headers)
            sent.append(await writer.send_batch(batch, name, partition=partition))
        await asyncio.gather(*sent)
        for (topic, _), records in self.records.items():
            telemetry.PRODUCED.labels("ingest", topic).inc(len(records))


class Writers:
    """The writers of the sources in force; one of the service's loops."""

    def __init__(self, settings: Settings, catalog: Catalog, loaded: asyncio.Event) -> None:
        self.settings, self.catalog, self.loaded = settings, catalog, loaded
        self.admission = Admission(settings.max_queued_bytes, settings.max_queued)
        self.writers: dict[str, Writer] = {}
        self.changed = asyncio.Event()

    def get(self, source: str) -> Writer:
        """NotFound if there is no such source, Overloaded while its writer starts."""
        if not self.loaded.is_set():
            raise Overloaded("the catalog is being read", retry_after=1, scope="system", retryable=True)
        if self.catalog.source(source) is None:
            known = ", ".join(sorted(each.id for each in self.catalog.sources)) or "none"
            raise NotFound(
                f"there is no source {source}; there are: {known}", code="unknown_source", source=source
            )
        writer = self.writers.get(source)
        if writer is None or not writer.ready.is_set():
            raise Overloaded(
                f"the writer of {source} is starting", retry_after=1, scope="source", retryable=True
            )
        return writer

    async def redefine(self, *_: object) -> None:
        self.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Starts a writer for each source that appears; one that fails ends the process."""
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                self.changed.clear()
                for source in self.catalog.sources:
                    self._start(group, source, stopping)
                waits = [asyncio.create_task(event.wait()) for event in (self.changed, stopping)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    def _start(self, group: asyncio.TaskGroup, source: Source, stopping: asyncio.Event) -> None:
        schema_id, version = self.catalog.schema_id(source.id), self.catalog.version("source", source.id)
        if schema_id is None:
            return
        writer = self.writers.get(source.id)
        if writer is None:
            writer = self.writers[source.id] = Writer(
                self.settings, self.admission, source, schema_id, version
            )
            group.create_task(writer.run(stopping), name=f"writer {source.id}")
        elif writer.version != version:
            writer.redefine(source, schema_id, version)
