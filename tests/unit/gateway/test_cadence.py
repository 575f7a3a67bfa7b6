"""From how events came follows how their source should be connected."""

from datetime import UTC, datetime, timedelta

from services.gateway.core.cadence import measured

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)


def came(*seconds: float, delay: float = 1.0) -> list[tuple[datetime, datetime]]:
    arrivals = [BEGIN + timedelta(seconds=each) for each in seconds]
    return [(arrival - timedelta(seconds=delay), arrival) for arrival in arrivals]


def test_events_that_come_one_by_one_and_at_once_are_pushed() -> None:
    found = measured(came(*(number * 20 for number in range(50))))
    assert (found.connect, found.every_seconds, found.latency) == ("push", None, "seconds")
    assert (found.deliveries, found.delivery_gap_p50, found.delay_p95) == (50, 20.0, 1.0)


def test_lots_at_intervals_are_pulled_twice_an_interval() -> None:
    found = measured(came(*(lot * 600 + each / 100 for lot in range(9) for each in range(40)), delay=900))
    assert (found.connect, found.every_seconds, found.latency) == ("pull", 300, "minutes")
    assert (found.deliveries, found.events) == (9, 360)


def test_too_few_deliveries_decide_nothing() -> None:
    assert measured([]).connect == "undecided"
    assert measured(came(1, 2.5)).connect == "undecided"
    assert measured([]).latency == "undecided"
