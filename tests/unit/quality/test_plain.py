"""Plain SQL beside what was published: sessions, single events, sketches, enriched values, values of other KPIs."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.twins import batch
from services.quality.core import plain
from services.quality.core.parity import Figures, Key
from services.quality.core.plain import Compared, Tables, compared

MINUTE = 60_000
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "taps", "title": "Taps", "owner": "o", "event_id": "id", "event_time": "at", "key": ["id"],
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "place", "type": "string"},
        {"name": "flow", "type": "double"},
    ],
}  # fmt: skip
PLACES: dict[str, Any] = {
    "kind": "source", "id": "places", "title": "Places", "owner": "o", "reference": True, "key": ["code"],
    "fields": [{"name": "code", "type": "string"}, {"name": "area", "type": "string"}],
}  # fmt: skip
EVERY = (-(10**12), 10**12)


def definition(**more: object) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": "k", "title": "K", "owner": "o", "source": "taps", "value": "sum(flow)",
        "window": {"tumbling": "10m"}, "by": ["place"], **more,
    }  # fmt: skip


def events(*rows: tuple[int, str, float], arrived: int = 0) -> pl.DataFrame:
    """(minute, place, flow); offsets in their order."""
    return pl.DataFrame(
        [
            (f"e{offset}", minute * MINUTE, place, flow, minute * MINUTE, arrived, 0, offset)
            for offset, (minute, place, flow) in enumerate(rows)
        ],
        schema={
            "id": pl.String, "at": pl.Datetime("ms", "UTC"), "place": pl.String, "flow": pl.Float64, "t": pl.Int64,
            "__arrived": pl.Int64, "__partition": pl.Int64, "__offset": pl.Int64,
        },
        orient="row",
    )  # fmt: skip


def beside(
    published: dict[Key, Figures], frames: dict[str, pl.DataFrame], kpi: dict[str, Any], *more: dict[str, Any],
    begin: int = -(10**12),
) -> Compared:  # fmt: skip
    parsed = [DEFINITION.validate_python(each) for each in (SOURCE, PLACES, *more, definition(**kpi))]
    target = parsed[-1]
    assert isinstance(target, Kpi)
    found = compared(target, Catalog.of(parsed), Tables(frames), published, EVERY, begin)
    assert found is not None
    return found


def made(frames: dict[str, pl.DataFrame], kpi: dict[str, Any]) -> dict[Key, Figures]:
    """What SQL says: everything differs from nothing."""
    found = beside({}, frames, kpi).found
    return {each.key: each.batch for each in found if each.batch is not None}


def window(place: str, start: int, stop: int) -> Key:
    return Key(f"place={place}", start * MINUTE, stop * MINUTE)


TAPS = {"taps": events((1, "a", 1.0), (4, "a", 2.0), (30, "a", 4.0), (2, "b", 8.0))}
GAP = {"window": {"session": "5m"}}


def test_sessions_are_compared_by_their_bounds_and_figures() -> None:
    right = {
        window("a", 1, 9): Figures(3.0, 2), window("a", 30, 35): Figures(4.0, 1), window("b", 2, 7): Figures(8.0, 1)
    }  # fmt: skip
    assert beside(right, TAPS, GAP) == Compared(3, [])
    (wrong,) = beside({**right, window("b", 2, 7): Figures(9.0, 1)}, TAPS, GAP).found
    assert (wrong.key, wrong.batch) == (window("b", 2, 7), Figures(8.0, 1))


def test_a_session_that_may_begin_before_the_events_that_were_read_is_not_compared() -> None:
    other = {window("a", 0, 9): Figures(99.0, 9), window("a", 30, 35): Figures(4.0, 1)}
    found = beside(other, TAPS, GAP, begin=-2 * MINUTE)
    assert found.unsure == {window("a", 0, 9), window("a", 1, 9), window("b", 2, 7)}
    assert (found.windows, found.found) == (1, [])


def test_each_event_is_a_value_at_its_place_and_what_is_wrong_is_shown_with_it() -> None:
    frames = {"taps": events((1, "a", 1.0), (1, "a", 2.0), (2, "a", 3.0))}
    kpi = {"window": {"each": "event"}, "value": "flow * 2", "where": "flow < 3"}
    one, two = (Key("place=a", MINUTE, MINUTE + 1, (0, offset)) for offset in (0, 1))
    assert made(frames, kpi) == {one: Figures(2.0, 1), two: Figures(4.0, 1)}
    found = beside({one: Figures(2.0, 1), two: Figures(5.0, 1)}, frames, kpi)
    assert [each.key for each in found.found] == [two]
    assert found.members == {two: [(0, 1)]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("approx_count_distinct(flow)", 3.0),
        ("approx_count_distinct(flow) filter (where flow > 1.5)", 2.0),
        ("approx_count_distinct(double_flow) * 10 + count(*)", 34.0),
    ],
)
def test_a_sketch_is_made_anew_of_the_rows_that_sql_places_in_the_window(value: str, expected: float) -> None:
    frames = {"taps": events((1, "a", 1.0), (2, "a", 2.0), (3, "a", 3.0), (4, "a", 3.0), (15, "a", 5.0))}
    found = made(frames, {"value": value, "let": {"double_flow": "flow * 2"}, "measures": {"n": "count(*)"}})
    assert found[window("a", 0, 10)] == Figures(expected, 4, (4.0,))


def test_a_quantile_is_that_of_the_sketch_and_not_the_exact_one() -> None:
    frames = {"taps": events(*((1, "a", float(n)) for n in range(1, 102)))}
    (found,) = made(frames, {"value": "approx_quantile(flow, 0.5)"}).values()
    assert found.value is not None
    assert found.value != 51.0
    assert found.value == pytest.approx(51.0, rel=0.01)


def test_sketches_of_too_many_rows_are_not_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MOST_ROWS", 1)
    parsed = [
        DEFINITION.validate_python(each) for each in (SOURCE, definition(value="approx_count_distinct(id)"))
    ]
    target = parsed[-1]
    assert isinstance(target, Kpi)
    assert compared(target, Catalog.of(parsed), Tables(TAPS), {}, EVERY, 0) is None


def test_what_was_enriched_is_compared_and_events_of_rows_that_may_have_changed_since_are_told() -> None:
    rows = [("a", "north", 100), ("b", "south", 5_000)]
    schema = {"code": pl.String, "area": pl.String, "__recorded": pl.Int64}
    taps = events((1, "a", 1.0), (2, "b", 2.0), (3, "c", 4.0), arrived=1_000)
    frames = {"taps": taps, "places": pl.DataFrame(rows, schema=schema, orient="row")}
    kpi = {
        "enrich": [{"reference": "places", "on": ["place"], "prefix": "at_place"}],
        "by": ["at_place_area"],
    }
    found = beside({}, frames, kpi)
    assert {each.key.series: each.batch.value for each in found.found if each.batch} == {
        "at_place_area": 4.0, "at_place_area=north": 1.0, "at_place_area=south": 2.0
    }  # fmt: skip
    assert found.outdated == [2 * MINUTE, 3 * MINUTE], "one row came later, one is not there"


def test_of_a_reference_with_versions_only_those_that_are_valid_by_then_matter() -> None:
    places = {
        **PLACES, "event_time": "since", "fields": [*PLACES["fields"], {"name": "since", "type": "timestamp"}]
    }  # fmt: skip
    schema = {"code": pl.String, "area": pl.String, "since": pl.Datetime("ms", "UTC"), "__recorded": pl.Int64}
    rows = [("a", "north", 0, 100), ("a", "west", 10 * MINUTE, 5_000)]
    taps = events((1, "a", 1.0), (11, "a", 2.0), arrived=1_000)
    frames = {"taps": taps, "places": pl.DataFrame(rows, schema=schema, orient="row")}
    kpi = {
        "enrich": [{"reference": "places", "on": ["place"], "prefix": "at_place"}],
        "by": ["at_place_area"],
    }
    found = beside({}, frames, kpi, places)
    assert [each.key.series for each in found.found] == ["at_place_area=north", "at_place_area=west"]
    assert found.outdated == [11 * MINUTE]


def test_a_kpi_over_others_is_made_of_the_values_that_were_published_of_them() -> None:
    schema = {"place": pl.String, "w0": pl.Int64, "w1": pl.Int64, "value": pl.Float64, "count": pl.Int64}
    values = [("a", 0, 10 * MINUTE, 2.0, 3), ("a", 0, 10 * MINUTE, None, 1), ("b,=", 0, 10 * MINUTE, 5.0, 2)]
    frames = {f"{batch.PUBLISHED}inner": pl.DataFrame(values, schema=schema, orient="row")}
    inner = definition(id="inner")
    over = {"source": None, "over": {"part": "inner"}, "value": "sum(part)", "measures": {"n": "count(part)"}}
    over = {name: each for name, each in definition(**over).items() if name != "source"}
    parsed = [DEFINITION.validate_python(each) for each in (SOURCE, inner, over)]
    right = {
        Key("place=a", 0, 10 * MINUTE): Figures(2.0, 4, (1.0,)),
        Key("place=b%2C%3D", 0, 10 * MINUTE): Figures(5.0, 2, (1.0,)),
    }
    target, catalog = parsed[-1], Catalog.of(parsed)
    assert isinstance(target, Kpi)
    assert compared(target, catalog, Tables(frames), right, EVERY, 0) == Compared(2, [])
    wrong = {**right, Key("place=a", 0, 10 * MINUTE): replace(FIRST, value=3.0)}
    differing = compared(target, catalog, Tables(frames), wrong, EVERY, 0)
    assert differing is not None
    assert [each.batch for each in differing.found] == [FIRST]


FIRST = Figures(2.0, 4, (1.0,))
