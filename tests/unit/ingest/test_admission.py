"""Memory stays bounded, whoever comes; a flood never takes the room of the others, nor more than its quota."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog.sources import Quota
from libs.common.errors import Overloaded, QuotaExceeded
from services.ingest.core.admission import Admission, Hold
from services.ingest.core.quota import Bucket


def flood(admission: Admission, source: str, size: int = 1) -> list[Hold]:
    """As many requests as are let in."""
    held: list[Hold] = []
    while True:
        hold = admission.hold(source)
        try:
            hold.take(bytes=size)
        except Overloaded:
            return held
        held.append(hold)


def test_a_flood_takes_half_of_the_room_and_the_next_one_still_finds_its_own() -> None:
    admission = Admission(bytes=1_000, records=1_000)
    assert len(flood(admission, "loud")) == 500
    assert len(flood(admission, "second")) == 250
    assert len(flood(admission, "third")) == 125


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_sources_that_all_flood_hold_equal_shares(count: int) -> None:
    admission = Admission(bytes=2_200, records=1)
    held = {f"s{number}": flood(admission, f"s{number}") for number in range(count)}
    choose = random.Random(7)
    for _ in range(20_000):
        source = choose.choice(list(held))
        if held[source]:
            held[source].pop(0).give_back()
        held[source] += flood(admission, source)
    for each in held.values():
        assert abs(len(each) - 2_200 / (count + 1)) < 0.1 * 2_200 / (count + 1)


def test_who_is_refused_is_told_whether_it_is_the_source_or_the_system() -> None:
    admission = Admission(bytes=100, records=100)
    flood(admission, "loud")
    with pytest.raises(Overloaded) as own:
        admission.hold("loud").take(bytes=1)
    with pytest.raises(Overloaded) as whole:
        admission.hold("quiet").take(bytes=51)
    assert (own.value.status, own.value.code, own.value.more["scope"]) == (503, "overloaded", "source")
    assert (whole.value.more["scope"], whole.value.more["retryable"], whole.value.more["retry_after"]) == (
        "system", True, 1,
    )  # fmt: skip


def test_records_are_bounded_as_bytes_are() -> None:
    admission = Admission(bytes=1_000_000, records=10)
    admission.hold("a").take(bytes=1, records=5)
    with pytest.raises(Overloaded, match="5 records wait of a"):
        admission.hold("a").take(records=1)
    admission.hold("b").take(records=5)


def test_a_request_that_fails_gives_back_what_it_held_and_one_that_waits_does_not() -> None:
    admission = Admission(bytes=100, records=100)
    with admission.hold("a") as hold:
        hold.take(bytes=60, records=2)
    assert (admission.bytes.used, admission.records.used, admission.bytes.held) == (0, 0, {})
    with admission.hold("a") as hold:
        hold.take(bytes=60)
        hold.passed_on = True
    assert admission.bytes.used == 60
    hold.give_back()
    hold.give_back()
    assert admission.bytes.used == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 400), st.booleans()), max_size=200))
def test_no_more_is_ever_held_than_there_is_room_for(steps: list[tuple[str, int, bool]]) -> None:
    admission, held = Admission(bytes=1_000, records=1_000), list[Hold]()
    for source, size, end in steps:
        if end and held:
            held.pop(0).give_back()
        hold = admission.hold(source)
        free = admission.bytes.total - admission.bytes.used
        newcomer = source not in admission.bytes.held
        try:
            hold.take(bytes=size)
            held.append(hold)
        except Overloaded:
            assert not newcomer or size > free, "who holds nothing finds what is free"
        assert admission.bytes.used == sum(each.bytes for each in held) <= 1_000
        assert sum(admission.bytes.held.values()) == admission.bytes.used


def test_a_quota_lets_a_burst_in_and_then_so_many_a_second() -> None:
    bucket = Bucket(Quota(events_per_second=10, burst=50), now=0)
    bucket.take("s", 50, 0)
    with pytest.raises(QuotaExceeded) as caught:
        bucket.take("s", 25, 0.0)
    body = caught.value.body()
    assert (body["status"], body["code"], body["scope"], body["retryable"]) == (429, "quota", "source", True)
    assert body["retry_after"] == 3
    bucket.take("s", 25, 3)
    with pytest.raises(QuotaExceeded):
        bucket.take("s", 6, 3)
    bucket.take("s", 5, 3)


def test_more_than_the_burst_comes_in_when_the_bucket_is_full_and_is_paid_for_afterwards() -> None:
    bucket = Bucket(Quota(events_per_second=10, burst=50), now=0)
    bucket.take("s", 500, 0)
    with pytest.raises(QuotaExceeded) as caught:
        bucket.check("s", 1, 1)
    assert caught.value.more["retry_after"] == 45
    bucket.take("s", 1, 46)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 200)), max_size=100))
def test_in_the_long_run_no_more_come_than_the_rate_allows(steps: list[tuple[float, int]]) -> None:
    bucket, now, came, largest = Bucket(Quota(events_per_second=20), now=0), 0.0, 0, 0
    for pause, events in steps:
        now += pause
        try:
            bucket.take("s", events, now)
        except QuotaExceeded:
            continue
        came, largest = came + events, max(largest, events)
        assert came <= 200 + largest + 20 * now + 1e-6
