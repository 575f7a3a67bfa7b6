"""A record fits its source or is refused by field, value and rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.errors import BadMessage, TooLarge
from services.ingest.core.cloudevents import unwrap
from services.ingest.core.records import MAX_RECORD, Bad, Good, Validator, documents


def source(**more: Any) -> Source:
    definition = DEFINITION.validate_python(
        {
            "kind": "source", "id": "departures", "title": "Departures", "owner": "ops", "event_id": "id",
            "event_time": "at", "key": ["carrier"],
            "fields": [
                {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
                {"name": "carrier", "type": "string"}, {"name": "delay", "type": "int", "nullable": True},
                {"name": "gust", "type": "double", "nullable": True},
            ],
            **more,
        }
    )  # fmt: skip
    assert isinstance(definition, Source)
    return definition


VALIDATOR = Validator(source())
GOOD = b'{"id": "1", "at": "2013-02-08T17:00:00-05:00", "carrier": "UA", "delay": 5}'


def refused(raw: bytes) -> BadMessage:
    result = VALIDATOR.single(0, raw)
    assert isinstance(result, Bad)
    return result.error


def test_a_good_record_has_its_id_and_its_time_in_utc() -> None:
    result = VALIDATOR.single(3, GOOD)
    assert isinstance(result, Good)
    assert (result.index, result.event_id, str(result.event_time)) == (3, "1", "2013-02-08 22:00:00+00:00")
    assert result.key == b"UA"


def test_each_version_of_a_reference_row_has_a_key_of_its_own() -> None:
    validator = Validator(
        source(
            reference=True,
            event_id=None,
            event_time="since",
            key=["tail"],
            fields=[{"name": "tail", "type": "string"}, {"name": "since", "type": "timestamp"}],
        )
    )
    rows = b"""{"tail": "N|1", "since": "2026-01-01T00:00:00Z"}\n{"tail": "N|1", "since": "2026-01-02T00:00:00.5Z"}"""
    keys = [each.key for each in validator.lines(rows) if isinstance(each, Good)]
    assert keys == [b"N|1|1767225600000", b"N|1|1767312000500"]


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z", "carrier": 17}', "carrier"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z"}', "carrier"),
        (b'{"id": "1", "at": "yesterday", "carrier": "UA"}', "at"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00", "carrier": "UA"}', "at"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z", "carrier": "UA", "gate": "B7"}', "gate"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z", "carrier": "UA", "delay": 2147483648}', "delay"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z", "carrier": "UA", "delay": 1.5}', "delay"),
        (b'{"id": "1", "at": "0001-01-01T00:00:00+01:00", "carrier": "UA"}', "at"),
        (b'{"id": "1", "at": "9999-12-31T23:59:59-01:00", "carrier": "UA"}', "at"),
        (b'{"id": "", "at": "2013-02-08T17:00:00Z", "carrier": "UA"}', "id"),
        (b'{"id": "\\u0000", "at": "2013-02-08T17:00:00Z", "carrier": "UA"}', "id"),
        (b'{"id": null, "at": "2013-02-08T17:00:00Z", "carrier": "UA"}', "id"),
    ],
)
def test_a_bad_record_is_refused_by_the_name_of_its_field(raw: bytes, field: str) -> None:
    assert refused(raw).field == field


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[1]", b"17", b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 5_000]
)
def test_what_is_no_record_is_refused_and_not_an_error_of_ours(raw: bytes) -> None:
    assert refused(raw).reason


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    VALIDATOR.single(0, raw)
    list(VALIDATOR.lines(raw))


@pytest.mark.parametrize("body", [GOOD + GOOD, GOOD.replace(b",", b",\n"), GOOD + b"\n" + GOOD + GOOD])
def test_lines_that_are_not_one_object_each_are_refused_and_the_others_go_on(body: bytes) -> None:
    results = list(VALIDATOR.lines(body))
    assert [isinstance(each, Good) for each in results] == [line == GOOD for line in body.split(b"\n")]


def test_one_bad_line_is_named_by_its_index_and_the_others_go_on() -> None:
    results = list(VALIDATOR.lines(GOOD + b"\n{broken\n\n" + GOOD.replace(b'"1"', b'"2"') + b"\n"))
    assert [type(each) for each in results] == [Good, Bad, Good]
    assert [each.index for each in results] == [0, 1, 2]


def test_a_json_list_is_cut_into_its_records_as_they_stand() -> None:
    assert documents(b' [{"a": 1}, 2]') == [b'{"a": 1}', b"2"]
    with pytest.raises(BadMessage, match="not JSON"):
        documents(b"[1,")


def test_a_cloud_event_fills_the_id_and_time_that_its_data_lacks() -> None:
    raw, trace = unwrap(
        VALIDATOR.source,
        b'{"specversion": "1.0", "id": "7", "source": "/x", "type": "y", "time": "2013-02-08T17:00:00Z",'
        b' "traceparent": "00-a-b-01", "data": {"carrier": "UA"}}',
    )
    result = VALIDATOR.single(0, raw)
    assert isinstance(result, Good)
    assert (result.event_id, trace) == ("7", "00-a-b-01")


def test_a_cloud_event_without_type_is_refused_by_that_name() -> None:
    with pytest.raises(BadMessage) as caught:
        unwrap(VALIDATOR.source, b'{"specversion": "1.0", "id": "7", "source": "/x", "data": {}}')
    assert caught.value.field == "type"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"id": NaN}', "not_a_number"),
        (b'{"id": "1", "gust": -Infinity}', "not_a_number"),
        (b'{"id": "1", "gust": 1e999}', "out_of_range"),
        (b'{"id": "1", "delay": 1' + b"0" * 40 + b"}", "out_of_range"),
        (b'{"id": "1", "delay": 1' + b"0" * 5_000 + b"}", "out_of_range"),
        (b'{"id": "\xff"}', "invalid_utf8"),
        (b'{"\xc3(": 1}', "invalid_utf8"),
        (b'{"id": "\\ud800"}', "malformed"),
        (b'{"id": "1"', "malformed"),
        (b"", "malformed"),
        (b'{"id": "1", "gate": 1}', "unknown_field"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00Z"}', "missing_field"),
        (b'{"id": 1}', "wrong_type"),
        (b'{"id": ' + b"[" * 100_000, "wrong_type"),
        (b'{"id": "1", "at": "2013-02-08T17:00:00"}', "not_a_time"),
        (b'{"id": "1", "at": "yesterday"}', "not_a_time"),
        (b'{"id": "1", "at": "9999-12-31T23:59:59-01:00", "carrier": "UA"}', "not_a_time"),
        (b'{"id": "", "at": "2013-02-08T17:00:00Z", "carrier": "UA"}', "no_id"),
        (b'{"id": "' + b"A" * MAX_RECORD + b'"}', "too_large"),
    ],
)
def test_a_bad_record_has_the_stable_code_of_what_is_wrong(raw: bytes, code: str) -> None:
    assert refused(raw).code == code
    *_, last = VALIDATOR.lines(GOOD + b"\n" + raw + b"\n")
    assert not raw or (isinstance(last, Bad) and last.error.code == code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[NaN]", "not_a_number"),
        (b'{"a": -Infinity}', "not_a_number"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 5_000, "too_deep"),
        (b"[1,", "malformed"),
        (b"", "malformed"),
    ],
)
def test_a_body_that_cannot_be_cut_into_records_has_its_own_code(body: bytes, code: str) -> None:
    with pytest.raises(BadMessage) as caught:
        documents(body)
    assert caught.value.code == code


def test_a_record_that_is_too_large_is_refused_among_lines_as_it_is_alone() -> None:
    large = b'{"id": "2", "at": "2013-02-08T17:00:00Z", "carrier": "' + b"A" * MAX_RECORD + b'"}'
    small, refusal = VALIDATOR.lines(GOOD + b"\n" + large)
    assert isinstance(small, Good)
    assert isinstance(refusal, Bad)
    assert refusal.error.rule == f"at most {MAX_RECORD} bytes"


def test_a_body_of_too_many_records_is_refused_before_one_of_them_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(VALIDATOR, "single", None)
    with pytest.raises(TooLarge, match="more than 3"):
        VALIDATOR.lines(b"1\n\n2\n3\n4", 3)
    with pytest.raises(TooLarge, match="more than 3"):
        documents(b"[1, 2, 3, 4]", 3)
    assert len(documents(b"[1, 2, 3]", 3)) == 3
