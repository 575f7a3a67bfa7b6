"""Text files fall into records that the source's types are read from."""

import json
from io import BytesIO

from libs.common.catalog import Source
from services.ingest.core.lines import columns, csv_record, lines

SOURCE = Source.model_validate(
    {
        "id": "lines", "title": "Lines", "owner": "fleet", "event_id": "id", "event_time": "at",
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "n", "type": "int"},
            {"name": "x", "type": "double", "nullable": True}, {"name": "ok", "type": "boolean"},
        ],
    }
)  # fmt: skip
HEADER = ["id", "at", "n", "x", "ok", "other"]


def cut(text: bytes, *, quoted: bool = False, final: bool = True) -> list[bytes]:
    found = list(lines(BytesIO(text), quoted=quoted, final=final))
    if final:
        assert sum(length for _, length in found) == len(text)
    return [line for line, _ in found]


def test_a_line_that_is_still_being_written_is_no_record_yet() -> None:
    assert cut(b'{"a":1}\r\n{"a":2}\n{"a"', final=False) == [b'{"a":1}', b'{"a":2}']
    assert cut(b'{"a":1}\n{"a":2}') == [b'{"a":1}', b'{"a":2}']


def test_a_row_may_hold_line_ends_within_quotes() -> None:
    assert cut(b'a,"b\nc"\nd,e\n', quoted=True) == [b'a,"b\nc"', b"d,e"]


def test_a_quote_that_is_never_closed_ends_somewhere() -> None:
    assert len(cut(b'"' + b"x" * 999 + b"\n" + (b"y" * 999 + b"\n") * 2_000, quoted=True)) > 1


def test_values_are_read_by_the_fields_types_and_what_does_not_read_stays_to_be_refused() -> None:
    def read(line: bytes) -> object:
        return json.loads(csv_record(SOURCE, HEADER, line, ","))

    assert read(b"a,2026-11-24 10:00:00,7,,yes,z") == {
        "id": "a", "at": "2026-11-24T10:00:00Z", "n": 7, "x": None, "ok": True,
    }  # fmt: skip
    assert read(b'"a,b",2026-11-24T10:00:00+02:00,x,1.5,0,') == {
        "id": "a,b", "at": "2026-11-24T10:00:00+02:00", "n": "x", "x": 1.5, "ok": False,
    }  # fmt: skip
    assert read(b"a,b") == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert columns(b"\xef\xbb\xbfid;at", ";") == ["id", "at"]
