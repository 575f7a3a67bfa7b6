"""A subject that is erased from merge's state leaves it as if its events had never been there."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Kpi, Source
from libs.common.events import ErasedSeries
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.wire import SCHEMA_ID
from services.detector.core.combine import partials
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.derived import contributions
from services.detector.core.engine import INPUT, Engine
from services.detector.core.erasure import erase
from services.detector.core.steps import Announcement, Emission, Mark, Rows
from tests.examples import examples

MINUTE = 60_000
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "cards", "title": "Cards", "owner": "ops", "event_id": "id", "event_time": "at",
        "partitions": 1,
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "shop", "type": "string"},
            {"name": "holder", "type": "string", "classification": "personal"}, {"name": "amount", "type": "int"},
        ],
    }
)  # fmt: skip
SUBJECT = "Ann, A=1"
WINDOWS = [
    {"tumbling": "10m"}, {"sliding": "30m", "every": "10m"}, {"sliding": "120m", "every": "10m"}, {"session": "7m"}
]  # fmt: skip
SERIES = [ErasedSeries(kpi=kpi, dimension="holder", value=SUBJECT) for kpi in ("spent", "twice")]
Event = tuple[int, str, str, int]
"""Minute, holder, shop, amount."""
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 90),
        st.sampled_from([SUBJECT, "Ann", "Bob"]),
        st.sampled_from("xy"),
        st.integers(-9, 99),
    ),
    min_size=1,
    max_size=30,
)


def kpi(id: str, **more: Any) -> CompiledKpi:
    definition = DEFINITION.validate_python(
        {
            "kind": "kpi", "id": id, "title": id, "owner": "ops", "value": "sum(amount)", "lateness": "1d",
            "early": "0s", **more,
        }
    )  # fmt: skip
    assert isinstance(definition, Kpi)
    assert isinstance(SOURCE, Source)
    return compile_kpi(definition, 1, None if definition.over else SOURCE)


class Merged:
    """One merge partition with a KPI by holder, and two over it: one by holder, and one of all."""

    def __init__(self, window: dict[str, str]) -> None:
        self.base = kpi("spent", source="cards", by=["holder", "shop"], window=window)
        self.over: list[CompiledKpi] = []
        if "session" not in window:
            self.over = [
                kpi("twice", over={"a": "spent"}, value="sum(a) * 2", by=["holder"], window=window),
                kpi("all", over={"a": "spent"}, value="sum(a)", window=window),
            ]
        self.engine = Engine(1)
        self.engine.define({each.name: each for each in (self.base, *self.over)})
        self.engine.step((), (), [Announcement(self.base.name, 0, None, True)], 0)
        self.offset = 0
        self.out: dict[tuple[str, str, int], tuple[float | None, int, str]] = {}

    def feed(self, events: list[Event], upto: int) -> None:
        rows = []
        if events:
            times = [minute * MINUTE for minute, *_ in events]
            frame = pl.DataFrame(
                {
                    "holder": [each[1] for each in events], "shop": [each[2] for each in events],
                    "amount": [each[3] for each in events], TIME: times,
                    OFFSET: range(self.offset, self.offset + len(events)), PARTITION: [0] * len(events),
                    SCHEMA_ID: [7] * len(events), "assessed": [True] * len(events), "suspect": [False] * len(events),
                    "worst": [0] * len(events),
                },
                schema_overrides={"amount": pl.Int32, PARTITION: pl.Int32, "worst": pl.UInt8},
            )  # fmt: skip
            self.offset += len(events)
            rows = [Rows((self.base.name,), 0, partials(frame, [self.base]))]
        self._step(rows, [Mark("cards", 0, upto * MINUTE, False)])

    def _step(self, rows: list[Rows], marks: list[Mark]) -> None:
        onward: list[Rows] = []
        passed: list[Mark] = []
        for emission in self.engine.step(rows, marks, (), 1):
            for row in emission.due.to_dicts():
                key = emission.compiled.kpi.id, row["series_key"], row["start"]
                self.out[key] = row["value"], row["count"], row["status"]
            if emission.compiled is self.base and self.over:
                onward += self._onward(emission)
                passed.append(Mark(f"{INPUT}spent", 0, emission.watermark, False))
        if onward or passed:
            self._step(onward, passed)

    def _onward(self, emission: Emission) -> list[Rows]:
        found = []
        for each in self.over:
            keys = emission.due["series_key"]
            names = pl.Series([_part(key, each.kpi.by) for key in keys.to_list()], dtype=pl.String)
            found.append(Rows((each.name,), 0, contributions(each, self.base, emission.due, names)))
        return found

    def erase(self) -> tuple[int, int]:
        return erase(self.engine, SERIES, "e1")

    def held(self) -> str:
        """All that a snapshot would hold."""
        value, frames = self.engine.snapshot()
        return str(value) + "".join(str(frame.rows()) for frame in frames.values())


def _part(key: str, names: tuple[str, ...]) -> str:
    return ",".join(part for part in key.split(",") if part.partition("=")[0] in names)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@given(before=EVENTS, after=EVENTS, at=st.integers(0, 100))
@examples(10)
def test_what_follows_is_as_if_the_subject_had_never_been_there(
    window: dict[str, str], before: list[Event], after: list[Event], at: int
) -> None:
    others = [each for each in before if each[1] != SUBJECT]
    erased, never = Merged(window), Merged(window)
    erased.feed(before, at)
    never.feed(others, at)
    erased.erase()
    assert "Ann%2C" not in erased.held()
    erased.out.clear()
    never.out.clear()
    for merged in (erased, never):
        merged.feed(after, 100)
        merged.feed([], 10_000)
    mine = {key: value for key, value in erased.out.items() if key[0] != "all"}
    assert mine == {key: value for key, value in never.out.items() if key[0] != "all"}


@given(before=EVENTS, after=EVENTS)
@examples(20)
def test_what_was_made_of_the_subject_and_does_not_name_it_stays(
    before: list[Event], after: list[Event]
) -> None:
    erased, kept = Merged(WINDOWS[0]), Merged(WINDOWS[0])
    after = [each for each in after if each[1] != SUBJECT]
    for merged in (erased, kept):
        merged.feed(before, 200)
    erased.erase()
    for merged in (erased, kept):
        merged.feed(after, 201)
        merged.feed([], 10_000)
    assert {key: value for key, value in erased.out.items() if key[0] == "all"} == {
        key: value for key, value in kept.out.items() if key[0] == "all"
    }


def test_rows_found_and_dropped_are_told_and_a_second_time_there_are_none() -> None:
    merged = Merged(WINDOWS[0])
    merged.feed([(1, SUBJECT, "x", 1), (2, SUBJECT, "y", 2), (3, "Bob", "x", 3)], 20)
    found, dropped = merged.erase()
    assert found - dropped == 2, "two members of `all` have another name"
    assert merged.erase() == (0, 0)
    assert "Bob" in merged.held()
