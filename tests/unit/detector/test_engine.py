"""Combine and merge give what counting one event at a time gives, however the events are cut and mixed."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Kpi, Source
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.wire import SCHEMA_ID
from services.detector.core.combine import partials, split
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.engine import Engine
from services.detector.core.steps import CLOSED, Announcement, Mark, Rows
from tests.examples import examples

MINUTE = 60_000
PARTITIONS = 2
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "departures", "title": "Departures", "owner": "ops", "event_id": "id",
        "event_time": "at", "key": ["carrier"], "partitions": PARTITIONS,
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
            {"name": "carrier", "type": "string", "nullable": True}, {"name": "delay", "type": "int", "nullable": True},
        ],
    }
)  # fmt: skip
WINDOWS = [
    {"tumbling": "10m"},
    {"sliding": "30m", "every": "10m"},
    {"sliding": "10m", "every": "10m"},
    {"sliding": "120m", "every": "10m"},
    {"session": "7m"},
]


@dataclass(frozen=True)
class Event:
    minute: int
    carrier: str | None
    delay: int | None
    partition: int


EVENTS = st.lists(
    st.builds(
        Event,
        st.integers(0, 90),
        st.sampled_from(["UA", "B6", None]),
        st.none() | st.integers(-20, 200),
        st.integers(0, PARTITIONS - 1),
    ),
    min_size=1,
    max_size=40,
)


def kpi(window: dict[str, str], lateness: str = "1d") -> CompiledKpi:
    definition = DEFINITION.validate_python(
        {
            "kind": "kpi", "id": "delay", "title": "Delay", "owner": "ops", "source": "departures",
            "where": "delay is null or delay < 150", "value": "sum(delay) + 0 * count(*)", "by": ["carrier"],
            "window": window, "lateness": lateness,
        }
    )  # fmt: skip
    assert isinstance(definition, Kpi)
    assert isinstance(SOURCE, Source)
    return compile_kpi(definition, 1, SOURCE)


def frame(events: list[tuple[int, Event]]) -> pl.DataFrame:
    """(offset, event) as combine sees them."""
    return pl.DataFrame(
        {
            "carrier": [event.carrier for _, event in events],
            "delay": [event.delay for _, event in events],
            TIME: [event.minute * MINUTE for _, event in events],
            OFFSET: [offset for offset, _ in events],
            PARTITION: [event.partition for _, event in events],
            SCHEMA_ID: [7] * len(events),
            "assessed": [True] * len(events),
            "suspect": [event.delay is None for _, event in events],
            "worst": [2 if event.delay is None else 0 for _, event in events],
        },
        schema={
            "carrier": pl.String, "delay": pl.Int32, TIME: pl.Int64, OFFSET: pl.Int64,
            PARTITION: pl.Int32, SCHEMA_ID: pl.Int64,
            "assessed": pl.Boolean, "suspect": pl.Boolean, "worst": pl.UInt8,
        },
    )  # fmt: skip


Key = tuple[str, int, int]


def oracle(events: list[Event], window: dict[str, str]) -> dict[Key, tuple[int | None, int]]:
    """One event at a time: (series, start, stop) → (sum of delays, count)."""
    chosen = [event for event in events if event.delay is None or event.delay < 150]
    groups: dict[Key, list[int | None]] = defaultdict(list)
    if "session" in window:
        for carrier in {event.carrier for event in chosen}:
            times = sorted(event.minute for event in chosen if event.carrier == carrier)
            start = last = times[0]
            sessions: list[tuple[int, int]] = []
            for time in times[1:]:
                if time - last >= 7:
                    sessions.append((start, last))
                    start = time
                last = time
            sessions.append((start, last))
            for begin, end in sessions:
                for event in chosen:
                    if event.carrier == carrier and begin <= event.minute <= end:
                        groups[name(carrier), begin, end + 7].append(event.delay)
    else:
        size = int(window.get("tumbling", window.get("sliding", "")).rstrip("m"))
        for event in chosen:
            start = event.minute // 10 * 10
            while start > event.minute - size:
                groups[name(event.carrier), start, start + size].append(event.delay)
                start -= 10
    return {key: (total(delays), len(delays)) for key, delays in groups.items()}


def name(carrier: str | None) -> str:
    return "carrier" if carrier is None else f"carrier={carrier}"


def total(delays: list[int | None]) -> int | None:
    known = [delay for delay in delays if delay is not None]
    return sum(known) if known else None


Step = tuple[list[Rows], list[Mark], list[Announcement], int]


class Merged:
    """Combine and merge by hand: what the handlers do, without Kafka."""

    def __init__(self, compiled: CompiledKpi) -> None:
        self.compiled = compiled
        self.engine = self.fresh()
        self.offsets = [0] * PARTITIONS
        self.now = 0
        self.snapshot = self.engine.snapshot()
        self.log: list[Step] = []
        """The steps since the snapshot."""
        self.published: dict[tuple[str, int], dict[str, Any]] = {}
        self.revisions: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.late = 0
        self.asides: list[dict[str, int]] = []
        announced = [Announcement(compiled.name, number, None, True) for number in range(PARTITIONS)]
        self.step([], [], announced)

    def fresh(self) -> Engine:
        engine = Engine(1)
        engine.define({self.compiled.name: self.compiled})
        return engine

    def feed(self, events: list[Event], provisional: bool = False) -> None:
        rows = []
        for partition in range(PARTITIONS):
            mine = [event for event in events if event.partition == partition]
            numbered = [(self.offsets[partition] + place, event) for place, event in enumerate(mine)]
            self.offsets[partition] += len(mine)
            if mine:
                parts = split(partials(frame(numbered), [self.compiled]), 1)
                rows += [Rows((self.compiled.name,), partition, part) for part in parts.values()]
        marks = []
        for partition in range(PARTITIONS):
            times = [event.minute for event in events if event.partition == partition]
            marks.append(Mark("departures", partition, max(times) * MINUTE if times else None, False))
        self.now += 2_000 if provisional else 1
        self.step(rows, marks, [])

    def step(self, rows: list[Rows], marks: list[Mark], announced: list[Announcement]) -> None:
        self.log.append((rows, marks, announced, self.now))
        emissions = self.engine.step(*self.log[-1])
        assert self.engine.parked == {}
        for emission in emissions:
            if emission.late.height:
                self.late += int(emission.late["count"].sum())
                minutes = pl.col("start", CLOSED) // MINUTE
                self.asides += (
                    emission.late.select(minutes, "count").select("start", "count", CLOSED).to_dicts()
                )
            for row in emission.due.to_dicts():
                key = row["series_key"], row["start"] // MINUTE
                self.revisions[key].append(row["revision"])
                self.published[key] = row

    def checkpoint(self) -> None:
        self.snapshot, self.log = self.engine.snapshot(), []

    def restart(self) -> None:
        """What is in memory is lost: the snapshot, and the steps since."""
        self.engine = self.fresh()
        self.engine.restore(*self.snapshot)
        for step in self.log:
            self.engine.step(*step)

    def finish(self) -> None:
        self.step(
            [], [Mark("departures", number, 10_000 * MINUTE, False) for number in range(PARTITIONS)], []
        )

    def answer(self) -> dict[Key, tuple[int | None, int]]:
        return {
            (series, start, row["stop"] // MINUTE): (
                None if row["value"] is None else int(row["value"]),
                row["count"],
            )
            for (series, start), row in self.published.items()
            if row["status"] != "retracted"
        }


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(100)
@given(events=EVENTS, data=st.data())
def test_any_cut_any_disorder_and_any_restart_give_the_batch_result(
    window: dict[str, str], events: list[Event], data: st.DataObject
) -> None:
    engine = Merged(kpi(window))
    rest = list(events)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        engine.feed(rest[:size], provisional=data.draw(st.booleans()))
        rest = rest[size:]
        if data.draw(st.booleans()):
            engine.checkpoint()
        if data.draw(st.booleans()):
            engine.restart()
    engine.finish()
    assert engine.late == 0
    assert engine.answer() == oracle(events, window)
    assert {row["status"] for row in engine.published.values()} <= {"final", "retracted"}
    (state,) = engine.engine.states.values()
    assert (state.rows, state.open_windows) == (0, 0), "what is closed for good leaves the state"
    for revisions in engine.revisions.values():
        assert revisions == list(range(1, len(revisions) + 1)), "every publication has its own revision"


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@examples(60)
@given(events=EVENTS, minutes=st.lists(st.integers(0, 240), min_size=1, max_size=6))
def test_it_is_known_beforehand_whether_marks_end_a_window(
    window: dict[str, str], events: list[Event], minutes: list[int]
) -> None:
    merged = Merged(kpi(window))
    parts = split(partials(frame(list(enumerate(events))), [merged.compiled]), 1)
    merged.step([Rows((merged.compiled.name,), 0, part) for part in parts.values()], [], [])
    for place, minute in enumerate(minutes):
        marks = [Mark("departures", place % PARTITIONS, minute * MINUTE, False)]
        known = merged.engine.closes(marks)
        assert known == any(emission.due.height for emission in merged.engine.step([], marks, [], 0))


@examples(60)
@given(events=EVENTS)
def test_offset_ranges_hold_the_events_and_their_counts_add_up(events: list[Event]) -> None:
    engine = Merged(kpi({"tumbling": "10m"}))
    engine.feed(events, provisional=False)
    engine.finish()
    placed: list[tuple[int, int, Event]] = []
    offsets = [0] * PARTITIONS
    for event in events:
        placed.append((event.partition, offsets[event.partition], event))
        offsets[event.partition] += 1
    for (series, start), row in engine.published.items():
        members = [
            (partition, offset)
            for partition, offset, event in placed
            if name(event.carrier) == series
            and start <= event.minute < start + 10
            and (event.delay is None or event.delay < 150)
        ]
        ranges = {each["partition"]: (each["first"], each["last"]) for each in row["offsets"]}
        assert ranges == {
            partition: (
                min(offset for number, offset in members if number == partition),
                max(offset for number, offset in members if number == partition),
            )
            for partition in {number for number, _ in members}
        }
        assert (row["count"], row["assessed"]) == (len(members), len(members))


@pytest.mark.parametrize("window", [{"tumbling": "10m"}, {"session": "7m"}], ids=str)
def test_an_event_after_lateness_is_counted_as_late_and_changes_nothing(window: dict[str, str]) -> None:
    engine = Merged(kpi(window, lateness="5m"))
    engine.feed([Event(1, "UA", 5, 0), Event(60, "UA", 7, 0), Event(60, "UA", 7, 1)], provisional=False)
    before = dict(engine.published)
    engine.feed([Event(2, "UA", 100, 1)], provisional=False)
    assert engine.late == 1
    assert engine.published == before


def test_an_event_too_late_for_some_sliding_windows_is_told_of_with_the_end_of_the_last_of_them() -> None:
    engine = Merged(kpi({"sliding": "30m", "every": "10m"}, lateness="5m"))
    engine.feed([Event(5, "UA", 5, 0), Event(27, "UA", 7, 0), Event(27, "UA", 7, 1)])
    engine.feed([Event(8, "UA", 100, 1)])
    assert engine.asides == [{"start": 0, "count": 1, "closed": 22}]
    engine.feed([Event(90, "UA", 7, 0), Event(90, "UA", 7, 1)])
    values = {start: engine.published["carrier=UA", start]["value"] for start in (-20, -10, 0)}
    assert values == {-20: 5.0, -10: 5.0, 0: 119.0}


def test_an_event_within_lateness_revises_a_final_window() -> None:
    engine = Merged(kpi({"tumbling": "10m"}, lateness="2h"))
    engine.feed([Event(1, "UA", 5, 0), Event(60, "UA", 7, 0), Event(60, "UA", 7, 1)], provisional=False)
    engine.feed([Event(2, "UA", 100, 1)], provisional=False)
    row = engine.published["carrier=UA", 0]
    assert (row["value"], row["revision"], row["status"]) == (105.0, 2, "final")


def test_a_window_in_progress_is_provisional_and_only_when_it_changed() -> None:
    engine = Merged(kpi({"tumbling": "10m"}))
    engine.feed([Event(1, "UA", 5, 0)], provisional=True)
    engine.feed([], provisional=True)
    assert engine.revisions["carrier=UA", 0] == [1]
    assert engine.published["carrier=UA", 0]["status"] == "provisional"


def test_a_session_that_grows_backwards_withdraws_its_former_start() -> None:
    engine = Merged(kpi({"session": "7m"}))
    engine.feed([Event(20, "UA", 1, 0)], provisional=True)
    engine.feed([Event(15, "UA", 1, 1)], provisional=True)
    assert engine.published["carrier=UA", 20]["status"] == "retracted"
    assert engine.published["carrier=UA", 15]["count"] == 2
