"""Whoever reads a source's events gets none of an erased subject from before the order, and all from after it."""

import hashlib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl

from libs.common import clock
from libs.common.batches import TIMESTAMP
from libs.common.events import DisposalChanged, ErasureOrdered, ErasureSubject
from libs.common.expressions import OFFSET
from libs.common.topics import DISPOSALS, ERASURES, SUBJECTS
from libs.common.wire import INDEX
from services.detector.handlers.erasures import Erasures

ORDERED = clock.now() - timedelta(hours=1)
UPTO = {"0": 2}
Arrival = tuple[str, timedelta | None]
"""Whose event it is, and when ingest accepted it, from the order on; None: others wrote it to the topic."""


def erasures() -> Erasures:
    settings: Any = None
    return Erasures(settings)


def take(erasures: Erasures, topic: str, event: Any) -> None:
    record: Any = SimpleNamespace(value=event.encode())
    erasures.take(topic, record)


def ordered() -> ErasureOrdered:
    digest = hashlib.sha256(b"salt\0Ann").hexdigest()
    return ErasureOrdered.build(
        id="e", source="cards", field="holder", pseudonym="p", salt="salt", digest=digest, upto=UPTO, by="stew",
        ordered_at=ORDERED,
    )  # fmt: skip


def subject() -> ErasureSubject:
    return ErasureSubject.build(
        id="e", source="cards", field="holder", value="Ann", series=[], rounds=1, upto=UPTO, ordered_at=ORDERED,
        stores=["ingest.parked", "detector.state/0"],
    )  # fmt: skip


def unparked(after: timedelta) -> DisposalChanged:
    return DisposalChanged.build(
        id="e/ingest.parked", change="done", policy="erasure", store="ingest.parked", source="cards", before=ORDERED,
        by="ingest", recorded_at=ORDERED + after, erasure="e",
    )  # fmt: skip


def left(erasures: Erasures, *arrivals: Arrival, published: timedelta = timedelta(seconds=1)) -> list[int]:
    """The offsets of those that are left of these events, which begin at offset 0."""
    stamp = clock.milliseconds(ORDERED + published)
    records: list[Any] = [
        SimpleNamespace(
            headers=() if at is None else (("sx-ingested", str(clock.milliseconds(ORDERED + at)).encode()),)
        )
        for _, at in arrivals
    ]
    count = len(records)
    events = pl.DataFrame(
        {
            INDEX: pl.Series(range(count), dtype=pl.UInt32), OFFSET: range(count), TIMESTAMP: [stamp] * count,
            "holder": [holder for holder, _ in arrivals],
        }
    )  # fmt: skip
    return erasures.left("cards", 0, events, records)[OFFSET].to_list()


BEFORE, AFTER = -timedelta(minutes=5), timedelta(milliseconds=1)


def test_events_before_the_boundary_are_left_out_and_those_behind_it_are_new() -> None:
    found = erasures()
    take(found, ERASURES.name, ordered())
    assert left(found, ("Ann", None), ("Bob", BEFORE), ("Ann", AFTER), ("Bob", AFTER), ("Ann", None)) == [
        1,
        2,
        3,
        4,
    ]


def test_an_event_that_was_parked_when_the_order_came_is_left_out_though_it_is_published_later() -> None:
    found = erasures()
    take(found, ERASURES.name, ordered())
    assert left(
        found, ("Bob", BEFORE), ("Bob", BEFORE), ("Ann", BEFORE), ("Bob", BEFORE), ("Ann", AFTER)
    ) == [0, 1, 3, 4]


def test_what_is_published_after_the_parked_events_are_gone_is_not_looked_at() -> None:
    found = erasures()
    take(found, ERASURES.name, ordered())
    take(found, DISPOSALS.name, unparked(timedelta(seconds=1)))
    take(found, DISPOSALS.name, unparked(timedelta(minutes=1)))  # again, after a kill: the first counts
    waited = ("Bob", BEFORE), ("Bob", BEFORE), ("Ann", BEFORE)
    assert left(found, *waited, published=timedelta(seconds=1)) == [0, 1]
    assert left(found, *waited, published=timedelta(seconds=2)) == [0, 1, 2]


def test_a_subject_that_is_heard_of_before_its_order_is_left_out_already_and_the_order_says_the_same() -> (
    None
):
    found = erasures()
    take(found, SUBJECTS.name, subject())
    events: tuple[Arrival, ...] = ("Ann", None), ("Bob", None), ("Ann", BEFORE), ("Ann", AFTER)
    assert left(found, *events) == [1, 3]
    take(found, ERASURES.name, ordered())
    assert (left(found, *events), len(found.orders["cards"])) == ([1, 3], 1)
    take(found, SUBJECTS.name, subject())
    assert [each.salt for each in found.orders["cards"]] == ["salt"]
