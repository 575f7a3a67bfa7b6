"""A bad record is set aside under a name of its own; too many of them end the process instead."""

from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.record._crecords import DefaultRecord

from libs.common.errors import BadMessage
from libs.common.stream import Limit, TooManyDeadLetters, dead_letter

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_as_many_on_end_as_allowed_pass_and_one_more_does_not() -> None:
    limit = Limit(run=10, window=10_000)
    limit.count(10, 10)
    with pytest.raises(TooManyDeadLetters, match="11 on end"):
        limit.count(1, 1)


def test_a_good_record_in_between_ends_a_run() -> None:
    limit = Limit(run=10, share=1.0)
    for _ in range(100):
        limit.count(10, 10)
        limit.count(10, 9)


def test_more_than_its_share_of_a_full_window_is_too_many() -> None:
    limit = Limit(run=1_000, share=0.5, window=100)
    for _ in range(20):
        limit.count(10, 5)
    for _ in range(9):
        limit.count(10, 5)
    with pytest.raises(TooManyDeadLetters):
        limit.count(10, 10)


def test_what_was_long_ago_no_longer_counts() -> None:
    limit = Limit(run=1_000, share=0.5, window=100)
    limit.count(50, 50)
    for _ in range(50):
        limit.count(10, 0)
    for _ in range(4):
        limit.count(10, 10)


def test_a_letter_has_the_place_of_its_record_as_its_name_and_keeps_its_bytes() -> None:
    record = DefaultRecord(17, 1_700_000_000_000, 0, b"key", b"\xff\x00", [("ce_id", b"a")])
    error = BadMessage("no number", field="level", value="high", rule="type int")
    letters = [
        dead_letter(
            record,
            TopicPartition("p.events.x", 3),
            error,
            source="x",
            stage="archive.events",
            service="archive",
            now=NOW,
        )
        for _ in range(2)
    ]
    assert letters[0] == letters[1]
    assert letters[0].id == "p.events.x/3/17"
    assert (letters[0].field, letters[0].rule, letters[0].payload_b64) == ("level", "type int", "/wA=")
    assert letters[0].headers == {"ce_id": "a"}
