"""A changed KPI is a new version beside the old one, which goes on until the new one has all that it has."""

from typing import Any

import polars as pl

from libs.common.catalog import DEFINITION, Kpi, Source
from services.detector.core.combine import partials
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.derived import contributions
from services.detector.core.engine import INPUT, Engine
from services.detector.core.steps import Announcement, Emission, Mark, Ready, Rows
from tests.unit.detector.test_engine import MINUTE, SOURCE, Event, frame

MERGE = 2
"""Merge partitions; the engine is one of them."""


def kpi(version: int, value: str = "count(*)", **more: Any) -> CompiledKpi:
    definition = {
        "kind": "kpi", "id": "flown", "title": "Flown", "owner": "ops", "source": "departures", "value": value,
        "window": {"tumbling": "10m"}, "lateness": "1d", **more,
    }  # fmt: skip
    parsed = DEFINITION.validate_python({name: each for name, each in definition.items() if each is not None})
    assert isinstance(parsed, Kpi)
    assert isinstance(SOURCE, Source)
    return compile_kpi(parsed, version, None if parsed.over else SOURCE)


OLD, NEW = kpi(1), kpi(2, "count(*) * 10")
OVER = kpi(1, "sum(part)", id="all", source=None, over={"part": "flown"})


def engine(*kpis: CompiledKpi) -> Engine:
    found = Engine(MERGE)
    found.define({each.name: each for each in kpis})
    return found


def live(compiled: CompiledKpi, partition: int, minute: int | None = None) -> Announcement:
    return Announcement(compiled.name, partition, None if minute is None else minute * MINUTE, True)


def rows(compiled: CompiledKpi, minute: int) -> Rows:
    return Rows((compiled.name,), 0, partials(frame([(minute, Event(minute, "UA", 1, 0))]), [compiled]))


def marks(minute: int) -> list[Mark]:
    return [Mark("departures", number, minute * MINUTE, False) for number in range(2)]


