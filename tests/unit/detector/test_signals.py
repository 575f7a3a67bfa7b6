"""Signals tell a wobble from a change; every detector keeps the same promises."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Kpi
from libs.common.events import Observation, SignalChanged
from services.detector.core.limits import DETECTORS
from services.detector.core.signals import RuleOnKpi, SeriesState, observe, told, withdrawn

START = datetime(2013, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
RULES: dict[str, dict[str, Any]] = {
    "Threshold": {"id": "high", "threshold": {"above": 0.3}, "sustained_after": 3, "min_count": 5},
    "Seasonal": {
        "id": "odd",
        "seasonal": {"season": "day", "deviations": 4, "warmup": 3},
        "sustained_after": 3,
    },
}


def rule(name: str) -> RuleOnKpi:
    kpi = DEFINITION.validate_python(
        {
            "kind": "kpi", "id": "rate", "title": "Rate", "owner": "ops", "source": "departures", "value": "count(*)",
            "window": {"tumbling": "1h"}, "signals": [RULES[name]],
        }
    )  # fmt: skip
    assert isinstance(kpi, Kpi)
    return RuleOnKpi.of(kpi, 1, kpi.signals[0])


def seen(hour: int, value: float | None, count: int = 50, suspect: int = 0) -> Observation:
    start = START + timedelta(hours=hour)
    return Observation.build(
        kpi="rate", kpi_version=1, series={"origin": "EWR"}, series_key="origin=EWR", window_start=start,
        window_end=start + timedelta(hours=1), value=value, count=count, revision=1, status="final",
        assessed=count, suspect=suspect, recorded_at=NOW,
    )  # fmt: skip


def feed(of: RuleOnKpi, values: list[float | None], **more: int) -> list[SignalChanged]:
    state, changes = SeriesState(), []
    for hour, value in enumerate(values):
        _, change = observe(of, state, seen(hour, value, **more), NOW)
        if change is not None:
            changes.append(change)
    return changes


def test_every_detector_has_a_rule_here() -> None:
    assert {kind.__name__ for kind in DETECTORS} == set(RULES)


def test_one_hour_beyond_the_limit_opens_and_closes_as_transient() -> None:
    opened, closed = feed(rule("Threshold"), [0.0, 0.5, 0.1])
    assert (opened.change, opened.verdict) == ("opened", "undecided")
    assert (closed.change, closed.verdict) == ("closed", "transient")
    assert opened.id == closed.id


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("ratio", "Rate: 51.2 % is above the limit 30 %"),
        ("minutes", "Rate: 0.512 minutes is above the limit 0.3 minutes"),
        ("", "Rate: 0.512 is above the limit 0.3"),
    ],
)
def test_the_reason_speaks_in_the_unit_of_the_kpi(unit: str, reason: str) -> None:
    plain = rule("Threshold")
    of = RuleOnKpi.of(plain.kpi.model_copy(update={"unit": unit}), 1, plain.rule)
    assert feed(of, [0.512])[0].reason == reason


def test_three_hours_beyond_the_limit_are_sustained_and_stay_so() -> None:
    changes = feed(rule("Threshold"), [0.5, 0.9, 0.6, 0.1])
    assert [change.verdict for change in changes] == ["undecided", "undecided", "sustained", "sustained"]
    assert changes[-1].change == "closed"
    assert changes[-1].peak == 0.9


def test_a_window_of_few_events_neither_opens_nor_closes() -> None:
    assert feed(rule("Threshold"), [0.9, 0.9], count=2) == []


def test_a_signal_on_suspect_data_is_a_quality_artefact() -> None:
    assert feed(rule("Threshold"), [0.5, 0.5, 0.5], suspect=40)[-1].verdict == "quality_artefact"


def test_a_season_is_not_a_signal_and_a_departure_from_it_is() -> None:
    day = [float(hour % 24) + 0.1 * ((hour * 7919) % 10) for hour in range(24 * 10)]
    assert feed(rule("Seasonal"), list(day)) == []
    assert [change.change for change in feed(rule("Seasonal"), [*day, 40.0])] == ["opened"]


def test_an_incident_does_not_become_the_new_normal() -> None:
    day = [float(hour % 24) + 0.1 * ((hour * 7919) % 10) for hour in range(24 * 10)]
    incident = [60.0] * 24
    again = feed(rule("Seasonal"), [*day, *incident, *day, 60.0])
    assert [change.change for change in again if change.change == "opened"] == ["opened", "opened"]


def test_a_revision_of_an_older_window_is_not_judged_again() -> None:
    of, state = rule("Threshold"), SeriesState()
    observe(of, state, seen(5, 0.1), NOW)
    assert observe(of, state, seen(4, 0.9), NOW) == (None, None)


VALUES = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=60)


@pytest.mark.parametrize("name", RULES)
@given(values=VALUES, cut=st.integers(0, 60))
def test_every_detector_resumes_from_its_snapshot_with_the_same_verdicts(
    name: str, values: list[float | None], cut: int
) -> None:
    of, straight, resumed = rule(name), SeriesState(), SeriesState()
    for hour, value in enumerate(values):
        if hour == cut:
            resumed = SeriesState(**json.loads(json.dumps(asdict(resumed))))
        assert observe(of, straight, seen(hour, value), NOW) == observe(of, resumed, seen(hour, value), NOW)


@pytest.mark.parametrize("name", RULES)
def test_every_detector_keeps_a_bounded_baseline(name: str) -> None:
    of, state = rule(name), SeriesState()
    for hour in range(24 * 60):
        observe(of, state, seen(hour, float(hour % 24)), NOW)
    assert len(state.baseline) <= 24 + 1


def heard(values: list[float], served_from: int) -> list[SignalChanged]:
    """What is told of a version that is served from a window on."""
    of, state, found = rule("Threshold"), SeriesState(), []
    for hour, value in enumerate(values):
        _, change = observe(of, state, seen(hour, value), NOW)
        if change is not None and (text := told(state, change, served=hour >= served_from)) is not None:
            found.append(text)
    return found


def test_a_version_that_catches_up_tells_only_of_a_signal_that_is_open_when_it_is_served() -> None:
    assert heard([0.9, 0.1, 0.9, 0.1], served_from=9) == []
    assert heard([0.9, 0.1, 0.9, 0.1], served_from=3) == []
    assert [each.change for each in heard([0.9, 0.9, 0.9, 0.1], served_from=2)] == ["opened", "closed"]


def test_the_signal_of_a_version_that_is_over_is_closed_if_it_was_told() -> None:
    of, state = rule("Threshold"), SeriesState()
    _, change = observe(of, state, seen(0, 0.9), NOW)
    assert change is not None
    told(state, change, served=False)
    assert withdrawn(state, NOW) is None
    _, change = observe(of, state, seen(1, 0.9), NOW)
    assert change is not None
    told(state, change, served=True)
    closed = withdrawn(state, NOW)
    assert closed is not None
    assert (closed.change, closed.verdict) == ("closed", "transient")
