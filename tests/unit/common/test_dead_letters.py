"""A bad record is set aside under a name of its own; too many of them end the process instead."""

from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.record._crecords import DefaultRecord

from libs.common.errors import BadMessage
from libs.common.events import CUT, DeadLetter
from libs.common.kafka import MAX_MESSAGE
from libs.common.stream import Limit, TooManyDeadLetters, dead_letter

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def letter_of(record: DefaultRecord, error: BadMessage) -> DeadLetter:
    place = TopicPartition("p.events.x", 3)
    return dead_letter(
        record, place, error, source="x", stage="archive.events", service="archive", now=NOW
    )  # fmt: skip


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
    letters = [letter_of(record, error) for _ in range(2)]
    assert letters[0] == letters[1]
    assert letters[0].id == "p.events.x/3/17"
    assert (letters[0].field, letters[0].rule, letters[0].payload_b64) == ("level", "type int", "/wA=")
    assert letters[0].headers == {"ce_id": "a"}


def test_the_letter_of_the_largest_record_fits_into_a_message_and_says_that_it_was_cut() -> None:
    headers: list[tuple[str, bytes | None]] = [("plain", b"a")]
    headers += [(f"h{number}", b"\x01" * 90_000) for number in range(20)]
    record = DefaultRecord(17, 0, 0, b"\0" * 4_000_000, b"\xff" * 4_000_000, headers)
    error = BadMessage("no number: " + "9" * 1_000_000, value="9" * 1_000_000)
    letter = letter_of(record, error)
    assert len(letter.encode()) < MAX_MESSAGE // 2
    assert letter.headers[CUT] == "4000000"
    assert letter.headers["plain"] == "a"


def test_a_record_whose_producer_says_odd_things_has_a_letter_like_any_other() -> None:
    for timestamp in (-(2**62), -1, 2**62):  # of microseconds, or of nobody's clock
        record = DefaultRecord(17, timestamp, 0, None, None, [("empty", None), ("traceparent", None)])
        letter = letter_of(record, BadMessage("no value"))
        assert letter.headers == {"empty": "", "traceparent": ""}
        assert letter == DeadLetter.decode(letter.encode())