def values(emissions: list[Emission]) -> list[tuple[str, int, float | None, str]]:
    return [
        (each.compiled.name, row["start"] // MINUTE, row["value"], row["status"])
        for each in emissions
        for row in each.due.to_dicts()
    ]


PASSED = [Mark(f"{INPUT}flown", number, 15 * MINUTE, False) for number in range(MERGE)]
BROUGHT = [live(OVER, number) for number in range(MERGE)]


def begun() -> Engine:
    """The old version is live and has published its window of minute 0; the new one was just defined."""
    found = engine(OLD)
    found.step([rows(OLD, 1)], marks(15), [live(OLD, 0), live(OLD, 1)], 0)
    found.define({each.name: each for each in (OLD, NEW)})
    return found


def test_the_old_version_goes_on_until_the_new_one_is_live_everywhere_and_as_far() -> None:
    found = begun()
    assert found.caught_up() == []
    assert values(found.step([rows(OLD, 12)], marks(25), [], 0)) == [("flown@1", 10, 1.0, "final")]
    behind = [Announcement(NEW.name, 0, 15 * MINUTE, False), live(NEW, 1)]
    assert values(found.step([rows(NEW, 1)], [], behind, 0)) == [("flown@2", 0, 10.0, "final")]
    assert found.caught_up() == [], "a partition is behind"
    assert values(found.step([rows(NEW, 12)], [], [live(NEW, 0, 25)], 0)) == [("flown@2", 10, 10.0, "final")]
    assert found.caught_up() == ["flown@2"]
    assert found.caught_up({"flown@2"}) == [], "that is told once"


def test_a_version_that_was_replaced_is_not_begun_any_more() -> None:
    found = engine(NEW)
    found.define({each.name: each for each in (OLD, NEW)})
    assert found.tracks.keys() == {"flown@2"}


def test_of_two_changes_one_after_the_other_the_one_between_is_dropped_and_the_last_has_to_catch_up() -> None:
    found, last = begun(), kpi(3, "count(*) * 100")
    found.define({each.name: each for each in (OLD, last)})
    assert found.states.keys() == {"flown@1", "flown@3"}
    found.step([], [], [live(last, 0, 5), live(last, 1, 5)], 0)
    assert found.caught_up() == ["flown@3"]


def test_a_restored_engine_has_both_versions_and_one_whose_old_version_is_over_has_not() -> None:
    found, both = begun(), {each.name: each for each in (OLD, NEW)}
    again = Engine(MERGE)
    again.define(both)
    again.restore(*found.snapshot())
    assert values(again.step([rows(OLD, 12)], marks(25), [], 0)) == [("flown@1", 10, 1.0, "final")]
    again = engine(OLD, NEW)
    again.restore(*Engine(MERGE).snapshot())
    assert again.tracks.keys() == both.keys(), "a snapshot from before both says nothing of them"
    found.define({NEW.name: NEW})
    again.restore(*found.snapshot())
    assert again.tracks.keys() == {"flown@2"}


def given(version: CompiledKpi, emissions: list[Emission]) -> list[Rows]:
    """What a KPI over it gets of the emissions of one version."""
    due = [each.due for each in emissions if each.compiled.name == version.name and each.due.height]
    keys = [pl.Series(each["series_key"]) for each in due]
    return [
        Rows((OVER.name,), 0, contributions(OVER, version, frame, key))
        for frame, key in zip(due, keys, strict=True)
    ]


def test_a_kpi_over_it_takes_the_new_version_when_all_merge_partitions_are_ready_and_not_before() -> None:
    inner, outer = engine(OLD, NEW), engine(OLD, NEW, OVER)
    both = [live(each, number) for each in (OLD, NEW) for number in range(2)]
    emissions = inner.step([rows(OLD, 1), rows(NEW, 1), rows(NEW, 2)], marks(15), both, 0)
    assert values(outer.step([*given(OLD, emissions), *given(NEW, emissions)], PASSED, BROUGHT, 0)) == [
        ("all@1", 0, 1.0, "final")
    ]
    assert values(outer.step([], [], [], 0, [Ready(NEW.name, 0)])) == []
    again = engine(OLD, NEW, OVER)
    again.restore(*outer.snapshot())
    for each in (outer, again):
        assert values(each.step([], [], [], 0, [Ready(NEW.name, 1)])) == [("all@1", 0, 20.0, "final")]
        assert values(each.step(given(OLD, emissions), [], [], 0)) == [], "the old one counts no more"


def test_a_window_that_the_new_version_has_not_is_withdrawn_above_it() -> None:
    inner, outer = engine(OLD, NEW), engine(OLD, NEW, OVER)
    emissions = inner.step([rows(OLD, 1)], marks(15), [live(OLD, number) for number in range(2)], 0)
    outer.step(given(OLD, emissions), PASSED, BROUGHT, 0)
    ready = [Ready(NEW.name, number) for number in range(MERGE)]
    assert values(outer.step([], [], [], 0, ready)) == [("all@1", 0, None, "retracted")]


def test_a_kpi_over_one_that_runs_begins_when_all_merge_partitions_have_brought_what_stands() -> None:
    inner, outer = engine(OLD), engine(OLD, OVER)
    inner.step([rows(OLD, 1)], marks(15), [live(OLD, number) for number in range(2)], 0)
    inner.step([rows(OLD, 2)], [], [], 0)
    assert [each.name for each in outer.wanting(0)] == [OVER.name]
    ((compiled, due),) = inner.standing(OVER)
    assert (compiled, due["revision"].to_list()) == (OLD, [2])
    stands = [Rows((OVER.name,), 0, contributions(OVER, OLD, due, due["series_key"]))]
    assert values(outer.step(stands, PASSED, BROUGHT[:1], 0)) == []
    assert outer.caught_up() == []
    assert values(outer.step([], [], BROUGHT[1:], 0)) == [("all@1", 0, 2.0, "final")]
    assert outer.caught_up() == ["all@1"]
    assert outer.wanting(0) == []


def test_windows_that_one_merge_partition_had_closed_when_a_kpi_over_it_began_are_left_out_whole() -> None:
    inner, outer = engine(OLD), engine(OLD, OVER)
    emissions = inner.step([rows(OLD, 1), rows(OLD, 12)], marks(25), [live(OLD, 0), live(OLD, 1)], 0)
    outer.step(given(OLD, emissions), [], [live(OVER, 0)], 0)
    passed = [Mark(f"{INPUT}flown", number, 25 * MINUTE, False) for number in range(MERGE)]
    again = engine(OLD, OVER)
    again.restore(*outer.snapshot())
    for each in (outer, again):
        assert values(each.step([], passed, [live(OVER, 1, 10)], 0)) == [("all@1", 10, 1.0, "final")]
        assert values(each.step(given(OLD, emissions)[:1], [], [], 0)) == [("all@1", 10, 1.0, "final")]
