"""Writers: one per source, with all effects of a request in one Kafka transaction.

A writer takes what waits for its source, up to a bound, and publishes events, dead letters and ledger entries
together (group commit). Requests are answered after the commit; ids enter the dedup window only then. Whatever
fails in between ends the process: the restart fences this writer and reads the window back from the topic.
"""

import asyncio
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import cycle

from aiokafka import AIOKafkaProducer

from libs.common import clock, telemetry
from libs.common.batches import Record
from libs.common.catalog import Catalog, Source
from libs.common.encoder import Encoder
from libs.common.errors import NotFound, Overloaded, Problem
from libs.common.kafka import Headers, answering, ensure_topics, producer, read_all
from libs.common.topics import DEAD, EVENTS, REFERENCE, used_by
from services.ingest.core.admission import Admission
from services.ingest.core.minimise import SHORTEST, Minimiser
from services.ingest.core.quota import Bucket
from services.ingest.core.records import Validator
from services.ingest.core.signatures import keys_of, stated, verify
from services.ingest.core.window import Window
from services.ingest.handlers.batch import Batch, Submission, letters_of, located
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

GROUP = 10_000
"""Records of one transaction, unless one request alone has more."""


class Writer:
    """The only writer of one source."""

    def __init__(
        self, settings: Settings, admission: Admission, source: Source, schema_id: int, version: int
    ) -> None:
        self.settings, self.admission = settings, admission
        self.topic = (REFERENCE if source.reference else EVENTS).of(source.id)
        self.partitions = 1 if source.reference else source.partitions
        self._define(source, schema_id, version)
        self.window = Window(settings.dedup_window, _ms(source.dedup))
        self.queue: asyncio.Queue[Submission] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.began: float | None = None
        """When the transaction in hand was begun."""
        self.taken: list[Submission] = []
        """What is in it."""
        self.written = [clock.monotonic()] * self.partitions
        """When something was last written to each partition."""
        self.bucket = Bucket(source.quota, clock.monotonic()) if source.quota else None
        for room in (admission.bytes, admission.records):
            held = telemetry.WAITING.labels(source.id, room.unit)
            held.set_function(partial(room.held.get, source.id, 0))

    def redefine(self, source: Source, schema_id: int, version: int) -> None:
        """A new version of the source; takes effect with the next request."""
        if source.quota != self.source.quota:
            self.bucket = Bucket(source.quota, clock.monotonic()) if source.quota else None
        self.window.keep = _ms(source.dedup)
        self._define(source, schema_id, version)

    def _define(self, source: Source, schema_id: int, version: int) -> None:
        self.source, self.schema_id, self.version = source, schema_id, version
        self.validator, self.encoder = Validator(source), Encoder(source.avro_schema(), schema_id)
        secrets = {name: value.get_secret_value().encode() for name, value in self.settings.secrets.items()}
        self.minimiser = Minimiser(self.validator, secrets) if source.minimises else None
        self.attributes: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/sources/{source.id}".encode()),
            ("ce_type", f"sextant.event.{source.id}".encode()),
        ]

    def within_quota(self) -> None:
        """QuotaExceeded if the source may push nothing now: said before its body is read."""
        if self.bucket is not None:
            self.bucket.check(self.source.id, 1, clock.monotonic())

    def charge(self, events: int) -> None:
        """QuotaExceeded if the source may not push so many now."""
        if self.bucket is not None:
            self.bucket.take(self.source.id, events, clock.monotonic())

    def verified(self, headers: Mapping[str, str], body: bytes | None = None) -> str | None:
        """The id of a delivery to a source whose pushes are signed; Unsigned if it is not. Without a body only
        whether it says that it is."""
        webhook = self.source.webhook
        if webhook is None:
            return None
        if body is None:
            return stated(headers)[0]
        secret = self.settings.secrets.get(webhook.secret)
        try:
            keys = keys_of(secret.get_secret_value() if secret else "")
        except ValueError as error:
            raise _no_secret(webhook.secret, str(error)) from error
        if not keys:
            raise _no_secret(webhook.secret, "it is not set")
        return verify(keys, headers, body, clock.now())

    @property
    def is_stuck(self) -> bool:
        """The brokers do not confirm what was handed to them."""
        return self.began is not None and clock.monotonic() - self.began > self.settings.confirm_seconds

    async def submit(self, submission: Submission, within: float | None = None) -> None:
        """Returns when everything of it is committed; Overloaded if too much waits already, or it is not in time."""
        if not self.ready.is_set():
            raise _absent(self.source.id)
        if submission.hold is None:
            submission.hold = self.admission.hold(self.source.id)
            size = sum(len(record.raw) for record in submission.records)
            submission.hold.take(bytes=size, records=len(submission.records))
        if self.minimiser is not None:
            if self.minimiser.lacks:
                raise _no_key(self.minimiser.lacks[0])
            submission.records = self.minimiser.all(submission.records)
        submission.hold.passed_on = True
        self.queue.put_nowait(submission)
        try:
            async with asyncio.timeout(within):
                await submission.answered
        except TimeoutError as error:
            raise _unconfirmed(f"within {within:g} s") from error

    async def run(self, stopping: asyncio.Event) -> None:
        """Until stopping and nothing waits any more."""
        topic = REFERENCE if self.source.reference else EVENTS
        await ensure_topics(self.settings, [(self.topic, topic, self.partitions)])
        # Two in turn: the broker ends a transaction for a while after it has said so, and the next of the same
        # producer waits for that.
        producers = [producer(self.settings, f"ingest.{self.source.id}.{number}") for number in range(2)]
        turn = cycle(producers)
        try:
            for each in producers:
                await each.start()
            await self._remember()
            self.ready.set()
            stop = asyncio.create_task(stopping.wait())
            while not (stopping.is_set() and self.queue.empty()):
                take = asyncio.create_task(self.queue.get())
                await asyncio.wait(
                    {take, stop}, timeout=self._quiet_for(), return_when=asyncio.FIRST_COMPLETED
                )
                if not take.done():
                    take.cancel()
                    if not stopping.is_set():
                        await self._publish(next(turn), [])
                    continue
                await self._publish(next(turn), self._group(take.result()))
            self.ready.clear()  # whoever is still read comes too late
            stop.cancel()
        finally:
            self._give_up()
            for each in producers:
                await each.stop()

    def _give_up(self) -> None:
        """Whoever waits still, because this ends by an error, is told to come again."""
        self.ready.clear()
        while not self.queue.empty():
            self.taken.append(self.queue.get_nowait())
        for submission in self.taken:
            submission.problem = _unconfirmed("before the writer ended")
            submission.end()

    async def _remember(self) -> None:
        """Read the dedup window back from what was committed. The former writer is fenced by now."""
        if self.source.event_id is None and self.source.webhook is None:
            return
        async for records in read_all(self.settings, self.topic):
            for (receipt, at), ids in _published(records):
                self.window.remember(ids, receipt, at)
        if self.source.event_id is not None and self.source.on_malformed == "dead_letter":
            since = clock.milliseconds(clock.now()) - self.window.keep
            async for records in read_all(self.settings, DEAD.name, since=since, undecided=True):
                for receipt, at in _lettered(records, self.source.id):
                    self.window.remember([letters_of(receipt)], receipt, at)
        self.window.forget(clock.milliseconds(clock.now()))
        log.info("dedup window read", extra={"fields": {"source": self.source.id, "ids": len(self.window)}})

    def _group(self, first: Submission) -> list[Submission]:
        group: list[Submission] = []
        records, submission = 0, first
        while True:
            if submission.answered.cancelled():  # whoever waited was told that it was not taken
                submission.end()
            else:
                group.append(submission)
                records += len(submission.records)
            if records >= GROUP or self.queue.empty():
                return group
            submission = self.queue.get_nowait()

    def _quiet_for(self) -> float | None:
        """Seconds until a partition is due a heartbeat. A table of references, which is compacted, has none."""
        if self.source.reference:
            return None
        return max(0.0, min(self.written) + self.settings.heartbeat_seconds - clock.monotonic())

    def _idle(self) -> list[int]:
        """The partitions that are due one."""
        since = clock.monotonic() - self.settings.heartbeat_seconds
        return [] if self.source.reference else [n for n, at in enumerate(self.written) if at <= since]

    async def _publish(self, writer: AIOKafkaProducer, group: Sequence[Submission]) -> None:
        """One transaction; then the window, then the answers."""
        self.began, self.taken = clock.monotonic(), list(group)
        batch, begins = Batch(self, clock.now()), {}
        for submission in group:
            batch.take(submission)
        batch.beat(self._idle())
        if not batch.is_empty:
            async with writer.transaction():
                begins = await batch.send(writer)
            for partition in (number for number, written in enumerate(batch.events) if written):
                self.written[partition] = self.began
        for submission in group:
            self.window.remember(submission.new, submission.receipt, batch.ms)
            submission.places = located(submission.places, begins)
            submission.at = batch.now
            submission.end()
        self.began, self.taken = None, []
        self.window.forget(batch.ms)


