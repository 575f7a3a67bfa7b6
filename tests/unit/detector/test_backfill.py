"""Live output and a backfill's together are what batch makes of all events, those that came too late included."""

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.core.backfill import Gone, Recomputation, Revised, Scope, revisions
from services.detector.core.merge import observations
from tests.examples import examples
from tests.unit.detector.test_engine import MINUTE, WINDOWS, Event, frame, oracle
from tests.unit.gateway.test_explained_exactly import EVENTS, History

EVER = Scope(-1_000 * MINUTE, 5_000 * MINUTE, 9_000 * MINUTE)
NONE = Gone({})
Figures = dict[tuple[str, int, int], tuple[float | None, int]]


class Archived:
    """What was published, every revision; a backfill reads it and adds to it."""

    def __init__(self, history: History) -> None:
        self.history, self.rows = history, list(history.revisions)

    @property
    def newest(self) -> list[dict[str, Any]]:
        return list({(row["series_key"], row["start"]): row for row in self.rows}.values())

    @property
    def figures(self) -> Figures:
        rows = [row for row in self.newest if row["status"] != "retracted"]
        return {(row["series_key"], row["start"], row["stop"]): (row["value"], row["count"]) for row in rows}

    def between(self, start: int, stop: int) -> pl.DataFrame:
        rows = [row for row in self.newest if start <= row["start"] < stop]
        names = ("assessed", "suspect", "worst", "schema_ids")
        return pl.DataFrame(rows, observations(self.history.compiled)).drop(names)

    def backfill(self, scope: Scope, cuts: list[int], gone: Gone = NONE, kills: int = 0) -> list[Revised]:
        """Events in pieces of these lengths; `kills`: after so many publications it is done anew from there."""
        work, found = Recomputation(self.history.compiled, scope), list[Revised]()
        compiled = self.history.compiled
        first, stop = work.reading
        places = sorted(self.history.events.items(), key=lambda each: each[1].minute)
        mine = [(place[1], event) for place, event in places if first <= event.minute * MINUTE < stop]
        sizes = iter(cuts)
        while True:
            size = next(sizes, 3)
            piece, mine = mine[:size], mine[size:]
            if piece:
                work.add(frame(piece))
            at = piece[-1][1].minute * MINUTE if piece else stop
            for told in work.upto(at, last=not piece):
                published = self.between(told.first, told.reach)
                found.append(revisions(compiled, told, published, scope.closed, gone))
                self.rows += found[-1].due.to_dicts()
                if len(found) == kills:
                    rest = Scope(scope.start, scope.stop, scope.closed)
                    again = Recomputation(compiled, rest, told.next)
                    low, _ = again.reading
                    mine = [
                        (place[1], event) for place, event in places if low <= event.minute * MINUTE < stop
                    ]
                    work, piece = again, [(0, Event(0, None, None, 0))]
                    break
            if not piece:
                return found


def whole(events: list[Event], window: dict[str, str]) -> Figures:
    """What batch makes of all events."""
    return {
        (series, start * MINUTE, stop * MINUTE): figures
        for (series, start, stop), figures in oracle(events, window).items()
    }


CUTS = st.lists(st.integers(1, 12), max_size=12)


def disjoint(figures: Figures) -> bool:
    spans = sorted(figures)
    pairs = pairwise(spans)
    return all(one[0] != other[0] or one[2] <= other[1] for one, other in pairs)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(60)
@given(events=EVENTS, cuts=CUTS, kills=st.integers(0, 3), data=st.data())
def test_all_events_count_once_it_was_backfilled_and_a_second_time_changes_nothing(
    window: dict[str, str], events: list[Event], cuts: list[int], kills: int, data: st.DataObject
) -> None:
    history = History(window)
    history.feed_in_batches(events, data)
    archived = Archived(history)
    archived.backfill(EVER, cuts, kills=kills)
    assert archived.figures == whole(events, window)
    before = list(archived.rows)
    again = archived.backfill(EVER, cuts[::-1])
    assert archived.rows == before
    assert sum(each.new + each.revised + each.retracted for each in again) == 0


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(60)
@given(
    events=EVENTS, cuts=CUTS, start=st.integers(-20, 60), length=st.integers(1, 80), closed=st.integers(0, 200),
    data=st.data(),
)  # fmt: skip
def test_only_closed_windows_of_the_range_are_touched(
    window: dict[str, str], events: list[Event], cuts: list[int], start: int, length: int, closed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    history = History(window)
    history.feed_in_batches(events, data)
    archived = Archived(history)
    was = archived.figures
    begin, end, limit = start * MINUTE, min(start + length, closed) * MINUTE, closed * MINUTE
    if begin >= end:
        return
    archived.backfill(Scope(begin, end, limit), cuts)
    inside = {
        key: each for key, each in whole(events, window).items() if begin <= key[1] < end and key[2] <= limit
    }
    now = archived.figures
    assert {key: now.get(key) for key in inside} == inside
    if "session" in window:
        assert disjoint(now)
    else:
        others = {key: each for key, each in was.items() if key not in inside}
        assert {key: each for key, each in now.items() if key not in inside} == others


def late() -> Archived:
    """A window of ten minutes, and an event that comes when it is closed."""
    history = History({"tumbling": "10m"})
    history.feed([Event(1, "UA", 5, 0), Event(2, "UA", 5, 1)], provisional=False)
    history.feed([Event(40, "UA", 5, 0), Event(40, "UA", 5, 1)], provisional=False)
    history.feed([Event(3, "UA", 7, 0)], provisional=False)
    history.finish()
    return Archived(history)


def test_what_differs_is_the_next_revision_and_history_stays() -> None:
    archived = late()
    assert [row["value"] for row in archived.rows] == [10, 10]
    (found,) = [each for each in archived.backfill(EVER, []) if each.due.height]
    assert (found.new, found.revised, found.retracted) == (0, 1, 0)
    assert [(row["start"], row["value"], row["revision"]) for row in archived.rows] == [
        (0, 10, 1), (40 * MINUTE, 10, 1), (0, 17, 2),
    ]  # fmt: skip


def test_what_has_no_events_any_more_is_withdrawn() -> None:
    archived = late()
    archived.history.events = {
        place: each for place, each in archived.history.events.items() if each.minute > 9
    }
    archived.backfill(EVER, [])
    assert (archived.rows[-1]["status"], archived.rows[-1]["revision"]) == ("retracted", 2)
    assert archived.figures.keys() == {("carrier=UA", 40 * MINUTE, 50 * MINUTE)}


def test_windows_whose_events_were_disposed_of_are_left_as_they_are() -> None:
    archived = late()
    archived.history.events = {
        place: each for place, each in archived.history.events.items() if each.minute > 9
    }
    found = archived.backfill(EVER, [], Gone({0: 1, 1: 1}, before=30 * MINUTE))
    assert sum(each.left for each in found) == 1
    assert len(archived.rows) == 2
    # Of a version that has published nothing the windows before the disposal cannot be known to be whole.
    archived.rows = []
    archived.backfill(EVER, [], Gone({0: 1, 1: 1}, before=30 * MINUTE))
    assert [row["start"] for row in archived.rows] == [40 * MINUTE]
    archived.rows = []
    assert sum(each.left for each in archived.backfill(EVER, [], Gone({0: 9, 1: 9}, before=90 * MINUTE))) == 1
