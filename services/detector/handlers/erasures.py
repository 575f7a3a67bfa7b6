"""Which subjects are to be erased, and which stores have answered: the topics of erasures, followed."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta

import polars as pl

from libs.common import clock
from libs.common.batches import TIMESTAMP, number
from libs.common.events import DisposalChanged, ErasureOrdered, ErasureSubject
from libs.common.expressions import OFFSET
from libs.common.kafka import Record
from libs.common.settings import ServiceSettings
from libs.common.stream import Output
from libs.common.topics import DISPOSALS, ERASURES, EVENTS, SUBJECTS
from libs.common.wire import INDEX
from services.detector.handlers.following import follow, load

STATE_STORE, MODELS_STORE = "detector.state", "detector.models"
PARKED_STORE = "ingest.parked"
TOPICS = ERASURES, SUBJECTS, DISPOSALS
AGAIN_SECONDS = 5.0
"""As long as an erasure is open, what is told of it is told again: who was started anew has not heard it."""


class Erasures:
    """One of the detector's loops."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.orders: dict[str, list[ErasureOrdered]] = {}
        """By source: for as long as the brokers keep its events."""
        self.subjects: dict[str, ErasureSubject] = {}
        """Those that are open, by id."""
        self.answered: dict[str, set[str]] = {}
        self.released: dict[str, int] = {}
        """Erasure → until when (ms) events that were parked before it may have been published."""

    async def load(self) -> None:
        """Read the topics to their ends: before the past of any source is read."""
        await load(self.settings, TOPICS, self.take)

    async def run(self, stopping: asyncio.Event) -> None:
        await follow(self.settings, TOPICS, self.take, stopping)

    def take(self, topic: str, record: Record) -> None:
        """A record of one of the three topics."""
        value = record.value or b""
        if topic == ERASURES.name:
            self.put(ErasureOrdered.decode(value))
        elif topic == SUBJECTS.name:
            subject = ErasureSubject.decode(value)
            self.subjects[subject.id] = subject
            if all(each.id != subject.id for each in self.orders.get(subject.source, ())):
                self.put(_order_of(subject))
            self._close(subject.id)
        else:
            found = DisposalChanged.decode(value)
            if found.erasure is not None and found.change == "done":
                self.answered.setdefault(found.erasure, set()).add(found.store)
                if found.store == PARKED_STORE:
                    self.released.setdefault(found.erasure, clock.milliseconds(found.recorded_at))
                self._close(found.erasure)

    def put(self, order: ErasureOrdered) -> None:
        """Those whose events the brokers have dropped meanwhile are forgotten."""
        assert EVENTS.retention is not None
        since = clock.now() - EVENTS.retention - timedelta(days=1)
        known = [each for each in self.orders.get(order.source, ()) if each.id != order.id]
        self.orders[order.source] = [each for each in (*known, order) if each.ordered_at > since]

    def _close(self, id: str) -> None:
        """The name of a subject is forgotten when nothing here waits for it."""
        subject = self.subjects.get(id)
        if subject is not None and not self.open_stores(id, (STATE_STORE, MODELS_STORE)):
            del self.subjects[id]

    def open_stores(self, id: str, kinds: Iterable[str] = (STATE_STORE,)) -> list[str]:
        """The stores of these kinds that have not answered."""
        subject = self.subjects.get(id)
        stores = subject.stores if subject is not None else ()
        answered = self.answered.get(id, ())
        return [each for each in stores if each.partition("/")[0] in kinds and each not in answered]

    def open_of(self, source: str) -> list[ErasureSubject]:
        """Erasures of a source that merge still waits for."""
        return [
            each for each in self.subjects.values() if each.source == source and self.open_stores(each.id)
        ]

    def left(
        self, source: str, partition: int, events: pl.DataFrame, records: Sequence[Record] = ()
    ) -> pl.DataFrame:
        """The events of a partition without those of erased subjects from before their erasure.

        `records`: those that the events were read from. Of one that was parked when the erasure was ordered, and
        published after, its headers say so.
        """
        for order in self.orders.get(source, ()):
            if events.is_empty() or order.field not in events.columns:
                continue
            before = pl.col(OFFSET) < order.upto.get(str(partition), 0)
            late = self._may_have_waited(order) if records else pl.lit(False)
            texts = events.filter(before | late)[order.field].cast(pl.String)
            gone = [
                text
                for text in texts.unique().drop_nulls().to_list()
                if digest(order.salt, text) == order.digest
            ]
            if gone:
                subject = pl.col(order.field).cast(pl.String).is_in(gone).fill_null(False)
                places = events.filter(subject & late & ~before)[INDEX].to_list()
                waited = [place for place in places if _accepted_by(records[place], order)]
                events = events.filter(~(subject & (before | pl.col(INDEX).is_in(waited))))
        return events

    def _may_have_waited(self, order: ErasureOrdered) -> pl.Expr:
        """Whether an event was published before what was parked of the subject was known to be gone."""
        released = self.released.get(order.id)
        return pl.lit(True) if released is None else pl.col(TIMESTAMP) <= released


def _accepted_by(record: Record, order: ErasureOrdered) -> bool:
    """Whether ingest accepted it before the erasure was ordered."""
    at = number(dict(record.headers).get("sx-ingested"))
    return at is not None and at <= clock.milliseconds(order.ordered_at)


def _order_of(subject: ErasureSubject) -> ErasureOrdered:
    """What the order says, which may be heard of a moment later than the subject."""
    return ErasureOrdered.build(
        id=subject.id, source=subject.source, field=subject.field, pseudonym="", salt="",
        digest=digest("", subject.value), upto=subject.upto, by="", ordered_at=subject.ordered_at,
    )  # fmt: skip


def digest(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()


def answer(subject: ErasureSubject, store: str, found: int, deleted: int, reason: str = "") -> Output:
    """What a store tells when a subject is gone from it."""
    id = f"{subject.id}/{store}"
    event = DisposalChanged.build(
        id=id, change="done", policy="erasure", store=store, source=subject.source, before=subject.ordered_at,
        rows_before=found, rows_deleted=deleted, rows_after=found - deleted, reason=reason, by="detector",
        recorded_at=clock.now(), erasure=subject.id,
    )  # fmt: skip
    return Output(DISPOSALS.name, id.encode(), event.encode())
