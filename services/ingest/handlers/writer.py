"""The only writer of a source: all effects of a request in one Kafka transaction.

A writer takes what waits for its source, up to a bound, and publishes events, dead letters and ledger entries
together (group commit). While the brokers end a transaction the next one is decided on and sent; it is ended after
that one, and requests are answered when theirs is. So ids are in the dedup window as soon as they are sent: whatever
fails in between ends the process, and with it all that is not committed. The restart fences this writer and reads the
window back from the topic.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from itertools import cycle
from operator import itemgetter

from aiokafka import AIOKafkaProducer

from libs.common import clock, telemetry
from libs.common.batches import Record
from libs.common.catalog import Source
from libs.common.kafka import Headers, ensure_topics, partitions_of, producer, read_all
from libs.common.topics import EVENTS, PARKED, REFERENCE
from services.ingest.core.admission import Admission
from services.ingest.core.contract import Contract
from services.ingest.core.minimise import Minimiser
from services.ingest.core.quota import Bucket
from services.ingest.core.records import Bad, Good
from services.ingest.core.signatures import keys_of, stated, verify
from services.ingest.core.window import Window
from services.ingest.handlers.batch import Batch, letters_of, located
from services.ingest.handlers.known import Known
from services.ingest.handlers.layout import Layout
from services.ingest.handlers.parking import Parking
from services.ingest.handlers.recalled import Letters, published, withdrawn
from services.ingest.handlers.refusals import absent, changing, no_webhook_secret, unconfirmed
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.vault import Vault, no_secret
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

GROUP = 10_000
"""Records of one transaction, unless one request alone has more."""
LONG = 100_000
"""Bytes that are looked through for personal data beside other requests, and not before them."""


class Writer:
    """The only writer of one source."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        layout: Layout,
        known: Known,
        vault: Vault,
        source: Source,
        schema_id: int,
        version: int,
    ) -> None:
        self.settings, self.admission, self.known, self.vault = settings, admission, known, vault
        self.parking: Parking | None = None
        """Of a source with `retry`, or that had it."""
        self.topic = (REFERENCE if source.reference else EVENTS).of(source.id)
        self.layout = layout
        self.redefined = asyncio.Event()
        self._define(source, schema_id, version)
        self.attributes: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/sources/{source.id}".encode()),
            ("ce_type", f"sextant.event.{source.id}".encode()),
        ]
        self.window = Window(settings.dedup_window, _ms(source.dedup))
        self.queue: asyncio.Queue[Submission] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.taken: deque[tuple[float, Sequence[Submission]]] = deque()
        """What is in the transactions under way, and when each was begun."""
        self.ends: deque[asyncio.Task[None]] = deque()
        """Of those that are sent: their ends."""
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
        self.redefined.set()
        if self.parking is not None:
            self.parking.define()

    def _define(self, source: Source, schema_id: int, version: int) -> None:
        self.contract = Contract.of(source, schema_id, version, self.settings.keys)
        self.layout.define(source)

    @property
    def source(self) -> Source:
        """As it is now defined."""
        return self.contract.source

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
            raise no_webhook_secret(webhook.secret, str(error)) from error
        if not keys:
            raise no_webhook_secret(webhook.secret, "it is not set")
        return verify(keys, headers, body, clock.now())

    @property
    def is_stuck(self) -> bool:
        """The brokers do not confirm what was handed to them."""
        return bool(self.taken) and clock.monotonic() - self.taken[0][0] > self.settings.confirm_seconds

    def check(self) -> None:
        """Overloaded while it starts, stops, or its partitions are added to."""
        if self.layout.is_changing:
            raise changing(self.source.id)
        if not self.ready.is_set():
            raise absent(self.source.id)

    async def submit(self, submission: Submission, within: float | None = None) -> None:
        """Returns when everything of it is committed; Overloaded if too much waits already, or it is not in time."""
        contract = submission.contract
        size = sum(len(record.raw) for record in submission.records) if submission.hold is None else 0
        if contract.minimiser is not None:
            submission.records = await self._minimised(contract.minimiser, submission.records)
        if contract.keys is not None:
            submission.records = contract.keys.all(submission.records)
        self.check()
        if submission.hold is None:
            submission.hold = self.admission.hold(self.source.id)
            submission.hold.take(bytes=size, records=len(submission.records))
        submission.hold.passed_on = True
        self.queue.put_nowait(submission)
        if within is None:
            return await submission.answered
        timer = asyncio.get_running_loop().call_later(
            within, lambda: submission.fail(unconfirmed(f"within {within:g} s"))
        )
        try:
            await submission.answered
        finally:
            timer.cancel()

    async def _minimised(self, minimiser: Minimiser, records: Sequence[Good | Bad]) -> Sequence[Good | Bad]:
        """What of records may be written; Problem if a secret lacks, or the vault that is needed is away."""
        if minimiser.lacks:
            raise no_secret(minimiser.lacks[0])
        found = await self.vault.found(minimiser, records)
        if minimiser.scans and sum(len(record.raw) for record in records) > LONG:
            return await asyncio.to_thread(minimiser.all, records, found)
        return minimiser.all(records, found)

    async def run(self, letters: Letters, stopping: asyncio.Event) -> None:
        """Until stopping and nothing waits any more."""
        topic = REFERENCE if self.source.reference else EVENTS
        await ensure_topics(self.settings, [(self.topic, topic, self.layout.wanted)])
        # Two in turn: each transaction is sent while the one before is ended.
        producers = [producer(self.settings, f"ingest.{self.source.id}.{number}") for number in range(2)]
        try:
            for each in producers:
                await each.start()
            await self._remember(letters)
            await self.layout.settle(producers, stopping)
            if not self.source.reference and await self._parks():
                self.parking = await Parking.opened(self, self.known)
            self.ready.set()
            if self.parking is not None:
                self.parking.arm()
            async with asyncio.TaskGroup() as ends:
                await self._go_on(producers, ends, stopping)
                self.ready.clear()  # whoever is still read comes too late
        finally:
            if self.parking is not None:
                self.parking.stop()
            self._give_up()
            for each in producers:
                await each.stop()

    async def _go_on(
        self, producers: Sequence[AIOKafkaProducer], ends: asyncio.TaskGroup, stopping: asyncio.Event
    ) -> None:
        """Transaction after transaction, until stopping and nothing waits any more."""
        turn = cycle(producers)
        stop, redefined = (asyncio.create_task(each.wait()) for each in (stopping, self.redefined))
        while not (stopping.is_set() and self.queue.empty()):
            if self.layout.is_changing and self.queue.empty():
                await self._ended(leave=0)
                await self.layout.change(producers, stopping)
                continue
            take = asyncio.create_task(self.queue.get())
            waited = {take, stop, redefined}
            await asyncio.wait(waited, timeout=self.layout.quiet_for, return_when=asyncio.FIRST_COMPLETED)
            if redefined.done():
                self.redefined.clear()
                redefined = asyncio.create_task(self.redefined.wait())
            if not take.done():
                take.cancel()
                if not (stopping.is_set() or self.layout.is_changing):
                    await self._publish(next(turn), [], ends)
                continue
            await self._publish(next(turn), [take.result()], ends)
        stop.cancel()
        redefined.cancel()

    def _give_up(self) -> None:
        """Whoever waits still, because this ends by an error, is told to come again."""
        self.ready.clear()
        waiting = [submission for _, group in self.taken for submission in group]
        while not self.queue.empty():
            waiting.append(self.queue.get_nowait())
        for submission in waiting:
            submission.problem = unconfirmed("before the writer ended")
            submission.end()

    async def _remember(self, letters: Letters) -> None:
        """Read the dedup window back from what was committed. The former writer is fenced by now."""
        if self.source.event_id is None and self.source.webhook is None:
            return
        async for receipts in withdrawn(self.settings, self.source.id):
            self.window.withdraw(receipts)
        async for records in read_all(self.settings, self.topic):
            for (receipt, at), ids in published(records):
                self.window.remember(ids, receipt, at)
        if self.source.event_id is not None and self.source.on_malformed == "dead_letter":
            since = clock.milliseconds(clock.now()) - self.window.keep
            await letters.recall(self.source.id, since, self._refused)
        self.window.forget(clock.milliseconds(clock.now()))
        log.info("dedup window read", extra={"fields": {"source": self.source.id, "ids": len(self.window)}})

    def _refused(self, receipt: str, at: int) -> None:
        self.window.remember([letters_of(receipt)], receipt, at)

    async def _parks(self) -> bool:
        """Now, or before: what was parked has to be published, even if the source has no `retry` any more."""
        topic = self.settings.prefix + PARKED.of(self.source.id)
        return self.source.retry is not None or bool(await partitions_of(self.settings, topic))

    def recall_deliveries(self, parked: Iterable[Record]) -> None:
        """Those of parked events, whose ids the lot knows."""
        for (receipt, at), ids in published(parked):
            self.window.remember([id for id in ids if not isinstance(id, str)], receipt, at)

    def _gather(self, group: list[Submission]) -> None:
        """What else waits goes with it, up to a bound."""
        waiting = sum(len(submission.records) for submission in group)
        while waiting < GROUP and not self.queue.empty():
            group.append(self.queue.get_nowait())
            waiting += len(group[-1].records)
        for submission in group:
            if submission.answered.done():  # whoever waited was told that it was not taken, or is gone
                submission.end()
        group[:] = [submission for submission in group if not submission.answered.done()]

    async def _publish(
        self, writer: AIOKafkaProducer, group: list[Submission], ends: asyncio.TaskGroup
    ) -> None:
        """One transaction: decided on, sent and noted; its end, and the answers, come beside the next one."""
        self.taken.append((clock.monotonic(), group))
        await self._ended(leave=1)  # the one before that was this producer's
        self._gather(group)
        if self.parking is None and self.source.retry is not None:
            self.parking = await Parking.opened(self, self.known)
        if self.parking is not None:
            await self.parking.look(group)
        batch = Batch(self, clock.now())
        for submission in group:
            if submission.does is not None:
                submission.does(batch)
                continue
            await batch.take(submission)
            if self.parking is not None:  # what is parked was noted before the others
                submission.results.sort(key=itemgetter("index"))
        batch.enter()
        batch.beat(self.layout.idle)
        async with AsyncExitStack() as stack:
            begins = {}
            if not batch.is_empty:
                await stack.enter_async_context(writer.transaction())
                begins = await batch.send(writer)
                self.layout.wrote(batch.ms, batch.events, batch.sizes)
            for submission in group:
                self.window.remember(submission.new, submission.receipt, batch.ms)
                submission.places = located(submission.places, begins)
                submission.at = batch.now
            former = self.ends[-1] if self.ends else None
            self.ends.append(ends.create_task(self._end(stack.pop_all(), former)))
        self.window.forget(batch.ms)
        if self.parking is not None:  # what waits is counted as it is committed
            await self._ended(leave=0)
            self.parking.committed()

    async def _end(self, transaction: AsyncExitStack, former: asyncio.Task[None] | None) -> None:
        """After the one before: what this one says of duplicates may lean on it."""
        async with transaction:
            if former is not None:
                await former
        for submission in self.taken.popleft()[1]:
            submission.end()

    async def _ended(self, leave: int) -> None:
        """Until no more transactions than so many are still being ended."""
        while len(self.ends) > leave:
            await self.ends.popleft()


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
