"""One transaction: what is decided about each record of some requests, and all that it writes."""

import asyncio
import base64
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
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
from services.ingest.core.records import MAX_RECORD, Bad, Good
from services.ingest.core.redrives import CUT
from services.ingest.core.signatures import replayed

if TYPE_CHECKING:
    from services.ingest.handlers.writers import Writer

Written = tuple[bytes | None, bytes, Headers]
"""Key, value and headers of a record."""
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
    letters: Sequence[str] = ()
    """Of a re-drive: the dead letter that each record was."""
    delivery: str | None = None
    """The id of a signed delivery: one that comes again is a duplicate as a whole."""
    problem: Problem | None = None
    """Why nothing of it was taken."""
    sha256: str | None = None
    """Of its body."""
    id: str = field(default_factory=lambda: uuid4().hex)
    headers: Headers = field(default_factory=telemetry.inject)
    brief: bool = False
    """Nobody wants to hear of what was published: it has no results."""
    results: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    new: list[Hashable] = field(default_factory=list)
    """The ids that it brought first."""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition → the first and the last of what was published of it: places in the transaction, then offsets."""
    at: datetime | None = None
    """When it was decided on."""
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def note(self, result: dict[str, Any]) -> None:
        """What became of a record."""
        self.counts[result["status"]] += 1
        self.results.append(result)

    @property
    def accepted(self) -> int:
        return self.counts["published"] + self.counts["duplicate"] + self.counts["dead_lettered"]

    @property
    def first_receipt(self) -> str:
        """Its own; of what was published before as a whole, the one under which it was."""
        if self.counts["duplicate"] < len(self.records):
            return self.receipt
        before = {result["receipt"] for result in self.results}
        first = next(iter(before)) if len(before) == 1 else None
        return first or self.receipt

    def answer(self, source: str) -> dict[str, Any]:
        """Counts, and a result per record."""
        said = {"receipt": self.first_receipt, "source": source, "accepted": self.accepted, **self.counts}
        return {**said, "results": self.results}

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
        self.events: list[list[Written]] = [[] for _ in range(writer.partitions)]
        """What goes to each partition of the source's topic."""
        self.others: dict[str, list[Written]] = defaultdict(list)
        """What goes to the only partition of other topics."""

    @property
    def is_empty(self) -> bool:
        return not self.others and not any(self.events)

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
        before = [len(each) for each in self.events]
        for record in submission.records:
            if first is not None and (isinstance(record, Good) or not self._refuses(submission)):
                submission.note(_duplicate(record, first))
            elif isinstance(record, Good):
                self._good(record, submission, stamp)
            else:
                submission.note(self._bad(record, submission))
        if delivery is not None and first is None and submission.accepted:
            self.ids[delivery] = submission.receipt
            submission.new.append(delivery)
        if submission.counts["dead_lettered"] and self._has_letters_once(submission):
            self.ids[letters_of(submission.receipt)] = submission.receipt
            submission.new.append(letters_of(submission.receipt))
        submission.places = {
            partition: (length, len(self.events[partition]) - 1)
            for partition, length in enumerate(before)
            if len(self.events[partition]) > length
        }
        if submission.through is not None:
            self._declare(submission.through)
        if submission.accepted:
            self._enter(submission)

    def _enter(self, submission: Submission) -> None:
        """Into the books."""
        source, counts = self.writer.source.id, submission.counts
        entry = LedgerEntry.build(
            source=source,
            minute=self.minute,
            accepted=submission.accepted,
            published=counts["published"],
            dead_lettered=counts["dead_lettered"],
            duplicate=counts["duplicate"],
            receipt=submission.receipt,
            recorded_at=self.now,
        )
        self.others[LEDGER.name].append((source.encode(), entry.encode(), []))

    def _before(self, id: Hashable) -> str | None:
        """The receipt under which an id was published already."""
        if id in self.ids:
            return self.ids[id]
        found = self.writer.window.find(id, self.ms)
        return None if found is None else found.receipt

    def _refuses(self, submission: Submission) -> bool:
        return self.writer.source.on_malformed == "refuse" and not submission.unattended

    def _has_letters_once(self, submission: Submission) -> bool:
        """What is malformed has no id; it is known by its body, where what is well formed is known too."""
        return self.writer.source.event_id is not None and submission.sha256 is not None

    def _good(self, record: Good, submission: Submission, stamp: Headers) -> None:
        writer, event_id = self.writer, record.event_id
        if event_id is not None:
            receipt = self._before(event_id)
            if receipt is not None:
                submission.note(_duplicate(record, receipt))
                return
            self.ids[event_id] = submission.receipt
            submission.new.append(event_id)
        trace = [("traceparent", record.traceparent.encode())] if record.traceparent else submission.headers
        headers = [*stamp, *trace]
        if submission.letters:
            headers.append(("sx-letter", submission.letters[record.index].encode()))
        if event_id is not None and record.event_time is not None:
            time = ("ce_time", _rfc3339(record.event_time))
            headers = [*headers, *writer.attributes, ("ce_id", event_id.encode()), time]
        value = writer.encoder.encode(record.values)
        self.events[partition_for(record.key, writer.partitions)].append((record.key, value, headers))
        if submission.brief:
            submission.counts["published"] += 1
        else:
            submission.note({"index": record.index, "status": "published", "event_id": event_id})

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
        if self._has_letters_once(submission):
            receipt = self._before(letters_of(submission.receipt))
            if receipt is not None:
                return _duplicate(record, receipt)
        letter = DeadLetter.build(
            id=f"{submission.id}/{record.index}",
            source=self.writer.source.id,
            stage="validate",
            error=type(record.error).__name__,
            code=record.error.code,
            **shown,
            payload_b64=base64.b64encode(record.raw[:MAX_RECORD]).decode(),
            headers=record.headers | ({CUT: str(len(record.raw))} if len(record.raw) > MAX_RECORD else {}),
            first_seen=self.now,
            last_seen=self.now,
            service="ingest",
            schema_ids=[self.writer.schema_id],
            code_version=telemetry.CODE_VERSION,
            trace_id=telemetry.trace_of(submission.headers),
            receipt=submission.receipt,
            minute=self.minute,
        )
        telemetry.DEAD_LETTERS.labels("ingest", self.writer.topic).inc()
        headers = [*submission.headers, ("sx-receipt", submission.receipt.encode())]
        self.others[DEAD.name].append((self.writer.source.id.encode(), letter.encode(), headers))
        return result | {"status": "dead_lettered", "dead_letter": letter.id}

    def _declare(self, through: datetime) -> None:
        mark = [("sx-control", b"watermark"), ("sx-watermark", str(milliseconds(through)).encode())]
        for events in self.events:
            events.append((None, b"", mark))

    def beat(self, partitions: Iterable[int]) -> None:
        """A sign of life to those of these partitions that the transaction brings nothing else."""
        for partition in partitions:
            if not self.events[partition]:
                self.events[partition].append((None, b"", [("sx-control", b"heartbeat")]))

    async def send(self, writer: AIOKafkaProducer) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Whole batches per partition: an await per batch and not per record.

        Of the source's topic: partition → where each batch of it begins, as place and as offset.
        """
        topic = self.writer.topic
        going = {(topic, number): written for number, written in enumerate(self.events) if written}
        going |= {(name, 0): written for name, written in self.others.items()}
        begins: dict[tuple[str, int], list[tuple[int, asyncio.Future[Any]]]] = {}
        for (name, number), written in going.items():
            begins[name, number] = futures = []
            to, batch, first = self.writer.settings.prefix + name, writer.create_batch(), 0
            for place, (key, value, headers) in enumerate(written):
                if batch.append(key=key, value=value, timestamp=self.ms, headers=headers) is None:
                    futures.append((first, await writer.send_batch(batch, to, partition=number)))
                    batch, first = writer.create_batch(), place
                    batch.append(key=key, value=value, timestamp=self.ms, headers=headers)
            futures.append((first, await writer.send_batch(batch, to, partition=number)))
        await asyncio.gather(*(future for futures in begins.values() for _, future in futures))
        for (name, _), written in going.items():
            telemetry.PRODUCED.labels("ingest", name).inc(len(written))
        return {
            number: [(place, future.result().offset) for place, future in futures]
            for (name, number), futures in begins.items()
            if name == topic
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


def letters_of(receipt: str) -> Hashable:
    """How the dead letters of a body are remembered: a body that comes again has them already."""
    return "letters", receipt


def _duplicate(record: Good | Bad, receipt: str) -> dict[str, Any]:
    """`receipt`: under which it was published first, where that is known."""
    result = {"index": record.index, "status": "duplicate", "event_id": record.event_id}
    return {**result, "receipt": receipt or None}


@lru_cache(maxsize=65_536)
def _rfc3339(time: datetime) -> bytes:
    return time.isoformat().encode()


def _shown(error: BadMessage) -> dict[str, str | None]:
    """What is said of an error, in bounds: it may quote what the record holds."""
    said = {"reason": error.reason, "field": error.field, "value": error.value, "rule": error.rule}
    return {
        name: text if text is None or len(text) <= 500 else text[:499] + "…" for name, text in said.items()
    }
