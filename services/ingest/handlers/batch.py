"""One transaction: what is decided about each record of some requests, and all that it writes."""

import asyncio
import base64
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from libs.common import telemetry
from libs.common.clock import milliseconds
from libs.common.errors import BadMessage, Problem
from libs.common.events import DeadLetter, LedgerEntry
from libs.common.kafka import Headers
from libs.common.partitioning import partition_for
from libs.common.topics import DEAD, LEDGER
from services.ingest.core.admission import Hold
from services.ingest.core.records import MAX_RECORD, Bad, Good, partition_key
from services.ingest.core.signatures import replayed

if TYPE_CHECKING:
    from services.ingest.handlers.writers import Writer

KEPT_OF = "sx-payload-bytes"
"""Header of a dead letter whose payload was cut: how many bytes the record had."""
COUNTED: tuple[str, ...] = ("published", "duplicate", "dead_lettered", "refused")


@dataclass
class Submission:
    """What one request brings, and what became of it."""

    records: Sequence[Good | Bad]
    through: datetime | None = None
    """Declares a watermark, after the records."""
    hold: Hold | None = None
    """What it holds already; given back when it is committed."""
    unattended: bool = False
    """Nobody waits for an answer who could mend a record: what is malformed becomes a dead letter, never refused."""
    receipt: str = field(default_factory=lambda: uuid4().hex)
    """Two requests with the same body have the same; `id` is of this one alone."""
    delivery: str | None = None
    """The id of a signed delivery: one that comes again is a duplicate as a whole."""
    problem: Problem | None = None
    """Why nothing of it was taken."""
    sha256: str | None = None
    """Of its body."""
    id: str = field(default_factory=lambda: uuid4().hex)
    headers: Headers = field(default_factory=telemetry.inject)
    results: list[dict[str, Any]] = field(default_factory=list)
    new: list[Hashable] = field(default_factory=list)
    """The ids that it brought first."""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition → the first and the last of what was published of it: places in the transaction, then offsets."""
    at: datetime | None = None
    """When it was decided on."""
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def counts(self) -> dict[str, int]:
        counts = dict.fromkeys(COUNTED, 0)
        for result in self.results:
            counts[result["status"]] += 1
        return counts

    @property
    def first_receipt(self) -> str:
        """Its own; of what was published before as a whole, the one under which it was."""
        before = {result.get("receipt") for result in self.results}
        first = next(iter(before)) if len(before) == 1 else None
        return first or self.receipt

    def answer(self, source: str, *, errors_only: bool = False) -> dict[str, Any]:
        """Counts, and a result per record."""
        counts = self.counts
        results = [each for each in self.results if not errors_only or each["status"] != "published"]
        accepted = len(self.results) - counts["refused"]
        return {
            "receipt": self.first_receipt,
            "source": source,
            "accepted": accepted,
            **counts,
            "results": results,
        }

    def end(self) -> None:
        """It is committed, or refused: whoever waits is told."""
        if self.hold is not None:
            self.hold.give_back()
        if self.answered.done():
            return
        if self.problem is None:
            self.answered.set_result(None)
        else:
            self.answered.set_exception(self.problem)


class Batch:
    """The records of one transaction."""

    def __init__(self, writer: "Writer", now: datetime) -> None:
        self.writer, self.now, self.ms = writer, now, milliseconds(now)
        self.minute = now.replace(second=0, microsecond=0)
        self.ids: dict[Hashable, str] = {}
        """What is new in it, and under which receipt."""
        self.records: dict[tuple[str, int], list[tuple[bytes | None, bytes, Headers]]] = defaultdict(list)

    def take(self, submission: Submission) -> None:
        """Decide on every record of a request."""
        stamp = [
            ("sx-receipt", submission.receipt.encode()),
            ("sx-ingested", str(self.ms).encode()),
            ("sx-contract", str(self.writer.version).encode()),
        ]
        delivery = None if submission.delivery is None else ("delivery", submission.delivery)
        if delivery is not None:
            stamp.append(("sx-delivery", delivery[1].encode()))
        first = None if delivery is None else self._before(delivery)
        if first is not None and first != submission.receipt:
            submission.problem = replayed(submission.delivery or "")
            return
        before = self._lengths()
        for record in submission.records:
            submission.results.append(self._decide(record, submission, stamp, first))
        if delivery is not None and first is None and self._accepted(submission):
            self.ids[delivery] = submission.receipt
            submission.new.append(delivery)
        submission.places = {
            partition: (before.get(partition, 0), length - 1)
            for partition, length in self._lengths().items()
            if length > before.get(partition, 0)
        }
        if submission.through is not None:
            self._declare(submission.through)
        counts = submission.counts
        accepted = self._accepted(submission)
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

    def _lengths(self) -> dict[int, int]:
        """Partition → how many records of the source's topic go there."""
        topic = self.writer.topic
        return {number: len(records) for (name, number), records in self.records.items() if name == topic}

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Headers) -> None:
        self.records[topic, partition].append((key, value, headers))

    def _before(self, id: Hashable) -> str | None:
        """The receipt under which an id was published already."""
        if id in self.ids:
            return self.ids[id]
        found = self.writer.window.find(id, self.ms)
        return None if found is None else found.receipt

    @staticmethod
    def _accepted(submission: Submission) -> int:
        return sum(result["status"] != "refused" for result in submission.results)

    def _decide(
        self, record: Good | Bad, submission: Submission, stamp: Headers, first: str | None
    ) -> dict[str, Any]:
        """`first`: the receipt of the delivery, if it came before."""
        if first is not None and (isinstance(record, Good) or not self._refuses(submission)):
            return {
                "index": record.index,
                "status": "duplicate",
                "event_id": record.event_id,
                "receipt": first,
            }
        if isinstance(record, Good):
            return self._good(record, submission, stamp)
        return self._bad(record, submission)

    def _refuses(self, submission: Submission) -> bool:
        return self.writer.source.on_malformed == "refuse" and not submission.unattended

    def _good(self, record: Good, submission: Submission, stamp: Headers) -> dict[str, Any]:
        writer = self.writer
        result: dict[str, Any] = {"index": record.index, "status": "published", "event_id": record.event_id}
        if record.event_id is not None:
            receipt = self._before(record.event_id)
            if receipt is not None:
                return result | {"status": "duplicate", "receipt": receipt or None}
            self.ids[record.event_id] = submission.receipt
            submission.new.append(record.event_id)
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
        shown = _shown(record.error)
        result: dict[str, Any] = {
            "index": record.index,
            "status": "refused",
            "event_id": record.event_id,
            "error": {"code": record.error.code, **shown, "retryable": False, "scope": "record"},
        }
        if self._refuses(submission):
            return result
        letter = DeadLetter.build(
            id=f"{submission.id}/{record.index}",
            source=self.writer.source.id,
            stage="validate",
            error=type(record.error).__name__,
            **shown,
            payload_b64=base64.b64encode(record.raw[:MAX_RECORD]).decode(),
            headers={KEPT_OF: str(len(record.raw))} if len(record.raw) > MAX_RECORD else {},
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
        mark = [("sx-control", b"watermark"), ("sx-watermark", str(milliseconds(through)).encode())]
        for partition in range(self.writer.partitions):
            self._add(self.writer.topic, partition, None, b"", mark)

    async def send(self, writer: AIOKafkaProducer) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Whole batches per partition: an await per batch and not per record.

        Of the source's topic: partition → where each batch of it begins, as place and as offset.
        """
        sent: list[asyncio.Future[Any]] = []
        begins: dict[int, list[tuple[int, asyncio.Future[Any]]]] = {}
        for (topic, partition), records in self.records.items():
            name, first = self.writer.settings.prefix + topic, 0
            batch, futures = writer.create_batch(), list[tuple[int, asyncio.Future[Any]]]()
            for place, (key, value, headers) in enumerate(records):
                if batch.append(key=key, value=value, timestamp=self.ms, headers=headers) is None:
                    futures.append((first, await writer.send_batch(batch, name, partition=partition)))
                    batch, first = writer.create_batch(), place
                    batch.append(key=key, value=value, timestamp=self.ms, headers=headers)
            futures.append((first, await writer.send_batch(batch, name, partition=partition)))
            sent += [future for _, future in futures]
            if topic == self.writer.topic:
                begins[partition] = futures
        await asyncio.gather(*sent)
        for (topic, _), records in self.records.items():
            telemetry.PRODUCED.labels("ingest", topic).inc(len(records))
        return {
            partition: [(place, future.result().offset) for place, future in futures]
            for partition, futures in begins.items()
        }


def located(
    places: Mapping[int, tuple[int, int]], begins: Mapping[int, Sequence[tuple[int, int]]]
) -> dict[int, tuple[int, int]]:
    """Partition → first and last as offsets. In a transaction nobody else writes to a partition of the source.

    A partition whose broker did not say where (it had the batch already) is left out.
    """

    def offset(partition: int, place: int) -> int:
        batches = begins[partition]
        begin, base = batches[bisect_right(batches, (place, 2**63)) - 1]
        return base + place - begin

    return {
        partition: (offset(partition, first), offset(partition, last))
        for partition, (first, last) in places.items()
        if all(base >= 0 for _, base in begins[partition])
    }


def _shown(error: BadMessage) -> dict[str, str | None]:
    """What is said of an error, in bounds: it may quote what the record holds."""
    said = {"reason": error.reason, "field": error.field, "value": error.value, "rule": error.rule}
    return {
        name: text if text is None or len(text) <= 500 else text[:499] + "…" for name, text in said.items()
    }
