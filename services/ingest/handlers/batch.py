"""One transaction: what is decided about each record of some requests, and all that it writes."""

import asyncio
import base64
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

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
from services.ingest.handlers.turns import in_turns

if TYPE_CHECKING:
    from services.ingest.handlers.writer import Writer

Record = tuple[bytes | None, bytes | None, Headers]
"""Key, value, headers."""
MANY = 2_000
"""Records of a request that are published before others have their turn."""
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
        self.others: dict[str, list[Record]] = defaultdict(list)
        """What goes to the only partition of other topics."""
        self.counts, self.receipts = dict.fromkeys(COUNTED, 0), list[str]()
        """What became of all its records, and of whose."""

    @property
    def is_empty(self) -> bool:
        return not self.others and not any(self.events)

    async def take(self, submission: Submission) -> None:
        """Decide on every record of a request, in turns, so that others go on meanwhile."""
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
        await self._decide(records, submission, stamp, first)
        if delivery is not None and first is None and submission.accepted:
            self._know(delivery, submission)
        if submission.counts["dead_lettered"] and self._has_letters_once(submission):
            self._know(letters_of(submission.receipt), submission)
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

    async def _decide(
        self, records: Sequence[Good | Bad], submission: Submission, stamp: Headers, first: str | None
    ) -> None:
        """`first`: the receipt of the same delivery, if it came before."""
        goods = self._all_new(records, submission) if first is None else None
        if goods is not None:
            headers = [*stamp, *submission.headers]
            async for at in in_turns(range(0, len(goods), MANY), 1):
                self._add(goods[at : at + MANY], submission, headers)
            return
        async for record in in_turns(records):
            if first is not None and (isinstance(record, Good) or not self._refuses(submission)):
                submission.note(duplicate(record, first))
            elif isinstance(record, Good):
                self._good(record, submission, stamp)
            else:
                submission.note(self._bad(record, submission))

    def enter(self) -> None:
        """Into the books, when all is taken."""
        source, counts = self.writer.source.id, self.counts
        accepted = sum(counts.values()) - counts["refused"]
        if not accepted:
            return
        if counts["dead_lettered"]:
            telemetry.DEAD_LETTERS.labels("ingest", self.writer.topic).inc(counts["dead_lettered"])
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

    def _know(self, id: Hashable, submission: Submission) -> None:
        """What comes again under this id is a duplicate."""
        self.ids[id] = submission.receipt
        submission.new.append(id)

    def _refuses(self, submission: Submission) -> bool:
        return submission.contract.source.on_malformed == "refuse" and not submission.unattended

    def _has_letters_once(self, submission: Submission) -> bool:
        """What is malformed has no id; it is known by its body, where what is well formed is known too."""
        return self.writer.source.event_id is not None and submission.sha256 is not None

    def _all_new(self, records: Sequence[Good | Bad], submission: Submission) -> Sequence[Good] | None:
        """All records of a request, to be published at once, if each is good and new: their ids are known from now on."""
        goods: list[Good] = []
        for record in records:
            if not isinstance(record, Good) or record.traceparent:
                return None
            goods.append(record)
        ids = [record.event_id for record in goods if record.event_id is not None]
        if submission.letters or len(set(ids)) < len(ids):
            return None
        if not (self.ids.keys().isdisjoint(ids) and self.writer.window.knows_none(ids)):
            return None
        self.ids.update(dict.fromkeys(ids, submission.receipt))
        submission.new += ids
        return goods

    def _good(self, record: Good, submission: Submission, stamp: Headers) -> None:
        event_id = record.event_id
        if event_id is not None:
            receipt = self.before(event_id)
            if receipt is not None:
                submission.note(duplicate(record, receipt))
                return
            self._know(event_id, submission)
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
        if len(self.rows) >= MANY:
            self._write()

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

    def written(self) -> list[list[Record]]:
        """What goes to each partition of the source's topic."""
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
            trace_id=submission.trace_id,
            receipt=submission.receipt,
            minute=self.minute,
        )
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

    async def send(self, producer: AIOKafkaProducer) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Returns when the brokers have it. Whole batches of Kafka's: an await for each of them and not per record.

        Of the source's topic: partition → where each batch of it begins, as place and as offset.
        """
        going = {
            (self.writer.topic, number): written for number, written in enumerate(self.written()) if written
        }
        going |= {(name, 0): written for name, written in self.others.items()}
        packs = {
            to: [pack async for pack in self._packed(producer, written)] for to, written in going.items()
        }
        begins: dict[int, Sequence[tuple[int, asyncio.Future[Any]]]] = {}
        futures: list[asyncio.Future[Any]] = []
        for (name, number), packed in packs.items():
            to = self.writer.settings.prefix + name
            sent = [(first, await producer.send_batch(pack, to, partition=number)) for first, pack in packed]
            futures += [future for _, future in sent]
            if name == self.writer.topic:
                begins[number] = sent
                self.sizes[number] = sum(pack.size() for _, pack in packed)
        await asyncio.gather(*futures)
        for (name, _), written in going.items():
            telemetry.PRODUCED.labels("ingest", name).inc(len(written))
        return {
            number: [(first, future.result().offset) for first, future in sent]
            for number, sent in begins.items()
        }

    async def _packed(
        self, producer: AIOKafkaProducer, written: Sequence[Record]
    ) -> AsyncIterator[tuple[int, BatchBuilder]]:
        """Records in batches, each with the place of its first one; others have their turn after each but the last."""
        first = place = 0
        while first < len(written):
            pack = producer.create_batch()
            for key, value, headers in islice(written, first, None):
                if pack.append(key=key, value=value, timestamp=self.ms, headers=headers) is None:
                    await asyncio.sleep(0)
                    break
                place += 1
            yield first, pack
            first = place


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
