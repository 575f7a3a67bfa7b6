"""What is published of a window is compared with what plain SQL makes of it: value, count, measures, and being there."""

import pytest

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.clock import moment
from services.quality.core.parity import (
    Difference,
    Figures,
    Key,
    counting,
    differences,
    dropped,
    reach,
    spread,
    step,
    stood,
    uncorrected,
)

ONE, TWO = Key("carrier=UA", 0, 60_000), Key("carrier=B6", 60_000, 120_000)
FIGURES = Figures(0.5, 4, (1.0, None))


def kpi(**more: object) -> Kpi:
    definition = {
        "kind": "kpi", "id": "k", "title": "K", "owner": "o", "source": "s", "value": "count(*)",
        "window": {"tumbling": "1m"}, **more,
    }  # fmt: skip
    found = DEFINITION.validate_python({name: each for name, each in definition.items() if each is not None})
    assert isinstance(found, Kpi)
    return found


def test_the_same_windows_are_no_difference_and_sums_in_another_order_neither() -> None:
    assert differences({ONE: FIGURES}, {ONE: Figures(0.5 + 1e-13, 4, (1.0, None))}) == []


@pytest.mark.parametrize(
    "other",
    [
        Figures(0.6, 4, (1.0, None)),
        Figures(0.5, 5, (1.0, None)),
        Figures(0.5, 4, (None, None)),
        Figures(None, 4, (1.0, None)),
    ],
)
def test_another_value_count_or_measure_is_a_difference(other: Figures) -> None:
    (found,) = differences({ONE: FIGURES}, {ONE: other})
    assert (found.key, found.published, found.batch) == (ONE, FIGURES, other)


def test_a_window_that_one_side_lacks_is_a_difference_and_the_first_comes_first() -> None:
    first, second = differences({TWO: FIGURES}, {ONE: FIGURES})
    assert (first.key, first.published) == (ONE, None)
    assert (second.key, second.batch) == (TWO, None)


def test_single_events_of_one_moment_are_told_apart_by_their_place() -> None:
    first, second = Key("", 5, 6, (0, 1)), Key("", 5, 6, (1, 1))
    (found,) = differences(
        {first: Figures(1.0, 1), second: Figures(9.0, 1)}, {first: Figures(1.0, 1), second: Figures(2.0, 1)}
    )
    assert found.key == second


def test_a_stretch_is_as_long_as_a_window_is_apart_and_windows_reach_as_far_as_they_are_long() -> None:
    sliding = kpi(window={"sliding": "1h", "every": "5m"})
    assert (step(sliding).seconds, reach(sliding).seconds) == (300, 3600)
    assert reach(kpi(window={"session": "1h"})).days == 4
    assert step(kpi(window={"each": "event"})).seconds == 1


def test_a_kpi_over_others_rests_on_the_sources_beneath_each_once() -> None:
    inner, other = kpi(id="inner", source="a"), kpi(id="other", source="b")
    middle = kpi(id="middle", source=None, over={"x": "inner", "y": "other"}, value="sum(x)")
    outer = kpi(id="outer", source=None, over={"m": "middle", "i": "inner"}, value="sum(m)")
    assert Catalog.of([inner, other, middle, outer]).sources_of(outer) == ("a", "b")


# --- on Flink, where nothing tells what came too late ----------------------------------------------------


def test_a_window_that_lacks_events_may_have_dropped_them_and_one_of_another_value_did_not() -> None:
    found = differences(
        {ONE: Figures(3.0, 3), TWO: Figures(7.0, 4)},
        {ONE: Figures(4.0, 4), TWO: Figures(4.0, 4), Key("", 0, 1): Figures(1.0, 1)},
    )
    assert dropped(kpi(), found) == {ONE, Key("", 0, 1)}


def test_a_window_that_has_more_than_its_events_is_no_matter_of_late_ones() -> None:
    found = differences({ONE: Figures(5.0, 5), TWO: Figures(1.0, 1)}, {ONE: Figures(4.0, 4)})
    assert dropped(kpi(), found) == set()


def test_sessions_that_a_late_event_would_have_joined_are_left_out_with_the_joined_one() -> None:
    one, two, joined = Key("s", 0, 20), Key("s", 30, 50), Key("s", 0, 50)
    found = differences({one: Figures(1.0, 1), two: Figures(1.0, 1)}, {joined: Figures(3.0, 3)})
    assert dropped(kpi(window={"session": "20s"}), found) == {one, two, joined}


def test_sessions_of_as_many_events_with_other_bounds_are_a_fault() -> None:
    one, two, joined = Key("s", 0, 20), Key("s", 30, 50), Key("s", 0, 50)
    found = differences({one: Figures(1.0, 1), two: Figures(1.0, 1)}, {joined: Figures(2.0, 2)})
    assert dropped(kpi(window={"session": "20s"}), found) == set()


