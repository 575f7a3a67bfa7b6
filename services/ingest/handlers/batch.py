"""One transaction: what is decided about each record of some requests, and all that it writes."""

import asyncio
import base64
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaProducer

from libs.common import telemetry
from libs.common.clock import milliseconds
from libs.common.events import DeadLetter, LedgerEntry
from libs.common.kafka import Headers
from libs.common.topics import DEAD, LEDGER
from services.ingest.core.contract import Contract
from services.ingest.core.records import MAX_RECORD, Bad, Good
from services.ingest.core.redrives import CUT
from services.ingest.core.signatures import replayed
from services.ingest.handlers.submission import COUNTED, Submission

if TYPE_CHECKING:
    from services.ingest.handlers.writer import Writer

_JSON = msgspec.json.Encoder()
"""Writes times as RFC 3339, in quotes."""


class Batch:
    """The records of one transaction."""

    def __init__(self, writer: "Writer", now: datetime) -> None:
        self.writer, self.now, self.ms = writer, now, milliseconds(now)
        self.minute = now.replace(second=0, microsecond=0)
        self.ids: dict[Hashable, str] = {}
        """What is new in it, and under which receipt."""
        self.place = writer.layout.placing.begin(self.ms)
        self.events: list[list[tuple[bytes | None, int, Headers]]] = [[] for _ in range(writer.layout.count)]
        """What goes to each partition of the source's topic: key, the place of its value, headers."""
        self.sizes = [0] * writer.layout.count
        """Bytes that went there."""
        self.values: list[bytes] = []
        self.contract: Contract | None = None
        self.rows: list[tuple[Any, ...]] = []
        """Of `contract`, and to be written yet: many are written faster than one by one."""
        self.others: dict[str, list[tuple[bytes, bytes | None, Headers]]] = defaultdict(list)
        """What goes to the only partition of other topics: key, value, headers."""
        self.counts, self.receipts = dict.fromkeys(COUNTED, 0), list[str]()
        """What became of all its records, and of whose."""

    @property
    def is_empty(self) -> bool:
        return not self.others and not any(self.events)

    def take(self, submission: Submission) -> None:
        """Decide on every record of a request."""
        stamp = [
            ("sx-receipt", submission.receipt.encode()),
            ("sx-ingested", str(self.ms).encode()),
            ("sx-contract", str(submission.contract.version).encode()),
        ]
        delivery = None if submission.delivery is None else ("delivery", submission.delivery)
        if delivery is not None:
            stamp.append(("sx-delivery", delivery[1].encode()))
        first = None if delivery is None else self.before(delivery)
        if first is not None and first != submission.receipt:
            submission.problem = replayed(submission.delivery or "")
            return
        before, records = [len(each) for each in self.events], submission.records
        if self.writer.parking is not None and first is None:
            records = self.writer.parking.sieve(self, submission, stamp)
        if first is not None or not self._all_new(records, submission, stamp):
            for record in records:
                if first is not None and (isinstance(record, Good) or not self._refuses(submission)):
                    submission.note(duplicate(record, first))
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
        self.receipts.append(submission.receipt)
        for status, count in submission.counts.items():
            self.counts[status] += count

    def enter(self) -> None:
        """Into the books, when all is taken."""
        source, counts = self.writer.source.id, self.counts
        accepted = sum(counts.values()) - counts["refused"]
        if not accepted:
            return
        entry = LedgerEntry.build(
            source=source,
            minute=self.minute,
            accepted=accepted,
            published=counts["published"],
            dead_lettered=counts["dead_lettered"],
            duplicate=counts["duplicate"],
            parked=counts["parked"],
            receipt=self.receipts[0] if len(self.receipts) == 1 else "",
            recorded_at=self.now,
        )
        self.others[LEDGER.name].append((source.encode(), entry.encode(), []))

    def before(self, id: Hashable) -> str | None:
        """The receipt under which an id was published already."""
        if id in self.ids:
            return self.ids[id]
        found = self.writer.window.find(id, self.ms)
        return None if found is None else found.receipt

    def _refuses(self, submission: Submission) -> bool:
        return submission.contract.source.on_malformed == "refuse" and not submission.unattended

    def _has_letters_once(self, submission: Submission) -> bool:
        """What is malformed has no id; it is known by its body, where what is well formed is known too."""
        return self.writer.source.event_id is not None and submission.sha256 is not None

    def _all_new(self, records: Sequence[Good | Bad], submission: Submission, stamp: Headers) -> bool:
        """Takes all records of a request at once, if each is good and new; else none, and says so."""
        goods: list[Good] = []
        for record in records:
            if not isinstance(record, Good) or record.traceparent:
                return False
            goods.append(record)
        ids = [record.event_id for record in goods if record.event_id is not None]
        if submission.letters or len(set(ids)) < len(ids):
            return False
        if not (self.ids.keys().isdisjoint(ids) and self.writer.window.knows_none(ids)):
            return False
        self.ids.update(dict.fromkeys(ids, submission.receipt))
        submission.new += ids
        self._add(goods, submission, [*stamp, *submission.headers])
        return True

    def _good(self, record: Good, submission: Submission, stamp: Headers) -> None:
        event_id = record.event_id
        if event_id is not None:
            receipt = self.before(event_id)
            if receipt is not None:
                submission.note(duplicate(record, receipt))
                return
            self.ids[event_id] = submission.receipt
            submission.new.append(event_id)
        headers = [*stamp, *submission.headers]
        if record.traceparent:
            headers = [*stamp, ("traceparent", record.traceparent.encode())]
        if submission.letters:
            headers.append(("sx-letter", submission.letters[record.index].encode()))
        self._add([record], submission, headers)

    def _add(self, records: Sequence[Good], submission: Submission, headers: Headers) -> None:
        """Publishes them under these headers, and those of an event."""
        self.put(submission.contract, records, self._headers(records, headers))
        if submission.brief:
            submission.counts["published"] += len(records)
        else:
            for record in records:
                submission.note({"index": record.index, "status": "published", "event_id": record.event_id})

    def put(self, contract: Contract, records: Sequence[Good], headers: Sequence[Headers]) -> None:
        """On the partitions of their keys."""
        if contract is not self.contract:
            self._write()
            self.contract = contract
        place = len(self.values) + len(self.rows)
        self.rows += [record.values for record in records]
        partitions = self.place([record.key or b"" for record in records])
        for at, (record, partition, own) in enumerate(zip(records, partitions, headers, strict=True), place):
            self.events[partition].append((record.key, at, own))

    def _headers(self, records: Sequence[Good], headers: Headers) -> list[Headers]:
        """Of each; with the attributes of an event, if it is one."""
        event = [*headers, *self.writer.attributes]
        times = _JSON.encode_lines([record.event_time for record in records]).splitlines()
        return [
            [*event, ("ce_id", record.event_id.encode()), ("ce_time", time[1:-1])]
            if record.event_id is not None and record.event_time is not None
            else headers
            for record, time in zip(records, times, strict=True)
        ]

    def _write(self) -> None:
        """The values of what is not written yet."""
        if self.contract is not None:
            self.values += self.contract.encoder.encode(self.rows)
            self.rows.clear()

    def written(self) -> list[list[tuple[bytes | None, bytes | None, Headers]]]:
        """What goes to each partition of the source's topic: key, value, headers."""
        self._write()
        values = self.values
        return [[(key, values[place], headers) for key, place, headers in events] for events in self.events]

    def _bad(self, record: Bad, submission: Submission) -> dict[str, Any]:
        said = record.error.told()
        result: dict[str, Any] = {
            "index": record.index,
            "status": "refused",
            "event_id": record.event_id,
            "error": {"code": record.error.code, **said, "retryable": False, "scope": "record"},
        }
        if self._refuses(submission):
            return result
        if self._has_letters_once(submission):
            receipt = self.before(letters_of(submission.receipt))
            if receipt is not None:
                return duplicate(record, receipt)
        letter = DeadLetter.build(
            id=f"{submission.id}/{record.index}",
            source=self.writer.source.id,
            stage="validate",
            error=type(record.error).__name__,
            code=record.error.code,
            **said,
            payload_b64=base64.b64encode(record.raw[:MAX_RECORD]).decode(),
            headers=record.headers | ({CUT: str(len(record.raw))} if len(record.raw) > MAX_RECORD else {}),
            first_seen=self.now,
            last_seen=self.now,
            service="ingest",
            schema_ids=[submission.contract.schema_id],
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
        self._mark(range(len(self.events)), mark)

    def beat(self, partitions: Iterable[int]) -> None:
        """A sign of life to those of these partitions that the transaction brings nothing else."""
        self._mark([each for each in partitions if not self.events[each]], [("sx-control", b"heartbeat")])

    def _mark(self, partitions: Iterable[int], headers: Headers) -> None:
        """A record that is no event."""
        self._write()
        for partition in partitions:
            self.events[partition].append((None, len(self.values), headers))
        self.values.append(b"")

    async def send(self, writer: AIOKafkaProducer) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Whole batches per partition: an await per batch and not per record.

        Of the source's topic: partition → where each batch of it begins, as place and as offset.
        """
        topic = self.writer.topic
        going = {(topic, number): written for number, written in enumerate(self.written()) if written}
        going |= {(name, 0): written for name, written in self.others.items()}
        begins: dict[tuple[str, int], list[tuple[int, asyncio.Future[Any]]]] = {}
        for (name, number), written in going.items():
            begins[name, number] = futures = []
            to, batch, first = self.writer.settings.prefix + name, writer.create_batch(), 0
            size = 0
            for place, (key, value, headers) in enumerate(written):
                if batch.append(key=key, value=value, timestamp=self.ms, headers=headers) is None:
                    futures.append((first, await writer.send_batch(batch, to, partition=number)))
                    size, batch, first = size + batch.size(), writer.create_batch(), place
                    batch.append(key=key, value=value, timestamp=self.ms, headers=headers)
            futures.append((first, await writer.send_batch(batch, to, partition=number)))
            if name == topic:
                self.sizes[number] = size + batch.size()
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


def duplicate(record: Good | Bad, receipt: str) -> dict[str, Any]:
    """`receipt`: under which it was published first, where that is known."""
    result = {"index": record.index, "status": "duplicate", "event_id": record.event_id}
    return {**result, "receipt": receipt or None}
