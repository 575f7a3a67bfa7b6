"""Parking: what a writer does about events of its source that cannot be published yet (`retry`).

All of it is done by the writer, in its transactions: an event is parked, its ledger entry and the record on
`parked.<source>` are one; so are its publication, dead letter or erasure, and the tombstone. The lot is made anew from
that topic at start, so that it can never disagree with what was committed.
"""

import asyncio
import base64
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from libs.common import clock, telemetry
from libs.common.batches import Record
from libs.common.catalog import Rule, Source
from libs.common.errors import BadMessage
from libs.common.events import DeadLetter, LedgerEntry, ParkedEvent
from libs.common.kafka import Headers, ensure_topics, read_all
from libs.common.topics import DEAD, LEDGER, PARKED
from services.ingest.core.minimise import PSEUDONYMS, driven
from services.ingest.core.parked import WAITED, Lot, Missing, Parked, Settled, awaited
from services.ingest.core.records import MAX_RECORD, Bad, Good, as_json
from services.ingest.handlers.batch import Batch, duplicate
from services.ingest.handlers.known import Check, Known
from services.ingest.handlers.submission import Submission

if TYPE_CHECKING:
    from services.ingest.handlers.writer import Writer

log = logging.getLogger(__name__)

MOST = 1_000
"""Events that are judged in one transaction: a tenth of a second in which nothing else is done."""
TOGETHER_SECONDS = 0.1
"""Tiers that end within it are one try."""
Order = Literal["retry", "give_up"]
TRACE = ("traceparent", "tracestate")
STAMPS = ("sx-receipt", "sx-ingested", "sx-delivery", *TRACE)
"""Headers of an event from when it was accepted."""