def test_over_other_kpis_either_side_may_lack_what_the_other_dropped_and_equal_counts_tell() -> None:
    over = kpi(source=None, over={"part": "inner"}, value="sum(part)")
    found = differences(
        {ONE: Figures(5.0, 5), TWO: Figures(7.0, 1)}, {ONE: Figures(4.0, 4), TWO: Figures(4.0, 1)}
    )
    assert dropped(over, found) == {ONE}


# --- values of inputs and neighbours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "known", "at", "expected"),
    [
        ({1: 0}, {1}, 1, (1, True)),
        ({}, {3}, 500, (3, True)),
        ({1: 0, 2: 1_000}, {1, 2}, 999, (1, True)),
        ({1: 0, 2: 1_000}, {1, 2}, 1_500, (2, False)),
        ({1: 0, 2: 1_000}, {1, 2}, 100_000, (2, True)),
        ({1: 0, 2: 1_000}, {1}, 100_000, (1, False)),
        ({1: 1_000, 2: 5_000}, {1, 2}, 10, (1, True)),
        ({}, {1, 2}, 500, (2, False)),
    ],
    ids=[
        "served", "never told", "made before the next took over", "made as it took over", "made long after",
        "the served one has nothing there", "before any was ready", "two, never told",
    ],
)  # fmt: skip
def test_an_inputs_version_is_the_one_that_was_served_when_the_value_was_made(
    versions: dict[int, int], known: set[int], at: int, expected: tuple[int, bool]
) -> None:
    assert counting(versions, known, at) == expected


def test_what_a_version_brought_from_its_past_is_of_no_window_that_closed_before_it_took_over() -> None:
    versions = {1: 1_000, 2: 500_000}
    assert stood(versions, 2, 400_000)
    assert not stood(versions, 2, 600_000)
    assert not stood(versions, 1, 900)
    assert not stood({}, 3, 0)


def test_sessions_beside_one_that_is_left_out_are_left_out_and_others_are_not() -> None:
    gone, beside, other = Key("s", 0, 50), Key("s", 30, 50), Key("t", 30, 50)
    found = [Difference(key, None, Figures(1.0, 1)) for key in (gone, beside, other)]
    assert spread({gone: "disposed"}, found) == {gone: "disposed", beside: "disposed"}


# --- what was withdrawn ----------------------------------------------------------------------------------

SPANS = [{"partition": 0, "first": 5, "last": 9}]
WITHDRAWN = [
    {"partition": partition, "offset": offset, "event_time": moment(time), "withdrawn_at": moment(at)}
    for partition, offset, time, at in [(0, 5, 59_999, 1_000), (0, 7, 60_000, 2_000), (1, 6, 60_000, 9_000)]
]


def backfilled(start: int, stop: int, closed_to: int, started_at: int) -> dict[str, object]:
    times = {"start": start, "stop": stop, "closed_to": closed_to, "started_at": started_at}
    return {name: moment(time) for name, time in times.items()}


def test_a_withdrawn_event_excuses_the_window_that_it_lies_in_if_it_counted_there() -> None:
    assert uncorrected(TWO, SPANS, WITHDRAWN[1:2], [])
    assert not uncorrected(TWO, SPANS, WITHDRAWN[:1], []), "of the window before"
    assert not uncorrected(TWO, SPANS, WITHDRAWN[2:], []), "of another partition"
    assert not uncorrected(TWO, [{"partition": 0, "first": 8, "last": 9}], WITHDRAWN, [])
    assert not uncorrected(TWO, (), WITHDRAWN, []), "nothing was published"


@pytest.mark.parametrize(
    ("backfill", "corrected"),
    [
        ((0, 120_000, 120_000, 2_000), True),
        ((60_000, 60_001, 120_000, 2_000), True),
        ((0, 120_000, 120_000, 1_999), False),
        ((0, 60_000, 120_000, 5_000), False),
        ((60_001, 120_000, 120_000, 5_000), False),
        ((0, 120_000, 119_999, 5_000), False),
    ],
    ids=["over it since", "over it alone", "before they went", "not so far", "later ones", "it was open"],
)
def test_it_is_excused_until_a_backfill_that_began_since_has_come_over_the_window(
    backfill: tuple[int, int, int, int], corrected: bool
) -> None:
    assert uncorrected(TWO, SPANS, WITHDRAWN, [backfilled(*backfill)]) is not corrected


def test_the_last_withdrawal_of_events_of_a_window_is_the_one_to_be_corrected() -> None:
    again = {**WITHDRAWN[1], "offset": 8, "withdrawn_at": moment(3_000)}
    assert uncorrected(TWO, SPANS, [*WITHDRAWN, again], [backfilled(0, 120_000, 120_000, 2_500)])
    assert not uncorrected(TWO, SPANS, [*WITHDRAWN, again], [backfilled(0, 120_000, 120_000, 3_000)])
