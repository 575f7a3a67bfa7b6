"""The events of a number are found again exactly as the detector took them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from libs.common.expressions import derive, predicate
from services.archive.handlers.rows import json_rows
from services.gateway.core.provenance import Found, compare, frame_of, in_ranges, late_in, taken

TYPES = {
    "carrier": "string", "gate": "int", "miles": "long", "share": "double", "late": "boolean",
    "at": "timestamp", "day": "date",
}  # fmt: skip
EVENTS = pl.DataFrame(
    {
        "carrier": ["UA", None, "", 'É"\n'],
        "gate": [7, None, 7, 0],
        "miles": [2**53 + 1, 0, None, -1],
        "share": [3.0, 0.1, None, 1e-9],
        "late": [True, False, None, True],
        "at": [datetime(2013, 2, 8, 17, 4, 0, 123000, UTC), None, datetime(1969, 12, 31, tzinfo=UTC), None],
        "day": [date(2013, 2, 8), None, None, None],
    },
    schema_overrides={"gate": pl.Int32, "at": pl.Datetime("ms", "UTC")},
)


def documents(frame: pl.DataFrame = EVENTS) -> list[str]:
    return [row.decode() for row in json_rows(frame)]


def test_what_the_archive_keeps_reads_back_as_the_same_typed_events() -> None:
    assert frame_of(documents(), TYPES).equals(EVENTS)


def test_a_field_that_an_old_event_lacks_is_null_and_one_that_nobody_defines_is_left_out() -> None:
    frame = frame_of(['{"carrier": "UA", "unheard_of": {"x": [1]}}'], {"carrier": "string", "gate": "int"})
    assert frame.rows(named=True) == [{"carrier": "UA", "gate": None}]


def test_a_field_with_a_default_has_it_in_an_old_event() -> None:
    frame = frame_of(['{"carrier": "UA"}'], {"carrier": "string", "gate": "int"}, (), {"gate": 7})
    assert frame.rows(named=True) == [{"carrier": "UA", "gate": 7}]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({}, [True, True, True, True]),
        ({"carrier": "UA"}, [True, False, False, False]),
        ({"carrier": None}, [False, True, False, False]),
        ({"carrier": ""}, [False, False, True, False]),
        ({"gate": "7"}, [True, False, True, False]),
        ({"share": "3.0", "late": "true"}, [True, False, False, False]),
        ({"carrier": "UA", "gate": None}, [False, False, False, False]),
    ],
)
def test_events_belong_to_the_series_whose_name_they_would_have_been_given(
    series: dict[str, str | None], expected: list[bool]
) -> None:
    assert taken(frame_of(documents(), TYPES), None, series) == expected


def test_events_on_which_the_condition_is_unknown_are_not_taken() -> None:
    where = predicate("gate = 7 and at < '2000-01-01T00:00:00Z'", TYPES)
    assert taken(frame_of(documents(), TYPES), where, {}) == [False, False, True, False]


def test_derived_fields_may_stand_in_the_condition_and_name_the_series() -> None:
    derived, types = derive({"far": "miles > 0", "area": "upper(carrier)"}, TYPES)
    frame = frame_of(documents(), TYPES, derived)
    assert taken(frame, predicate("far", types), {"area": "UA"}) == [True, False, False, False]
    assert taken(frame_of([], TYPES, derived), predicate("far", types), {"area": "UA"}) == []


def test_no_events_are_no_members() -> None:
    assert taken(frame_of([], TYPES), predicate("gate = 7", TYPES), {"carrier": "UA"}) == []


def test_offset_ranges_hold_both_their_ends_in_their_own_partition() -> None:
    spans = [{"partition": 1, "first": 5, "last": 9}]
    places = [(1, 4), (1, 5), (1, 9), (1, 10), (0, 7)]
    assert [in_ranges(place, spans) for place in places] == [False, True, True, False, False]


def minute(number: int) -> datetime:
    return datetime(2013, 2, 8, 12, tzinfo=UTC) + timedelta(minutes=number)


def run(start: int, first: int, last: int, partition: int = 0) -> dict[str, Any]:
    return {"window_start": minute(start), "partition": partition, "first": first, "last": last, "count": 1}


def test_of_a_late_cell_just_its_own_events_are_set_aside() -> None:
    found = [
        Found((0, 10), minute(0)),  # the cell before
        Found((0, 12), minute(20)),
        Found((0, 11), minute(24)),
        Found((0, 13), minute(25)),  # the next cell
        Found((1, 12), minute(21)),  # another partition
        Found((0, 14), minute(22)),  # another batch
    ]
    assert late_in(found, [run(20, 11, 13)], timedelta(minutes=5)) == {(0, 12), (0, 11)}
    assert late_in(found, [], timedelta(minutes=5)) == set()


def test_a_count_that_is_found_again_agrees() -> None:
    counted = compare([(0, 1), (0, 3)], 4, [{"partition": 0, "first": 1, "last": 3}], 2)
    assert (counted.matched, counted.agrees, counted.outside) == (2, True, 4)


def test_a_count_that_is_not_found_again_disagrees_only_if_both_ends_of_every_range_are_there() -> None:
    spans = [{"partition": 0, "first": 1, "last": 3}, {"partition": 2, "first": 8, "last": 8}]
    assert compare([(0, 1), (0, 3), (2, 8)], 0, spans, 4).agrees is False
    assert compare([(0, 1), (2, 8)], 0, spans, 4).agrees is None
    assert compare([], 0, spans, 4).agrees is None


def test_a_withdrawn_value_agrees_with_no_events() -> None:
    assert compare([], 3, [], 0).agrees is True
