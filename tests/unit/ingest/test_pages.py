"""What a pull hands in at once is bounded, whatever a page of it brings."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.pages import portions

RECORDS = st.lists(st.binary(max_size=12), max_size=30)


@given(RECORDS, st.integers(1, 8), st.integers(1, 20))
def test_portions_are_all_records_in_order_within_bounds_or_one_alone(
    records: list[bytes], count: int, size: int
) -> None:
    found = list(portions(records, count, size))
    assert [record for some in found for record in some] == records
    for some in found:
        assert 0 < len(some) <= count
        assert len(some) == 1 or sum(map(len, some)) <= size


@given(RECORDS, st.integers(1, 8), st.integers(1, 20))
def test_no_portion_could_have_had_the_next_record_too(records: list[bytes], count: int, size: int) -> None:
    found = list(portions(records, count, size))
    for some, following in pairwise(found):
        assert len(some) == count or sum(map(len, some)) + len(following[0]) > size
