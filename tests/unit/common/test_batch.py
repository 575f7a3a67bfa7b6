"""The batch twin finds the windows that counting one event at a time finds: every kind, zones and clock changes too."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.events import series_key
from libs.common.twins import batch
from tests.examples import examples
from tests.unit.common.sample import connection
from tests.unit.common.test_check import FLIGHTS, PLANE, PLANES, kpi

HOUR = 3_600_000
Event = tuple[int, str | None, int]
"""time (ms), carrier, delay"""
Found = dict[tuple[str, int, int], tuple[float | None, int]]


def rows(
    definition: dict[str, Any], events: Sequence[Event], *others: dict[str, Any], planes: Sequence[Any] = ()
) -> list[Any]:
    catalog = Catalog.of(
        [DEFINITION.validate_python(each) for each in (FLIGHTS, PLANES, *others, definition)]
    )
    target = catalog.kpi(definition["id"])
    assert isinstance(target, Kpi)
    names = {"t": pl.Int64, "carrier": pl.String, "delay": pl.Int32}
    frame = pl.DataFrame(list(events), schema=names, orient="row").with_columns(
        pl.from_epoch("t", "ms").dt.replace_time_zone("UTC").alias("at"),
        pl.lit(0).alias("__partition"),
        pl.int_range(pl.len()).alias("__offset"),
    )
    batch.put(connection(), "flights", frame)
    schema = {"tail": pl.String, "since": pl.Datetime("ms", "UTC"), "seats": pl.Int32, "owner": pl.String}
    batch.put(connection(), "planes", pl.DataFrame(list(planes), schema=schema, orient="row"))
    return connection().execute(batch.statement(target, catalog)).fetchall()


def found(definition: dict[str, Any], events: Sequence[Event]) -> Found:
    answer = rows(definition, events)
    result = {(series, start, stop): (value, count) for series, start, stop, value, count in answer}
    assert len(result) == len(answer)
    return result


def oracle(windows: Iterator[tuple[Event, int, int]]) -> Found:
    """Sum of delays and count per series and window, one event at a time."""
    groups: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for (_, carrier, delay), start, stop in windows:
        groups[series_key({"carrier": carrier}), start, stop].append(delay)
    return {key: (float(sum(delays)), len(delays)) for key, delays in groups.items()}


def events_between(first: int, last: int) -> st.SearchStrategy[list[Event]]:
    carrier = st.sampled_from(["UA", "B6,=%", "Ü x", "", None])
    return st.lists(
        st.tuples(st.integers(first, last), carrier, st.integers(-20, 200)), min_size=1, max_size=25
    )


AROUND_1970 = events_between(-30 * HOUR, 30 * HOUR)
several = examples(40)


@several
@given(AROUND_1970, st.integers(1, 5), st.integers(1, 4), st.data())
def test_an_event_lies_in_every_window_that_is_open_at_its_time(
    events: list[Event], every: int, times: int, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, every - 1))
    sliding = {"sliding": f"{every * times}h", "every": f"{every}h", "offset": f"{offset}h"}
    size, step, shift = every * times * HOUR, every * HOUR, offset * HOUR

    def windows() -> Iterator[tuple[Event, int, int]]:
        for event in events:
            for start in range(-200 * step + shift, 200 * step, step):
                if start <= event[0] < start + size:
                    yield event, start, start + size

    assert found(kpi(value="sum(delay)", window=sliding), events) == oracle(windows())
    if times == 1:
        tumbling = {"tumbling": f"{every}h", "offset": f"{offset}h"}
        assert found(kpi(value="sum(delay)", window=tumbling), events) == oracle(windows())


@several
@given(events_between(0, 36))
def test_a_session_ends_when_nothing_came_for_the_gap(ticks: list[Event]) -> None:
    gap = 600_000  # two ticks: many events are exactly a gap apart
    events = [(tick * gap // 2, carrier, delay) for tick, carrier, delay in ticks]

    def windows() -> Iterator[tuple[Event, int, int]]:
        for event in events:
            mine = sorted(time for time, carrier, _ in events if carrier == event[1])
            start = stop = event[0]
            for time in reversed([each for each in mine if each <= event[0]]):
                start = time if start - time < gap else start
            for time in (each for each in mine if each >= event[0]):
                stop = time if time - stop < gap else stop
            yield event, start, stop + gap

    assert found(kpi(value="sum(delay)", window={"session": "10m"}), events) == oracle(windows())


HOLIDAYS = ["2026-01-01", "2026-04-03", "2026-04-06", "2026-12-25"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe",
         "Asia/Kathmandu", "America/Havana", "Asia/Beirut", "Pacific/Apia"]  # fmt: skip
UNITS = [
    {"calendar": "day"}, {"calendar": "week"}, {"calendar": "week", "week_starts": "sunday"}, {"calendar": "month"},
    {"calendar": "business_day"}, {"calendar": "business_day", "holidays": HOLIDAYS},
    {"calendar": "quarter"}, {"calendar": "quarter", "year_starts": 2}, {"calendar": "year"},
    {"calendar": "year", "year_starts": 10},
]  # fmt: skip


def first_instant(day: date, zone: ZoneInfo) -> int:
    """By Python's own time zones: the first midnight of the day, or the moment that the clock jumps over it."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def begins(day: date, window: dict[str, Any]) -> bool:
    """Whether a window begins with that local day."""
    match window["calendar"]:
        case "day":
            return True
        case "week":
            return day.weekday() == (6 if window.get("week_starts") == "sunday" else 0)
        case "month":
            return day.day == 1
        case "quarter":
            return day.day == 1 and (day.month - window.get("year_starts", 1)) % 3 == 0
        case "year":
            return day.day == 1 and day.month == window.get("year_starts", 1)
        case _:
            before = day - timedelta(days=1)
            return before.weekday() < 5 and before.isoformat() not in window.get("holidays", [])