class Writers:
    """The writers of the sources in force; one of the service's loops."""

    def __init__(self, settings: Settings, catalog: Catalog, loaded: asyncio.Event) -> None:
        self.settings, self.catalog, self.loaded = settings, catalog, loaded
        self.admission = Admission(settings.max_queued_bytes, settings.max_queued)
        self.writers: dict[str, Writer] = {}
        self.changed = asyncio.Event()

    def get(self, source: str) -> Writer:
        """NotFound if there is no such source, Overloaded while its writer starts or the brokers do not answer."""
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
        if writer is None or not writer.ready.is_set():
            raise _absent(source)
        if writer.is_stuck:
            raise Overloaded(
                "the brokers do not confirm what was sent to them before",
                code="brokers_away",
                scope="system",
                retryable=True,
                retry_after=2,
            )
        return writer

    async def redefine(self, *_: object) -> None:
        self.changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Starts a writer for each source that appears; one that fails ends the process."""
        if not await answering(self.settings, stopping):
            return
        await ensure_topics(self.settings, used_by("ingest"))
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


def _absent(source: str) -> Overloaded:
    why = f"the writer of {source} is starting, or stopping"
    return Overloaded(why, retry_after=1, scope="source", retryable=True)


def _unconfirmed(when: str) -> Overloaded:
    """Whether it is published is not known, unless it is repeated."""
    why = f"the brokers did not confirm it {when}: repeat it as it is"
    return Overloaded(why, code="unconfirmed", scope="system", retryable=True, retry_after=2)


def _no_secret(name: str, why: str) -> Problem:
    return Problem(
        f"the secret {name} of this webhook cannot be used: {why}",
        code="webhook_secret_missing",
        status=503,
        scope="system",
        retryable=True,
        retry_after=60,
    )


def _no_key(name: str) -> Problem:
    return Problem(
        f"the secret {name} of pseudonyms is not set, or has fewer than {SHORTEST} bytes",
        code="minimise_secret_missing",
        status=503,
        scope="system",
        retryable=True,
        retry_after=60,
    )


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _published(records: Iterable[Record]) -> Iterator[tuple[tuple[str, int], Iterable[Hashable]]]:
    """(receipt, arrival in ms) and ids, of events and deliveries, of records on a source's topic, by their headers."""
    here: tuple[str, int] | None = None
    ids: dict[Hashable, None] = {}
    for record in records:
        headers = dict(record.headers)
        if "sx-receipt" not in headers:
            continue
        receipt = headers["sx-receipt"].decode()
        at = int(headers.get("sx-ingested", record.timestamp))
        if here != (receipt, at):
            if here is not None:
                yield here, ids
            here, ids = (receipt, at), {}
        if "ce_id" in headers:
            ids[headers["ce_id"].decode()] = None
        if "sx-delivery" in headers:
            ids["delivery", headers["sx-delivery"].decode()] = None
    if here is not None:
        yield here, ids


def _lettered(records: Iterable[Record], source: str) -> Iterator[tuple[str, int]]:
    """(receipt, arrival in ms) of the dead letters that ingest wrote of a source, one after another of a body once."""
    last = ""
    for record in records:
        receipt = dict(record.headers).get("sx-receipt", b"").decode()
        if receipt and receipt != last and record.key == source.encode():
            yield receipt, record.timestamp
            last = receipt
