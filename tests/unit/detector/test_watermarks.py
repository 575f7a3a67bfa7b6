"""The watermark of a source: the least over its partitions, and what it does as they fall silent and wake."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Source
from services.detector.core.steps import Mark
from services.detector.core.watermarks import Watermark
from services.detector.handlers.remembered import Heard

SOURCE = Source.model_validate(
    {
        "id": "drops", "title": "Drops", "owner": "ops", "event_id": "id", "event_time": "at", "key": ["id"],
        "partitions": 3, "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }
)  # fmt: skip
Report = tuple[int, int | None, bool]


def after(*reports: Report, partitions: int = 2) -> Watermark:
    found = Watermark(partitions)
    for report in reports:
        found.advance(*report)
    return found


def asleep(number: int) -> Report:
    return number, None, True


def test_it_is_the_least_over_the_partitions_and_never_goes_back() -> None:
    assert after((0, 10, False)).at is None
    assert after((0, 10, False), (1, 20, False)).at == 10
    assert after((0, 10, False), (1, 20, False), (0, 5, False)).at == 10


def test_an_idle_partition_holds_nothing_back() -> None:
    assert after((0, 10, False), (1, 20, False), asleep(0)).at == 20
    assert after((0, 10, False), asleep(1)).at == 10


@given(st.permutations(range(4)), st.lists(st.none() | st.integers(0, 99), min_size=4, max_size=4))
def test_in_which_order_partitions_fall_silent_does_not_matter(
    order: list[int], times: list[int | None]
) -> None:
    heard = [(number, at, False) for number, at in enumerate(times)]
    found = after(*heard, *(asleep(number) for number in order), partitions=4)
    assert found.at == max((at for at in times if at is not None), default=None)


def test_a_source_that_wakes_waits_for_each_of_its_partitions() -> None:
    slept = (0, 10, False), (1, 20, False), asleep(0), asleep(1)
    woken = after(*slept, (0, 500, False))
    assert (woken.at, woken.held_by) == (20, 1)
    assert after(*slept, (0, 500, False), (1, 300, False)).at == 300
    assert after(*slept, (0, 500, False), asleep(1)).at == 500


def test_a_partition_that_wakes_in_a_source_that_is_awake_is_alone_in_it() -> None:
    found = after((0, 10, False), (1, 20, False), (2, 30, False), asleep(1), asleep(2), partitions=3)
    found.advance(1, 25, False)
    assert (found.at, found.marks[2].idle) == (10, True)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12))
def test_who_rebuilds_takes_a_partition_for_idle_as_merge_did(told: list[tuple[int, bool]]) -> None:
    """After a source that slept: what was told before is not kept for ever."""
    slept = asleep(0), asleep(1), asleep(2)
    merged = after(*slept, *((number, None, idle) for number, idle in told), partitions=3)
    heard = Heard([Mark(SOURCE.id, number, None, idle) for number, idle in told])
    assert [heard.is_idle(SOURCE, number) for number in range(3)] == [
        merged.marks[number].idle for number in range(3)
    ]
