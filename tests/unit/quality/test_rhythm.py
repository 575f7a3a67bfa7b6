"""Simulated sources of every rhythm, for weeks: no alarm without a cause, a real drop is found in the time stated."""

from collections.abc import Callable

import numpy as np
import pytest

from services.quality.core.rhythm import DAY, HOUR, KEPT, WEEK, Counts, quiet, rate

Dice = np.random.Generator
Source = Callable[[Dice, np.ndarray], np.ndarray]
"""Events per minute, of minutes since a Monday at midnight."""


def poisson(per_minute: float) -> Source:
    return lambda dice, at: dice.poisson(per_minute, at.size)


def diurnal(dice: Dice, at: np.ndarray) -> np.ndarray:
    return dice.poisson(30 * (1.02 - np.cos(2 * np.pi * at / DAY)))


def office_hours(dice: Dice, at: np.ndarray) -> np.ndarray:
    """Busy from 8 to 18 on five days, nearly nothing at night and on weekends."""
    busy = (at % DAY >= 8 * HOUR) & (at % DAY < 18 * HOUR) & (at // DAY % 7 < 5)
    return dice.poisson(np.where(busy, 40, 0.02))


def lots(every: int, size: int, jitter: int) -> Source:
    """A pull: a lot now and then."""

    def source(dice: Dice, at: np.ndarray) -> np.ndarray:
        counts = np.zeros(at.size, np.int64)
        times = np.arange(0, at.size, every) + dice.integers(0, jitter + 1, -(-at.size // every))
        np.add.at(counts, times[times < at.size], size)
        return counts

    return source


def bursts(dice: Dice, at: np.ndarray) -> np.ndarray:
    """Nothing for times of a heavy tail, then many at once."""
    counts, now = np.zeros(at.size, np.int64), 0.0
    while (now := now + 20 * (dice.pareto(1.8) + 0.2)) < at.size:
        counts[int(now)] += 1 + int(100 * dice.pareto(1.5))
    return counts


SOURCES: dict[str, Source] = {
    "busy": poisson(500), "steady": poisson(20), "slow": poisson(1), "rare": poisson(1 / 30),
    "once a few hours": poisson(1 / 200), "diurnal": diurnal, "office hours": office_hours,
    "hourly lots": lots(60, 50, 0), "hourly lots, not on the minute": lots(60, 50, 20),
    "lots of five minutes": lots(5, 9, 2), "daily lots": lots(DAY, 5_000, 40), "bursts": bursts,
}  # fmt: skip


def alarms(counts: Counts, begin: int, stop: int, step: int) -> tuple[list[int], list[int]]:
    """Minutes at which a drop was opened, and a silence, as the loop does it."""
    dropped = silent = False
    drops: list[int] = []
    silences: list[int] = []
    for now in range(begin, stop, step):
        known = counts[max(0, now - KEPT) : now]
        found = rate(known)
        if found.state == "dropped" and not dropped:
            drops.append(now)
        dropped = found.state == "dropped" or (dropped and found.state != "normal")
        gap = quiet(known).is_silence
        if gap and not silent:
            silences.append(now)
        silent = gap
    return drops, silences


def simulated(name: str, seed: int, weeks: int = 6) -> Counts:
    return SOURCES[name](np.random.default_rng(seed), np.arange(weeks * WEEK)).astype(np.int64)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_goes_on_as_it_did_raises_no_alarm(name: str) -> None:
    counts = simulated(name, 1)
    drops, silences = alarms(counts, DAY, len(counts), 97)
    if name == "office hours":  # its first weekend is not known of
        drops, silences = ([at for at in found if at > WEEK + 8 * HOUR] for found in (drops, silences))
    assert (drops, silences) == ([], [])


def test_of_bursts_with_a_heavy_tail_false_alarms_are_rare() -> None:
    """At most one in two source-months, most likely in the first days, when few gaps are known."""
    found = [alarms(simulated("bursts", seed), DAY, 6 * WEEK, 101) for seed in range(2, 6)]
    assert [drops for drops, _ in found] == [[]] * 4
    assert sum(len(silences) for _, silences in found) <= 3


TOLD: dict[str, int] = {
    "busy": 10,
    "steady": 30,
    "slow": 4 * HOUR,
    "diurnal": 30,
    "lots of five minutes": HOUR,
}
"""Minutes by which a drop to 30 % is told, at noon of a Wednesday."""


@pytest.mark.parametrize("name", TOLD)
def test_a_drop_is_told_in_the_time_stated_and_ends_when_it_is_over(name: str) -> None:
    dice = np.random.default_rng(7)
    begin = 5 * WEEK + 2 * DAY + 12 * HOUR
    stop = begin + max(2 * TOLD[name], 60)
    counts = simulated(name, 2)
    counts[begin:stop] = dice.binomial(counts[begin:stop], 0.3)
    drops, _ = alarms(counts, begin, begin + TOLD[name] + 1, 1)
    assert len(drops) == 1
    states = [rate(counts[: stop + after][-KEPT:]).state for after in range(0, 2 * TOLD[name] + 10, 3)]
    assert "normal" in states
    assert "dropped" not in states[states.index("normal") :]


@pytest.mark.parametrize(
    ("name", "minutes"), [("busy", 7), ("steady", 7), ("slow", 45), ("hourly lots", 200), ("diurnal", 8)]
)
def test_silence_is_told_after_three_of_its_longest_gaps(name: str, minutes: int) -> None:
    begin = 5 * WEEK + 2 * DAY + 12 * HOUR + 1
    counts = simulated(name, 3)
    counts[begin:] = 0
    _, silences = alarms(counts, begin, begin + minutes + 1, 1)
    assert len(silences) == 1


def test_a_bad_week_does_not_hide_the_next_fault() -> None:
    at = 5 * WEEK + 2 * DAY + 12 * HOUR
    counts = simulated("steady", 4)
    counts[at - 2 * WEEK - 3 * HOUR : at - 2 * WEEK + 3 * HOUR] = 0
    counts[at:] //= 4
    drops, _ = alarms(counts, at, at + TOLD["steady"] + 1, 1)
    assert len(drops) == 1


def test_nothing_is_said_of_a_source_in_its_first_day() -> None:
    counts = simulated("busy", 5)[: DAY - 1]
    counts[-60:] = 0
    assert rate(counts).state == "unknown"
    assert quiet(counts).allowed is None
