"""Windows against a plain reading of the calendar and of arithmetic."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.core.blocks import blocks_of
from services.detector.core.windows import Aligned, Calendar

TIMES = st.integers(1_262_304_000_000, 1_893_456_000_000)  # 2010 to 2030


def local(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone))


def test_a_day_that_has_begun_goes_on_when_the_clock_goes_back_over_midnight() -> None:
    windows = Calendar("day", "America/St_Johns")
    began = at = int(datetime(2010, 11, 7, 2, 30, tzinfo=UTC).timestamp() * 1000)
    assert local(at, "America/St_Johns").isoformat() == "2010-11-07T00:00:00-02:30"
    again = at + 15 * 60_000
    assert local(again, "America/St_Johns").isoformat() == "2010-11-06T23:15:00-03:30"
    starts = windows.pane_of(pl.Series([at - 1, at, again, at + 3_600_000]))
    assert starts.to_list() == [
        int(datetime(2010, 11, 6, 2, 30, tzinfo=UTC).timestamp() * 1000),
        began,
        began,
        began,
    ]


ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]
UNITS = ["day", "business_day", "week", "month", "quarter", "year"]


@given(time=TIMES, zone=st.sampled_from(ZONES), unit=st.sampled_from(UNITS), fiscal=st.integers(1, 12))
def test_a_calendar_window_holds_its_event_and_ends_where_the_next_begins(
    time: int, zone: str, unit: str, fiscal: int
) -> None:
    windows = Calendar(unit, zone, year_starts=fiscal)
    start = windows.pane_of(pl.Series([time]))
    stop = windows.stop_of(start)
    assert start[0] <= time < stop[0]
    first, after = local(start[0], zone), local(stop[0], zone)
    assert (first.hour, first.minute, after.hour, after.minute) == (0, 0, 0, 0)
    assert windows.pane_of(stop).to_list() == stop.to_list()
    if unit in ("month", "quarter", "year"):
        assert first.day == 1
    if unit == "quarter":
        assert (first.month - fiscal) % 3 == 0
    if unit == "year":
        assert first.month == fiscal
    if unit == "week":
        assert first.weekday() == 0


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 10, 27), 25), (date(2024, 5, 5), 24)]
)
def test_a_day_is_as_long_as_daylight_saving_makes_it(day: date, hours: int) -> None:
    windows = Calendar("day", "Europe/Berlin")
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    start = windows.pane_of(pl.Series([int(noon.timestamp() * 1000)]))
    assert windows.stop_of(start)[0] - start[0] == hours * 3_600_000


def test_a_business_day_takes_in_the_weekend_and_the_holiday_before_it() -> None:
    windows = Calendar("business_day", "UTC", holidays=frozenset([date(2024, 5, 20)]))
    saturday = datetime(2024, 5, 18, 10, tzinfo=UTC)
    start = windows.pane_of(pl.Series([int(saturday.timestamp() * 1000)]))
    stop = windows.stop_of(start)
    assert local(start[0], "UTC").date() == date(2024, 5, 18)
    assert local(stop[0], "UTC").date() == date(2024, 5, 22), "Tuesday's, for Monday is a holiday"


@given(
    time=st.integers(-(10**6), 10**6), every=st.integers(1, 50), times=st.integers(1, 20), offset=st.integers(0, 49),
    above=st.none() | st.integers(-(10**6), 10**6), span=st.integers(0, 2_000),
)  # fmt: skip
def test_the_windows_of_a_pane_are_those_that_hold_it(
    time: int, every: int, times: int, offset: int, above: int | None, span: int
) -> None:
    windows = Aligned(every * times, every, offset % every)
    pane = windows.pane_of(pl.Series([time]))
    upto = None if above is None else above + span
    _, starts = windows.windows_of(pane, above, upto)
    expected = [
        start
        for start in range(
            (time - offset % every) // every * every + offset % every - every * times, time + 1, every
        )
        if start <= time < start + windows.size
        and (above is None or start + windows.size > above)
        and (upto is None or start + windows.size <= upto)
    ]
    assert starts.to_list() == expected
    assert windows.due(np.array(pane.to_list()), above, 2**62 if upto is None else upto).tolist() == expected


@given(first=st.integers(-500, 500), length=st.integers(1, 300), built=st.integers(-600, 900))
def test_blocks_cut_a_stretch_of_panes_without_gap_or_overlap(first: int, length: int, built: int) -> None:
    levels = [0, *(built // (1 << level) * (1 << level) for level in range(1, 8))]
    at = first
    for level, start in blocks_of(first, first + length, levels):
        assert start == at
        assert start % (1 << level) == 0
        assert level == 0 or start + (1 << level) <= levels[level]
        at += 1 << level
    assert at == first + length
    assert len(blocks_of(0, 1440, [0, *[2**20] * 10])) <= 2 * 11


@given(st.integers(-500, 500), st.integers(0, 300), st.sampled_from([(10, 10, 0), (30, 10, 3), (20, 7, 0)]))
def test_a_window_ends_between_two_times_if_one_that_holds_an_event_does(
    above: int, length: int, shape: tuple[int, int, int]
) -> None:
    windows = Aligned(*shape)
    everywhere = np.arange(above - 100, above + length + 100) // windows.pane * windows.pane + windows.offset
    assert windows.ends_between(above, above + length) == bool(
        windows.due(np.unique(everywhere), above, above + length).size
    )
