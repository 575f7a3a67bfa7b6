"""Escalation and objectives, as functions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import KeyResult
from services.strategy.core.escalation import Escalation, reaches
from services.strategy.core.objectives import Window, key_result

START = datetime(2013, 2, 8, 18, tzinfo=UTC)
DELAYS = st.lists(st.integers(0, 600), min_size=1, max_size=5).map(sorted)


@given(
    delays=DELAYS,
    acknowledged=st.none() | st.integers(0, 700),
    looks=st.lists(st.integers(0, 700), max_size=40),
)
def test_steps_are_taken_once_in_order_and_never_after_an_acknowledgement(
    delays: list[int], acknowledged: int | None, looks: list[int]
) -> None:
    escalation = Escalation(START, [timedelta(seconds=each) for each in delays])
    taken: list[tuple[int, int]] = []
    moments: set[int] = {*looks, *([acknowledged] if acknowledged is not None else []), 700}
    for second in sorted(moments):
        now = START + timedelta(seconds=second)
        if second == acknowledged:
            escalation = escalation.acknowledged()
        while escalation.due(now):
            taken.append((escalation.step, second))
            escalation = escalation.taken()
    assert [step for step, _ in taken] == list(range(len(taken)))
    assert all(second >= delays[step] for step, second in taken)
    if acknowledged is None:
        assert len(taken) == len(delays)
    else:
        assert all(second < acknowledged for _, second in taken)


def test_a_signal_that_closes_stops_what_is_not_due_yet() -> None:
    escalation = Escalation(START, [timedelta(minutes=5)])
    assert escalation.closed(START + timedelta(minutes=4)).state == "stopped"


def test_what_was_due_when_the_signal_closed_is_still_told_and_nothing_later() -> None:
    delays = [timedelta(0), timedelta(minutes=1), timedelta(minutes=5)]
    closed = Escalation(START, delays).closed(START + timedelta(minutes=2))
    assert closed.due(START + timedelta(hours=1))
    once = closed.taken()
    assert (once.state, once.next_at) == ("running", START + timedelta(minutes=1))
    assert (once.taken().state, once.taken().next_at) == ("stopped", None)


def test_closing_changes_nothing_about_what_was_acknowledged() -> None:
    acknowledged = Escalation(START, [timedelta(0), timedelta(1)]).taken().acknowledged()
    assert acknowledged.closed(START) == acknowledged


@pytest.mark.parametrize(
    ("verdict", "escalate_on", "expected"),
    [
        ("sustained", "sustained", True),
        ("undecided", "sustained", False),
        ("transient", "undecided", False),
        ("quality_artefact", "undecided", False),
        ("undecided", "undecided", True),
    ],
)
def test_only_a_verdict_that_is_enough_escalates(verdict: str, escalate_on: str, expected: bool) -> None:
    assert reaches(verdict, escalate_on) is expected


RESULT = KeyResult(
    id="on-time", title="On time", kpi="on_time", series={"origin": "EWR"}, baseline=0.6, target=0.8
)


def test_progress_is_the_weighted_mean_between_baseline_and_target() -> None:
    windows = [
        Window("carrier=UA,origin=EWR", START, 0.6, 100),
        Window("carrier=B6,origin=EWR", START, 0.8, 300),
        Window("carrier=B6,origin=JFK", START, 0.0, 999),
        Window("carrier=UA,origin=EWR", START - timedelta(days=8), 0.0, 999),
    ]
    found = key_result(RESULT, windows)
    assert found["value"] == pytest.approx(0.75)
    assert found["progress"] == pytest.approx(0.75)
    assert (found["windows"], found["as_of"]) == (2, START)


def test_what_is_not_known_is_null_and_not_zero() -> None:
    assert key_result(RESULT, [])["progress"] is None
    assert key_result(RESULT, [Window("origin=EWR", START, None, 5)])["progress"] is None
