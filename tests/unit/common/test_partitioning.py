"""The partition of a key is the one that Kafka's clients choose, one key at a time or many."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from libs.common.partitioning import partition_for, partitions_for


@given(keys=st.lists(st.binary(max_size=40)), count=st.integers(1, 300))
def test_keys_go_where_the_clients_send_them(keys: list[bytes], count: int) -> None:
    every = list(range(count))
    expected = [DefaultPartitioner()(key, every, every) for key in keys]
    assert partitions_for(keys, count) == expected
    assert [partition_for(key, count) for key in keys] == expected


def test_a_record_without_a_key_goes_to_the_first_partition() -> None:
    assert partition_for(None, 4) == 0
