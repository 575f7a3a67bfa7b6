"""The data set is the one that the proofs speak of, and its faults are exactly known."""

import polars as pl
import pytest

from demo import data
from demo.faults import LATEST, Faults, plan


def test_there_is_one_departure_for_each_flight_of_the_year() -> None:
    departures = data.departures()
    assert departures.height == departures["event_id"].n_unique() == 336_776
    assert departures.filter(pl.col("status") == "cancelled").height == 8_255


def test_there_is_one_arrival_for_each_flight_with_a_time_in_the_air() -> None:
    assert data.arrivals().height == data.arrivals()["event_id"].n_unique() == 327_346


def test_the_references_lack_what_the_rules_must_find() -> None:
    departures = data.departures()
    known = data.references("aircraft")["tailnum"]
    unknown = departures.filter(pl.col("tailnum").is_not_null() & ~pl.col("tailnum").is_in(known.implode()))
    assert (unknown.height, departures["tailnum"].null_count()) == (50_094, 2_512)
    airports = data.references("airports")["faa"]
    assert departures.filter(~pl.col("dest").is_in(airports.implode())).height == 7_602


@pytest.mark.parametrize("source", data.EVENTS)
def test_no_late_event_is_further_behind_the_newest_sent_than_stated(source: str) -> None:
    frame = data.events(source).head(20_000)
    clock = dict(zip(data.lines(frame), frame[data.CLOCK].dt.epoch("ms").to_list(), strict=True))
    planned = plan(source, frame, Faults(late=0.05, seed=3))
    newest = 0
    for when, line in planned.sends:
        assert newest - clock[line] <= LATEST.total_seconds() * 1000
        newest = max(newest, clock[line])
        assert when >= clock[line]
    assert planned.late > 500


def test_the_same_seed_makes_the_same_faults_in_known_numbers() -> None:
    frame = data.events("weather")
    faults = Faults(late=0.01, duplicate=0.005, malformed=0.002, seed=5)
    one, two = plan("weather", frame, faults), plan("weather", frame, faults)
    assert one == two
    assert len(one.sends) == one.events + one.duplicate + one.malformed
