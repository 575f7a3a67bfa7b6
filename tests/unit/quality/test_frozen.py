"""Values that stand still are told from values that seldom move."""

import random
from datetime import UTC, datetime
from itertools import groupby

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from services.quality.core.frozen import RUNS, SHORTEST, Run, follow

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def after(run: Run, values: list[float | None]) -> Run:
    return follow(run, pl.Series(values, dtype=pl.Float64), AT)


def test_a_field_that_varied_and_keeps_one_value_is_frozen_until_it_moves() -> None:
    run = after(Run(), [float(number % 7) for number in range(100)])
    assert not run.is_frozen
    run = after(run, [3.5] * (SHORTEST - 1))
    assert not run.is_frozen
    run = after(run, [3.5, None, 3.5])
    assert run.is_frozen
    before = run.longest
    run = after(run, [3.6])
    assert not run.is_frozen
    assert run.longest == before  # what was frozen is no measure of what is usual


def test_a_field_that_never_varied_is_not_frozen() -> None:
    assert not after(Run(), [2013.0] * 10_000).is_frozen


def test_a_field_that_varies_seldom_is_left_in_peace() -> None:
    run = Run()
    for hour in range(48):
        run = after(run, [float(hour % 24)] * random.Random(hour).randint(500, 900))
        assert not run.is_frozen


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, None]), max_size=12), max_size=12))
def test_however_events_are_cut_into_batches_the_runs_are_the_same(batches: list[list[float | None]]) -> None:
    run = Run()
    for batch in batches:
        run = after(run, batch)
    values = [value for batch in batches for value in batch if value is not None]
    lengths = [len(list(same)) for _, same in groupby(values)]
    if not values:
        assert run == Run()
        return
    assert (run.value, run.length, run.runs) == (str(values[-1]), lengths[-1], len(lengths) - 1)
    if len(lengths) <= RUNS:
        assert run.longest == max(lengths[:-1], default=0)


def test_flags_of_any_frequency_freeze_seldom_by_chance() -> None:
    """Fifty fields that are true now and then, for 20,000 events each: what is called frozen is bounded."""
    told = 0
    for seed in range(50):
        dice = random.Random(seed)
        share, run = dice.uniform(0.005, 0.5), Run()
        for _ in range(200):
            was = run.is_frozen
            run = after(run, [float(dice.random() < share) for _ in range(100)])
            told += run.is_frozen and not was
    assert told <= 2  # of fifty times 20,000