class Parking:
    """Of one writer. `events`: what is on the topic at start, in order; `started`: when that is, in ms."""

    def __init__(self, writer: "Writer", known: Known, events: Sequence[Parked], started: int) -> None:
        self.writer, self.known = writer, known
        settings = writer.settings
        self.lot = Lot(tiers_of(writer.source), settings.parked_events, settings.parked_bytes, started)
        for event in events:
            self.lot.park(event, None, started)
        self.rules: tuple[Rule, ...] = ()
        self.version = 0
        self.checks: list[Check] = []
        self.timer: asyncio.TimerHandle | None = None
        self.woken = False
        """Somebody is on the way who tries what is due."""
        self.settling = 0
        """Events that wait no more once the transaction in hand is committed."""
        self.topic = PARKED.of(writer.source.id)
        self.define()
        for unit, size in (("events", self.lot.events), ("keys", self.lot.keys)):
            telemetry.PARKED.labels(writer.source.id, unit).set_function(partial(len, size))
        telemetry.PARKED_ROOM.labels(writer.source.id).set_function(lambda: self.lot.fullness)
        telemetry.PARKED_AGE.labels(writer.source.id).set_function(self._age)

    @classmethod
    async def opened(cls, writer: "Writer", known: Known) -> "Parking":
        """Made anew from the topic, which is there then; the former writer is fenced by now."""
        topic = PARKED.of(writer.source.id)
        await ensure_topics(writer.settings, [(topic, PARKED, PARKED.partitions)])
        found: dict[bytes, Record] = {}
        async for records in read_all(writer.settings, topic):
            for record in records:
                found.pop(record.key or b"", None)
                if record.value is not None:
                    found[record.key or b""] = record
        events = list(found.values())
        log.info("parked events read", extra={"fields": {"source": writer.source.id, "events": len(events)}})
        writer.recall_deliveries(events)
        started = clock.milliseconds(clock.now())
        return cls(writer, known, [recalled(record) for record in events], started)

    def define(self) -> None:
        """The source, or a rule, has changed: what waits is judged by what is in force."""
        rules = self.known.rules(self.writer.source)
        if (rules, self.writer.contract.version) == (self.rules, self.version):
            return
        self.rules, self.version = rules, self.writer.contract.version
        self.checks = self.known.checks(rules, self.writer.contract.validator)
        for check in self.checks:
            if self._arrived not in check.reference.listeners:
                check.reference.listeners.append(self._arrived)
        self.lot.retime(tiers_of(self.writer.source))
        self.arm()

    # --- when ---------------------------------------------------------------------------------------------

    def _arrived(self, reference: str, key: str) -> None:
        """A row has come. Who waits for it need not wait for the tier."""
        if self.lot.arrived(awaited(reference, key)):
            self._wake()

    def arm(self) -> None:
        """The next try."""
        self.stop()
        due = self.lot.next
        if due is not None and not self._lacks_secret:
            seconds = (due - clock.milliseconds(clock.now())) / 1000
            self.timer = asyncio.get_running_loop().call_later(
                max(TOGETHER_SECONDS, seconds) if due else 0, self._wake
            )

    def committed(self) -> None:
        """The transaction is."""
        self.settling = 0
        self.arm()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _wake(self) -> None:
        """By way of the queue, so that one after another is decided."""
        if not self.woken and self.writer.ready.is_set():
            self.woken = True
            submission = Submission(self.writer.contract, [], does=self._wakes)
            submission.answered.add_done_callback(lambda done: done.cancelled() or done.exception())
            self.writer.queue.put_nowait(submission)

    async def look(self, group: Sequence[Submission]) -> None:
        """Before it is decided: every row that was acknowledged by now is known, where one seems to be missing."""
        for check in self.checks:
            if not check.reference.loaded.is_set() or any(
                submission.does is not None
                or any(isinstance(record, Good) and check.lacks(record) for record in submission.records)
                for submission in group
            ):
                await check.reference.caught_up()

    async def caught_up(self) -> None:
        """Every row that was acknowledged by now is known."""
        for check in self.checks:
            await check.reference.caught_up()

    # --- what ---------------------------------------------------------------------------------------------

    def missing(self, record: Good) -> Missing | None:
        return next((found for check in self.checks if (found := check.missing(record)) is not None), None)

    def sieve(self, batch: Batch, submission: Submission, stamp: Headers) -> list[Good | Bad]:
        """Park what has to wait; what is left of a request is for the batch. Re-drives are not parked: they were looked
        through before, and what they drive is older than what waits."""
        left: list[Good | Bad] = []
        here: set[str] = set()
        for record in submission.records:
            id = record.event_id
            if isinstance(record, Bad) or id is None:
                left.append(record)
            elif id in self.lot.events:
                submission.note(duplicate(record, self.lot.events[id].receipt))
            elif submission.letters or id in here or batch.before(id) is not None:
                left.append(record)
            elif (missing := self.missing(record)) is not None or record.key in self.lot.keys:
                fault = self._park(batch, submission, stamp, record, missing)
                left.extend([] if fault is None else [fault])
            else:
                here.add(id)
                left.append(record)
        self._settle(batch, self.lot.shed())
        return left

    def _park(
        self, batch: Batch, submission: Submission, stamp: Headers, record: Good, missing: Missing | None
    ) -> Bad | None:
        """A fault, if it cannot be kept as JSON."""
        id, minimiser = record.event_id or "", submission.contract.minimiser
        key = id.encode() if record.key is None else record.key  # without one it holds nothing up
        names = submission.contract.validator.names
        payload = record.raw or as_json(dict(zip(names, record.values, strict=True)))
        if len(payload) > MAX_RECORD:
            rule = f"at most {MAX_RECORD} bytes as JSON"
            error = BadMessage(f"it has to wait, and has {len(payload)} bytes", rule=rule, code="too_large")
            return Bad(record.index, error, payload, id)
        trace = [("traceparent", record.traceparent.encode())] if record.traceparent else submission.headers
        parked = ParkedEvent.build(
            id=f"{submission.id}/{record.index}",
            source=self.writer.source.id,
            event_id=id,
            key_b64=base64.b64encode(key).decode(),
            payload_b64=base64.b64encode(payload).decode(),
            headers={} if minimiser is None else {PSEUDONYMS: ",".join(minimiser.pseudonyms)},
            accepted_at=batch.now,
            minute=batch.minute,
            receipt=submission.receipt,
            **({} if missing is None else {"code": missing.code, **_cause(missing)}),
            schema_ids=[submission.contract.schema_id],
            trace_id=telemetry.trace_of(trace),
        )
        headers = [*stamp, *trace, ("ce_id", id.encode())]
        event = Parked(id, key, batch.ms, submission.receipt, parked.encode(), tuple(headers))
        self.lot.park(event, missing, batch.ms)
        batch.others[self.topic].append((id.encode(), event.body, headers))
        why = "an event of its key that came before" if missing is None else missing.told()["reason"]
        result = {"index": record.index, "status": "parked", "event_id": id, "waits_for": why}
        submission.note(result)
        return None

    def _wakes(self, batch: Batch) -> None:
        self.woken = False
        self.release(batch)

    def release(self, batch: Batch) -> None:
        """Try what is due."""
        if not self._lacks_secret:
            self._settle(batch, self.lot.step(self._judge, batch.ms, MOST))

    async def order(self, do: Order, key: str | None) -> dict[str, Any]:
        """A steward's word about what waits, of a key or all: `touched` keys are tried, or events are given up (MOST of
        them at a time), at once."""
        touched, named = 0, None if key is None else key.encode()

        def done(batch: Batch) -> None:
            nonlocal touched
            if do == "retry":
                touched = self.lot.hurry(named)
                self.release(batch)
            else:
                settled = self.lot.give_up(named, MOST)
                self._settle(batch, settled)
                touched = len(settled)

        await self.writer.submit(
            Submission(self.writer.contract, [], does=done), self.writer.settings.confirm_seconds
        )
        return {"touched": touched, **self.state()}

    @property
    def _lacks_secret(self) -> bool:
        """Nothing of the source can be written: what waits, waits."""
        minimiser = self.writer.contract.minimiser
        return minimiser is not None and bool(minimiser.lacks)

    def _judge(self, event: Parked) -> Good | BadMessage:
        """By the definition in force, as a dead letter that is driven again is."""
        found = self._now(event, ParkedEvent.decode(event.body))
        return found if isinstance(found, BadMessage) else self.missing(found) or found

    def _now(self, event: Parked, parked: ParkedEvent) -> Good | BadMessage:
        """What would be published of it, by the definition in force."""
        contract = self.writer.contract
        trace = dict(event.headers).get("traceparent", b"").decode() or None
        found = contract.validator.single(0, base64.b64decode(parked.payload_b64), trace)
        if isinstance(found, Good) and contract.minimiser is not None:
            record = driven(found, parked.headers)
            if contract.minimiser.wants([record]):
                return BadMessage(
                    "a field is kept in the vault by now: drive it again", code="minimise_changed"
                )
            (found,) = contract.minimiser.all([record])
        if isinstance(found, Good) and contract.keys is not None:
            (found,) = contract.keys.all([found])
        if isinstance(found, Bad):
            return found.error
        return found

    def names(self, event: Parked, field: str, value: str) -> bool:
        """Whether a field of it is the value (as text): as it waits, or as it would be published."""
        parked = ParkedEvent.decode(event.body)
        texts = [msgspec.json.decode(base64.b64decode(parked.payload_b64)).get(field)]
        found = self._now(event, parked)
        if isinstance(found, Good):
            texts.append(
                dict(zip(self.writer.contract.validator.names, found.values, strict=True)).get(field)
            )
        return any(text is not None and str(text) == value for text in texts)

    def erase(self, batch: Batch, events: Collection[Parked]) -> int:
        """Take out those of these events that wait still; how many they are."""
        settled = self.lot.erase(events)
        self._settle(batch, settled)
        return len(settled)

    def _settle(self, batch: Batch, settled: Sequence[Settled]) -> None:
        """Publish them, make dead letters of them, or nothing; and the books."""
        self.settling += len(settled)
        books: dict[tuple[datetime, str], Counter[str]] = defaultdict(Counter)
        for event, result in ((each.event, each.result) for each in settled):
            parked = ParkedEvent.decode(event.body)
            if isinstance(result, Good):
                self._publish(batch, event, result)
            elif result is not None:
                letter = self._letter(batch, event, parked, result)
                headers = [each for each in event.headers if each[0] in TRACE]
                batch.others[DEAD.name].append((letter.source.encode(), letter.encode(), headers))
                telemetry.DEAD_LETTERS.labels("ingest", self.writer.topic).inc()
            books[parked.minute, event.receipt].update(
                published=isinstance(result, Good),
                dead_lettered=isinstance(result, BadMessage),
                erased=result is None,
            )
            batch.others[self.topic].append((event.id.encode(), None, []))
        source = self.writer.source.id
        for (minute, receipt), counts in books.items():
            entry = LedgerEntry.build(
                source=source,
                minute=minute,
                accepted=0,
                published=counts["published"],
                dead_lettered=counts["dead_lettered"],
                duplicate=0,
                parked=-counts.total(),
                erased=counts["erased"],
                receipt=receipt,
                recorded_at=batch.now,
            )
            batch.others[LEDGER.name].append((source.encode(), entry.encode(), []))

    def _publish(self, batch: Batch, event: Parked, record: Good) -> None:
        writer = self.writer
        headers = [
            *(each for each in event.headers if each[0] in STAMPS),
            ("sx-contract", str(writer.contract.version).encode()),
            *writer.attributes,
            ("ce_id", event.id.encode()),
            *([("ce_time", record.event_time.isoformat().encode())] if record.event_time else []),
        ]
        batch.put(writer.contract, [record], [headers])
        # Whatever fails before the commit ends the process, and the window with it.
        writer.window.remember([event.id], event.receipt, event.at)

    def _letter(self, batch: Batch, event: Parked, parked: ParkedEvent, why: BadMessage) -> DeadLetter:
        return DeadLetter.build(
            id=parked.id,
            source=parked.source,
            stage="refer" if why.code in WAITED else "validate",
            error=type(why).__name__,
            code=why.code,
            **why.told(),
            key_b64=parked.key_b64,
            payload_b64=parked.payload_b64,
            headers=parked.headers,
            attempts=self.lot.attempts(event, batch.ms),
            first_seen=parked.accepted_at,
            last_seen=batch.now,
            service="ingest",
            schema_ids=sorted({*parked.schema_ids, self.writer.contract.schema_id}),
            code_version=telemetry.CODE_VERSION,
            trace_id=parked.trace_id,
            receipt=parked.receipt,
            minute=parked.minute,
        )

    # --- shown --------------------------------------------------------------------------------------------

    def _age(self) -> float:
        oldest = self.lot.oldest
        return 0.0 if oldest is None else clock.milliseconds(clock.now()) / 1000 - oldest.at / 1000

    def state(self) -> dict[str, Any]:
        lot = self.lot
        return {
            "events": len(lot.events) + self.settling,
            "keys": len(lot.keys),
            "bytes": lot.bytes,
            "room": round(lot.fullness, 4),
            "oldest": None if lot.oldest is None else clock.moment(lot.oldest.at),
            "next_try": None if not lot.next else clock.moment(lot.next),
            "references": {check.reference.id: len(check.reference.keys) for check in self.checks},
        }


def tiers_of(source: Source) -> list[int]:
    """In ms; none without `retry`: then whatever waits is judged, and passes."""
    return [] if source.retry is None else [tier // timedelta(milliseconds=1) for tier in source.retry.tiers]


def _cause(missing: Missing) -> dict[str, str | None]:
    said = missing.told()
    return {name: said[name] for name in ("field", "value", "rule")}


def recalled(record: Record) -> Parked:
    """What was parked, from its topic."""
    body = record.value or b""
    parked = ParkedEvent.decode(body)
    at, key = clock.milliseconds(parked.accepted_at), base64.b64decode(parked.key_b64)
    return Parked(parked.event_id, key, at, parked.receipt, body, tuple(record.headers))