@pytest.mark.parametrize("window", UNITS, ids=str)
@examples(6)
@given(data=st.data(), zone=st.sampled_from(ZONES), year=st.sampled_from([2011, 2018, 2026]))
def test_a_calendar_window_lasts_from_local_midnight_to_local_midnight(
    window: dict[str, Any], data: st.DataObject, zone: str, year: int
) -> None:
    first = round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)
    events = data.draw(events_between(first, first + 365 * 24 * HOUR))
    local = ZoneInfo(zone)
    days = [date(year - 2, 1, 1) + timedelta(days=count) for count in range(5 * 366)]
    bounds = sorted({first_instant(day, local) for day in days if begins(day, window)})

    def windows() -> Iterator[tuple[Event, int, int]]:
        for event in events:
            start = max(each for each in bounds if each <= event[0])
            yield event, start, min(each for each in bounds if each > event[0])

    assert found(kpi(value="sum(delay)", window=window | {"zone": zone}), events) == oracle(windows())


def test_a_day_is_23_or_25_hours_long_when_the_clock_changes() -> None:
    noon = [
        round(datetime(2026, *day, 12, tzinfo=UTC).timestamp() * 1000) for day in ((3, 29), (10, 25), (6, 1))
    ]
    answer = found(
        kpi(window={"calendar": "day", "zone": "Europe/Berlin"}), [(time, "UA", 1) for time in noon]
    )
    assert sorted((stop - start) // HOUR for _, start, stop in answer) == [23, 24, 25]


def test_single_events_are_values_of_their_own() -> None:
    answer = rows(
        kpi(window={"each": "event"}, value="delay * 2", where="delay > 0"), [(5, "UA", 3), (5, "UA", -3)]
    )
    assert answer == [("carrier=UA", 5, 6, 6.0, 1)]


def test_derived_fields_filters_and_measures_read_one_another() -> None:
    definition = kpi(
        let={"late": "delay > 15", "weight": "if(late, 2.0, 1.0)"}, where="late or delay = 0", value="sum(weight)",
        measures={"worst": "max(delay)", "newest": "last(delay)"},
    )  # fmt: skip
    assert rows(definition, [(0, "UA", 20), (1, "UA", 0), (2, "UA", 5)]) == [
        ("carrier=UA", 0, HOUR, 3.0, 2, 20.0, 0.0)
    ]


def test_an_event_sees_the_reference_row_that_was_valid_at_its_time() -> None:
    since = [datetime(1970, 1, 1, hour, tzinfo=UTC) for hour in range(3)]
    planes = [("UA", since[1], 100, None), ("UA", since[2], 200, None), ("B6", since[0], 7, None)]
    events = [
        (30 * 60_000, "UA", 1),
        (HOUR, "UA", 1),
        (2 * HOUR - 1, "UA", 1),
        (2 * HOUR, "UA", 1),
        (1, None, 1),
    ]
    answer = rows(kpi(enrich=[PLANE], value="sum(plane_seats)"), events, planes=planes)
    assert sorted((series, start // HOUR, value) for series, start, _, value, _ in answer) == [
        ("carrier", 0, None), ("carrier=UA", 0, None), ("carrier=UA", 1, 200.0), ("carrier=UA", 2, 200.0),
    ]  # fmt: skip


def test_a_kpi_over_others_rolls_up_and_compares_what_they_say_of_the_same_window() -> None:
    late = kpi(id="late", where="delay > 15", value="count(*)")
    total = kpi(id="total")
    rate = kpi(
        id="rate", source=None, over={"late": "late", "total": "total"}, value="sum(late) / sum(total)", by=[]
    )
    events = [(0, "UA", 20), (1, "UA", 0), (2, "B6", 30), (3, "B6", 3), (HOUR, "B6", 3)]
    assert sorted(rows(rate, events, late, total)) == [("", 0, HOUR, 0.5, 6), ("", HOUR, 2 * HOUR, None, 1)]


def test_the_name_of_a_series_is_escaped_as_everywhere() -> None:
    answer = found(kpi(), [(0, "a,b=c%20 ü/", 1), (0, None, 1), (0, "", 1)])
    names = {series_key({"carrier": name}) for name in ("a,b=c%20 ü/", None, "")}
    assert {series for series, _, _ in answer} == names
