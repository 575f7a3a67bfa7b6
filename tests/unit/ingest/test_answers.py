"""What a pulled endpoint answers is taken as it stands, or refused with the reason."""

from datetime import UTC, datetime

import pytest

from services.ingest.core.answers import Unreadable, asked_pause, list_at, text_at, value_at

ANSWER = (
    b'{"data": {"items": [{"id": 1.50, "n": 12345678901234567890}, 3]}, "meta": {"next": 7, "end": null}}'
)


def test_records_are_taken_byte_for_byte() -> None:
    assert list_at(ANSWER, "data.items") == [b'{"id": 1.50, "n": 12345678901234567890}', b"3"]
    assert list_at(b" [1, {}]", "") == [b"1", b"{}"]


@pytest.mark.parametrize("path", ["data", "data.nothing", "meta.next.x", ""])
def test_no_list_at_the_path_is_said_with_the_path(path: str) -> None:
    with pytest.raises(Unreadable, match=f"no list of records at {path or 'the top'}"):
        list_at(ANSWER, path)


def test_what_is_no_json_is_said() -> None:
    with pytest.raises(Unreadable, match="not JSON"):
        list_at(b"<html>", "items")


def test_a_cursor_is_a_text_whatever_its_type_and_none_where_there_is_none() -> None:
    assert text_at(ANSWER, "meta.next") == "7"
    assert [text_at(ANSWER, path) for path in ("meta.end", "meta.other", "data.items.x")] == [None] * 3
    assert text_at(None, "id") is None
    assert text_at(b'{"id": "a"}', "id") == "a"


def test_a_pause_is_asked_for_in_seconds_or_by_a_date() -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert asked_pause("120", now) == 120
    assert asked_pause("Fri, 27 Nov 2026 12:10:00 GMT", now) == 600
    assert asked_pause("Fri, 27 Nov 2026 11:00:00 GMT", now) == 0
    assert asked_pause("soon", now) is None
    assert asked_pause("", now) is None


def test_a_pause_that_is_asked_for_in_no_digits_is_none() -> None:
    assert asked_pause("\u00b2", datetime(2026, 11, 27, 12, tzinfo=UTC)) is None


def test_a_cursor_that_is_no_text_is_said_with_its_place() -> None:
    for value in (b'"\xff"', b"[" * 100_000 + b"]" * 100_000):
        with pytest.raises(Unreadable, match="not JSON"):
            text_at(b'{"id": ' + value + b"}", "id")


def test_a_cursor_has_64_bits() -> None:
    assert value_at(b'{"n": 9223372036854775807}', "n", times=False) == 2**63 - 1
    for number in (b"9223372036854775808", b"-" + b"9" * 400):
        assert value_at(b'{"n": ' + number + b"}", "n", times=False) is None
