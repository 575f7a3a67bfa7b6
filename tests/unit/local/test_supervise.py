"""How the supervisor paces restarts."""

from local.supervise import LONGEST_PAUSE_SECONDS, pause


def test_the_first_failure_is_answered_at_once() -> None:
    assert pause(1) == 0


def test_the_pause_doubles_up_to_a_limit() -> None:
    pauses = [pause(failures) for failures in range(2, 12)]
    assert pauses[:3] == [0.5, 1, 2]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
