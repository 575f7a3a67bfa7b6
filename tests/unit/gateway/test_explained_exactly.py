"""Whatever the disorder, every revision that the engine publishes is found again to the event, late ones apart."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import parse_series_key
from services.detector.core.combine import partials
from services.detector.core.states import States
from services.detector.core.watermarks import Watermark
from services.gateway.core.provenance import Found, compare, frame_of, in_ranges, late_in, taken
from tests.examples import examples
from tests.unit.detector.test_engine import MINUTE, PARTITIONS, WINDOWS, Event, frame, kpi

EVENTS = st.lists(
    st.builds(
        Event, st.integers(0, 60), st.sampled_from(["UA", None]), st.sampled_from([None, 5, 200]),
        st.integers(0, PARTITIONS - 1),
    ),
    min_size=1, max_size=40,
)  # fmt: skip
TYPES = {"carrier": "string", "delay": "int"}


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class History:
    """What the archive holds after the events were fed in batches: events, every revision, what was late."""

    def __init__(self, window: dict[str, str]) -> None:
        self.compiled = kpi(window, lateness="3m")
        self.state = States().together([self.compiled])
        self.watermark, self.now = Watermark(PARTITIONS), 0
        self.events: dict[tuple[int, int], Event] = {}
        self.revisions: list[dict[str, Any]] = []
        self.late: list[dict[str, Any]] = []

    def feed(self, events: list[Event], provisional: bool) -> None:
        numbers = Counter(partition for partition, _ in self.events)
        for partition in range(PARTITIONS):
            mine = [event for event in events if event.partition == partition]
            numbered = [(numbers[partition] + place, event) for place, event in enumerate(mine)]
            self.events |= {(partition, offset): event for offset, event in numbered}
            if mine:
                at = self.watermark.at
                closed = None if at is None else moment(at - self.compiled.lateness)
                rows = partials(frame(numbered), [self.compiled]).with_columns(partition=pl.lit(partition))
                self.late += [
                    {
                        "series_key": row["series_key"], "window_start": moment(row["start"]), "count": row["count"],
                        "partition": row["partition"], "first": row["first"], "last": row["end"], "closed_to": closed,
                    }
                    for row in self.state.add(rows, at).to_dicts()
                ]  # fmt: skip
        for partition in range(PARTITIONS):
            times = [event.minute for event in events if event.partition == partition]
            self.watermark.advance(partition, max(times) * MINUTE if times else None, False)
        self.now += 2_000 if provisional else 0
        due = self.state.emit(self.watermark.at, self.now)
        self.revisions += self.state.of(self.compiled, due).to_dicts()

    def feed_in_batches(self, events: list[Event], data: st.DataObject) -> None:
        """All of them, in batches and with values in progress as drawn, to the end."""
        rest = list(events)
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            self.feed(rest[:size], provisional=data.draw(st.booleans()))
            rest = rest[size:]
        self.finish()

    def finish(self) -> None:
        for partition in range(PARTITIONS):
            self.watermark.advance(partition, 10_000 * MINUTE, False)
        self.feed([], False)

    def found_again(self, row: dict[str, Any]) -> tuple[list[tuple[int, int]], int]:
        """The members of a revision by place, and how many events of its window are outside."""
        places = list(self.events)
        documents = [
            json.dumps({"carrier": event.carrier, "delay": event.delay}) for event in self.events.values()
        ]
        marks = taken(frame_of(documents, TYPES), self.compiled.where, parse_series_key(row["series_key"]))
        taken_places = [place for place, mark in zip(places, marks, strict=True) if mark]
        found = [Found(place, moment(self.events[place].minute * MINUTE)) for place in taken_places]
        late = [one for one in self.late if one["series_key"] == row["series_key"]]
        gap = self.compiled.kpi.window.session
        aside = late_in(found, late, gap) if gap else set()
        inside = [one.place for one in found if moment(row["start"]) <= one.time < moment(row["stop"])]
        members = [place for place in inside if in_ranges(place, row["offsets"]) and place not in aside]
        return members, len(inside) - len(members)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(40)
@given(events=EVENTS, data=st.data())
def test_every_revision_is_made_of_just_the_events_found_for_it(
    window: dict[str, str], events: list[Event], data: st.DataObject
) -> None:
    history = History(window)
    history.feed_in_batches(events, data)
    for row in history.revisions:
        members, outside = history.found_again(row)
        assert compare(members, outside, row["offsets"], row["count"]).agrees is True
        delays = [history.events[place].delay for place in members]
        assert row["value"] == (sum(filter(None, delays)) if any(delays) else None)


@pytest.mark.parametrize("window", WINDOWS[:3], ids=str)
@examples(20)
@given(events=EVENTS)
def test_what_the_last_revision_lacks_came_too_late(window: dict[str, str], events: list[Event]) -> None:
    history = History(window)
    for event in events:
        history.feed([event], provisional=False)
    history.finish()
    last = {(row["series_key"], row["start"]): row for row in history.revisions}
    for row in last.values():
        _, outside = history.found_again(row)
        start, stop = moment(row["start"]), moment(row["stop"])
        late = sum(
            one["count"] for one in history.late
            if one["series_key"] == row["series_key"] and start <= one["window_start"] < stop <= one["closed_to"]
        )  # fmt: skip
        assert outside == late


def test_a_late_event_that_two_sessions_grew_together_around_is_in_neither_count_nor_page() -> None:
    history = History({"session": "7m"})
    history.feed([Event(17, None, 5, 0), Event(17, None, 5, 1)], provisional=False)
    for minute in (15, 5, 9, 4):
        history.feed([Event(minute, "UA", minute, 0)], provisional=False)
    history.finish()
    row = (
        history.revisions[-1]
        if history.revisions[-1]["series_key"] == "carrier=UA"
        else history.revisions[-2]
    )
    assert (row["start"], row["count"], sum(one["count"] for one in history.late)) == (4 * MINUTE, 3, 1)
    members, outside = history.found_again(row)
    assert [history.events[place].minute for place in members] == [15, 9, 4]
    assert outside == 1
