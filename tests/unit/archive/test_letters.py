"""A dead letter that names a subject is found, however it was written, and one that only looks like it is not."""

import json

import pytest

from services.archive.core.letters import mentions


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"holder": "Ann Ö"}).encode(),
        json.dumps({"holder": "Ann Ö"}, ensure_ascii=False).encode(),
        json.dumps({"holder": None, "note": "for Ann Ö"}).encode(),
        json.dumps({"nested": [{"holder": "Ann Ö"}]}).encode(),
        '{"holder": "Ann Ö", cut sho'.encode(),
        b"\x00\x00\x00\x00\x07\x0cAnn \xc3\x96\x04",
    ],
)
def test_a_name_is_found(payload: bytes) -> None:
    assert mentions(payload, (), "holder", "Ann Ö")
    assert not mentions(payload, (), "holder", "Bob")


def test_a_number_is_found_as_a_member_and_not_among_other_digits() -> None:
    assert mentions(b'{"holder": 12}', (), "holder", "12")
    assert mentions(b'{"holder": "12"}', (), "holder", "12")
    assert not mentions(b'{"holder": 123, "at": "2012-12-12"}', (), "holder", "12")


def test_a_field_that_is_null_or_missing_names_nobody() -> None:
    assert not mentions(b'{"holder": null}', (), "holder", "None")
    assert not mentions(b"{}", (), "holder", "None")


def test_what_was_said_of_a_letter_counts_too() -> None:
    assert mentions(b"", ("age: Ann is no number", None), "holder", "Ann")
    assert not mentions(b"", ("12 fields", None), "holder", "12")
    assert mentions(b"", ("12",), "holder", "12")
