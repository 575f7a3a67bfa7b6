"""Shares of partitions, and the heaviest keys within the error that is stated, in bounded memory."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.load import COUNTERS, HALF_LIFE_MS, LONGEST_KEY, SAMPLE, Keyed, Load, Written

CONTROL: Written = (None, b"", [("sx-control", b"watermark")])


def event(key: bytes | None) -> Written:
    return key, b"value", [("sx-receipt", b"r")]


def load(partitions: int = 2) -> Load:
    return Load(partitions, Random(7))


@given(st.integers(0, 2**32), st.integers(1, 5_000), st.floats(1, 6))
def test_without_sampling_a_count_is_too_low_by_the_stated_error_at_most(
    seed: int, most: int, power: float
) -> None:
    sketch, truth, dice = Keyed(), Counter[bytes](), Random(seed)
    for _ in range(10):
        keys = [b"%d" % (most * dice.random() ** power) for _ in range(200)]
        sketch.add(keys, len(keys))
        truth.update(keys)
    total = truth.total()
    assert len(sketch.counts) <= 2 * COUNTERS
    assert sketch.error <= 1 / (COUNTERS + 1) + 1e-9
    for key, count in truth.items():
        assert 0 <= count / total - sketch.counts.get(key, 0.0) / total <= sketch.error + 1e-9
    assert not sketch.all or len(sketch.counts) == len(truth)


@pytest.mark.parametrize("seed", range(6))
def test_of_a_flood_shares_are_right_within_the_stated_error(seed: int) -> None:
    dice = Random(seed)
    found, truth, total = Load(4, dice), Counter[bytes](), 0
    for now in range(10):
        keys = [
            b"hot" if dice.random() < 0.43 else str(dice.randrange(50_000)).encode() for _ in range(5_000)
        ]
        written: list[list[Written]] = [[], [], [], []]
        for key in keys:
            written[hash(key) % 4].append(event(key))
        found.take(now, written, [100] * 4)
        truth.update(keys)
        total += len(keys)
    (hot, *_) = found.keys.top(3)
    assert hot.key == b"hot"
    assert abs(hot.share - truth[b"hot"] / total) <= 1.5 * found.keys.error
    assert found.keys.error < 0.05
    assert found.distinct is None
    assert found.total == pytest.approx(total)


def test_partitions_have_their_shares_of_records_and_bytes() -> None:
    found = load()
    found.take(0, [[event(b"a")] * 3, [event(b"b")]], [100, 300])
    assert [(each.records, each.bytes) for each in found.shares()] == [(0.75, 0.25), (0.25, 0.75)]
    assert [(each.key, each.share) for each in found.keys.top(5)] == [(b"a", 0.75), (b"b", 0.25)]
    assert (found.distinct, found.keys.error) == (2, 0.0)


def test_nothing_is_known_of_a_source_without_records() -> None:
    found = load()
    assert (found.shares(), found.total, found.keys.top(5), found.keys.error) == ([], 0.0, [], 0.0)


def test_control_records_are_no_records_of_the_source() -> None:
    found = load()
    found.take(0, [[event(b"a"), CONTROL], [CONTROL]], [10, 5])
    assert found.records == [1.0, 0.0]
    assert [each.key for each in found.keys.top(5)] == [b"a"]


def test_records_without_a_key_count_for_their_partition_alone() -> None:
    found = load()
    found.take(0, [[event(None)], [event(None)]], [10, 10])
    assert (found.records, found.keys.top(5)) == ([1.0, 1.0], [])


def test_what_is_long_ago_counts_half() -> None:
    found = load()
    found.take(0, [[event(b"old")] * 100, []], [100, 0])
    found.take(HALF_LIFE_MS, [[], [event(b"new")] * 100], [0, 100])
    assert [round(each.records, 3) for each in found.shares()] == [0.333, 0.667]
    assert [each.key for each in found.keys.top(2)] == [b"new", b"old"]


def test_a_key_of_any_length_takes_little_and_stays_apart() -> None:
    found = load(1)
    found.take(0, [[event(b"x" * 100_000 + tail) for tail in (b"a", b"b")]], [1])
    keys = [each.key for each in found.keys.top(5)]
    assert len(set(keys)) == 2
    assert all(len(key) == LONGEST_KEY for key in keys)


def test_one_transaction_costs_a_sample_however_large_it_is() -> None:
    found = load()
    found.take(0, [[event(b"%d" % number) for number in range(40_000)], [event(b"rare")]], [1, 1])
    assert len(found.keys.counts) <= SAMPLE + 1
    assert found.total == 40_001
