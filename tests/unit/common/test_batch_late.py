"""The batch twin leaves out what the engine says came too late, and is then equal to what the engine published."""

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Catalog
from libs.common.twins import batch
from services.detector.core.backfill import Scope
from tests.examples import examples
from tests.unit.common.sample import connection
from tests.unit.detector.test_backfill import Archived
from tests.unit.detector.test_engine import MINUTE, PARTITIONS, WINDOWS, Event
from tests.unit.gateway.test_explained_exactly import EVENTS, History

LATE = {
    "id": pl.Int64, "series": pl.String, "start": pl.Int64, "partition": pl.Int32, "first": pl.Int64,
    "last": pl.Int64, "closed": pl.Int64,
}  # fmt: skip
Windows = dict[tuple[str, int], tuple[int, float | None, int]]
"""(series, start) → stop, value, count."""


def batch_of(history: History, backfilled: list[tuple[int, ...]] | None = None) -> Windows:
    """What the twin says of the events fed, without what was told to be late, but with what was backfilled."""
    counted = pl.DataFrame(backfilled or [], batch.BACKFILLED_SCHEMA, orient="row")
    batch.put(connection(), batch.BACKFILLED, counted)
    rows = [
        (event.carrier, event.delay, event.minute * MINUTE, partition, offset)
        for (partition, offset), event in history.events.items()
    ]
    names = ["carrier", "delay", "t", "__partition", "__offset"]
    types = [pl.String, pl.Int32, pl.Int64, pl.Int32, pl.Int64]
    batch.put(
        connection(), "departures", pl.DataFrame(rows, dict(zip(names, types, strict=True)), orient="row")
    )
    late = [
        (
            number, one["series_key"], milliseconds(one["window_start"]), one["partition"], one["first"], one["last"],
            None if one["closed_to"] is None else milliseconds(one["closed_to"]),
        )
        for number, one in enumerate(history.late)
    ]  # fmt: skip
    batch.put(connection(), batch.LATE, pl.DataFrame(late, LATE, orient="row"))
    assert history.compiled.source is not None
    kpi = history.compiled.kpi.model_copy(update={"value": "sum(delay)"})
    statement = batch.statement(kpi, Catalog.of([kpi, history.compiled.source]), late=True)
    found = connection().execute(statement).fetchall()
    return {(series, w0): (w1, value, count) for series, w0, w1, value, count in found}


def milliseconds(time: Any) -> int:
    return round(time.timestamp() * 1000)


def published(history: History, revisions: list[dict[str, Any]] | None = None) -> Windows:
    newest = {(row["series_key"], row["start"]): row for row in revisions or history.revisions}
    return {
        key: (row["stop"], row["value"], row["count"])
        for key, row in newest.items()
        if row["status"] != "retracted"
    }


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(60)
@given(events=EVENTS, data=st.data())
def test_whatever_the_disorder_it_is_equal_to_what_was_published_last(
    window: dict[str, str], events: list[Event], data: st.DataObject
) -> None:
    history = History(window)
    history.feed_in_batches(events, data)
    assert batch_of(history) == published(history)


@pytest.mark.parametrize("window", WINDOWS[:4], ids=str)
@examples(60)
@given(
    events=EVENTS, after=EVENTS, start=st.integers(-20, 60), length=st.integers(1, 80), closed=st.integers(0, 200),
    data=st.data(),
)  # fmt: skip
def test_what_came_too_late_counts_where_it_was_backfilled_and_not_what_came_after(
    window: dict[str, str], events: list[Event], after: list[Event], start: int, length: int, closed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    history = History(window)
    history.feed_in_batches(events, data)
    archived = Archived(history)
    begin, stop, limit = start * MINUTE, min(start + length, closed) * MINUTE, closed * MINUTE
    if begin >= stop:
        return
    archived.backfill(Scope(begin, stop, limit), [])
    ends = Counter(partition for partition, _ in history.events)
    history.feed(after, provisional=False)
    backfilled = [(begin, stop, limit, partition, ends[partition]) for partition in range(PARTITIONS)]
    assert batch_of(history, backfilled) == published(history, archived.rows)
