"""Unknown is never healthy, and nothing bad makes a source look better."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Conflict, Invalid
from services.quality.core.health import CRITICAL_CAP, assessed_share, score
from services.quality.core.incidents import Counts, move

COUNT = st.integers(0, 1_000_000)


def test_a_source_of_which_nothing_was_assessed_has_no_score() -> None:
    assert score(0, 0.0, None, True) is None
    assert assessed_share(100, 0) == 0.0


@given(assessed=st.integers(1, 1000), good=st.floats(0, 1000), more=COUNT)
def test_unassessed_events_do_not_change_the_score_but_lower_the_share(
    assessed: int, good: float, more: int
) -> None:
    assert score(assessed, good, None, True) == score(assessed, good, None, True)
    assert assessed_share(assessed + more, assessed) <= assessed_share(assessed, assessed)


@given(assessed=st.integers(1, 1000), good=st.floats(0, 1000))
def test_a_failing_event_more_never_raises_the_score(assessed: int, good: float) -> None:
    before, after = (
        score(assessed, min(good, assessed), None, True),
        score(assessed + 1, min(good, assessed), None, True),
    )
    assert before is not None
    assert after is not None
    assert after <= before


@given(assessed=st.integers(1, 1000), good=st.floats(0, 1000))
def test_staleness_never_raises_it_and_a_critical_incident_caps_it(assessed: int, good: float) -> None:
    fresh, stale = score(assessed, good, None, True), score(assessed, good, None, False)
    critical = score(assessed, good, "critical", True)
    assert fresh is not None
    assert stale is not None
    assert critical is not None
    assert stale <= fresh
    assert critical <= min(fresh, CRITICAL_CAP)


def test_an_incident_opens_above_its_share_and_not_on_few_events() -> None:
    assert Counts(100, 6).opens(0.05, 20)
    assert not Counts(100, 5).opens(0.05, 20)
    assert not Counts(19, 19).opens(0.05, 20)


def test_an_incident_is_resolved_only_with_a_cause() -> None:
    with pytest.raises(Invalid, match="cause"):
        move("open", "resolve", None, None)
    assert move("open", "resolve", "late", None) == "resolved"


def test_a_resolved_incident_can_only_be_reopened() -> None:
    with pytest.raises(Conflict, match="allowed: reopen"):
        move("resolved", "acknowledge", None, None)
    assert move("resolved", "reopen", None, None) == "open"
