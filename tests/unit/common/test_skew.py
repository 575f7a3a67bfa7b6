"""What is said about partitions that are used unevenly."""

from typing import Any

from libs.common.catalog import DEFINITION, Source
from libs.common.skew import HotKey, Share, advice, skew


def source(key: Any = ("line",)) -> Source:
    fields = [{"name": name, "type": "string"} for name in ("id", "line", "stop")]
    definition = DEFINITION.validate_python(
        {
            "kind": "source", "id": "trams", "title": "Trams", "owner": "ops", "key": key, "event_id": "id",
            "event_time": "at", "fields": [*fields, {"name": "at", "type": "timestamp"}],
        }
    )  # fmt: skip
    assert isinstance(definition, Source)
    return definition


def shares(*records: float) -> list[Share]:
    return [Share(number, each, each) for number, each in enumerate(records)]


EVEN = shares(0.25, 0.25, 0.25, 0.25)


def test_skew_is_the_largest_over_the_mean() -> None:
    assert skew([1, 1, 1, 1]) == 1
    assert skew([4, 0, 0, 0]) == 4
    assert skew([0, 0]) is None
    assert skew([]) is None


def test_nothing_is_said_where_all_is_well_or_order_was_not_wanted() -> None:
    assert advice(source(), 1000, EVEN, [HotKey("1", 0.2)], None) == []
    assert advice(source("random"), 1000, EVEN, [], 0) == []


def test_too_few_records_are_not_judged() -> None:
    (text,) = advice(source(), 7, shares(1, 0, 0, 0), [HotKey("1", 1.0)], 1)
    assert text == "7 records are too few to tell: at least 100 are needed"


def test_a_hot_key_is_named_with_its_share_and_with_fields_that_part_it() -> None:
    (text,) = advice(source(), 1000, shares(0.55, 0.15, 0.15, 0.15), [HotKey("4711", 0.43)], None)
    assert text.startswith("key 4711 carries 43% of the records: a partition cannot be split below one key")
    assert "add a field (stop) to the key" in text


def test_a_key_that_may_not_be_seen_is_not_named() -> None:
    (text,) = advice(source(), 1000, shares(0.55, 0.15, 0.15, 0.15), [HotKey(None, 0.43)], None)
    assert text.startswith("a key that you may not see carries 43%")


def test_records_without_a_key_are_told_apart_from_a_hot_one() -> None:
    (text,) = advice(source(), 1000, shares(0.55, 0.15, 0.15, 0.15), [HotKey("", 0.43)], None)
    assert text.startswith("43% of the records have an empty key")


def test_empty_partitions_say_that_the_key_has_too_few_values() -> None:
    used = shares(0.3, 0.3, 0.4, *([0.0] * 3))
    found = advice(source(), 1000, used, [HotKey("a", 0.2)], 5)
    assert [text.partition(";")[0] for text in found] == [
        "3 of 6 partitions are empty: the key has only 5 values"
    ]


def test_keys_that_fall_together_are_parted_by_more_partitions() -> None:
    (text,) = advice(source(), 1000, shares(0.6, 0.2, 0.1, 0.1), [HotKey("a", 0.3)], None)
    assert "2.4 times the mean" in text
    assert "more partitions part them" in text
