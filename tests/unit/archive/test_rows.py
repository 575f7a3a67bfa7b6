"""Decoded records become rows with their origin."""

from datetime import UTC, datetime

import polars as pl
from aiokafka.record._crecords import DefaultRecord

from libs.common.catalog import DEFINITION, Source
from libs.common.wire import INDEX, SCHEMA_ID
from services.archive.handlers.rows import event_rows, json_rows, reference_rows

AT = datetime(2013, 2, 8, 17, tzinfo=UTC)
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "departures", "title": "Departures", "owner": "ops", "event_id": "id",
        "event_time": "at", "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }
)  # fmt: skip


def record(offset: int) -> DefaultRecord:
    headers = (
        ("sx-ingested", b"1360342861000"),
        ("sx-receipt", b"r1"),
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    return DefaultRecord(offset, 0, 0, b"UA", b"x", list(headers))


def frame(times: list[datetime | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [str(each) for each in range(len(times))],
            "at": times,
            INDEX: range(len(times)),
            SCHEMA_ID: 7,
        },
        schema_overrides={"at": pl.Datetime("ms", "UTC")},
    )


def test_a_row_says_where_its_event_came_from() -> None:
    assert isinstance(SOURCE, Source)
    ((row,), minutes, bad) = event_rows(SOURCE, 2, [record(41)], frame([AT]), AT)
    assert row[:8] == ("departures", 2, 41, AT, "0", "UA", 7, "r1")
    assert row[10] == "0af7651916cd43dd8448eb211c80319c"
    assert list(minutes.values()) == [1]
    assert bad == []


def test_an_event_without_a_time_is_bad_and_the_others_are_kept() -> None:
    assert isinstance(SOURCE, Source)
    rows, _, bad = event_rows(SOURCE, 2, [record(1), record(2)], frame([None, AT]), AT)
    assert [row[2] for row in rows] == [2]
    assert [(each.offset, error.field) for each, error in bad] == [(1, "at")]


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert json_rows(frame([AT]).select("at")) == [b'{"at":"2013-02-08T17:00:00.000Z"}']


def test_what_others_write_past_ingest_is_a_row_whatever_its_key_headers_and_time() -> None:
    assert isinstance(SOURCE, Source)
    headers: list[tuple[str, bytes | None]] = [
        ("sx-ingested", b"soon"),
        ("sx-receipt", b"\xff\0"),
        ("traceparent", None),
    ]
    odd = DefaultRecord(41, 2**62, 0, (7).to_bytes(8, "big"), b"x", headers)
    ((row,), _, bad) = event_rows(SOURCE, 2, [odd], frame([AT]), AT)
    assert bad == []
    assert row[5] == "\u2400" * 7 + "\x07"
    assert row[7:9] == ("\ufffd\u2400", datetime.max.replace(microsecond=999_000, tzinfo=UTC))
    assert row[10] is None
    (kept,), _ = reference_rows(SOURCE, [odd], frame([AT]), AT)
    assert kept[1] == row[5]
