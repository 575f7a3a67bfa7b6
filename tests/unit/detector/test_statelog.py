"""When the log of a merge partition wants a snapshot."""

from services.detector.handlers.statelog import MOST_MS, MOST_STEPS, StateLog, Step

BEGIN = Step(7, 100, 1_000)


def test_a_log_without_steps_since_its_snapshot_wants_none_however_old() -> None:
    assert not StateLog(0, BEGIN).is_due(1_000 + 10 * MOST_MS)


def test_steps_that_recovery_needs_are_not_left_to_grow_older_than_their_rows_are_kept() -> None:
    log = StateLog(0, BEGIN)
    log.step(110, 2_000, 10)
    assert not log.is_due(2_000 + MOST_MS)
    assert log.is_due(2_001 + MOST_MS)
    log.snapshot({}, {})
    assert not log.is_due(2_001 + MOST_MS)


def test_the_age_of_steps_outlives_a_restart() -> None:
    assert StateLog(0, Step(8, 110, 2_000), since=2_000).is_due(2_001 + MOST_MS)


def test_many_steps_want_a_snapshot() -> None:
    log = StateLog(0, BEGIN)
    for number in range(MOST_STEPS):
        assert not log.is_due(2_000)
        log.step(number, 2_000, 0)
    assert log.is_due(2_000)
