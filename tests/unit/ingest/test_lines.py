"""Text files fall into records that the source's types are read from."""

import json
from io import BytesIO

from libs.common.catalog import Source
from services.ingest.core.lines import PIECE, columns, csv_record, lines
from services.ingest.core.records import MAX_RECORD

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


class Endless(BytesIO):
    """A line without an end, as a small archive may hold one."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.left = pieces

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= 1_000_000, "all of it at once"
        self.left -= 1
        return b"" if self.left < 0 else b"x" * size


def test_of_a_line_that_is_too_large_a_beginning_is_held_that_is_too_large_too() -> None:
    ((record, length),) = lines(Endless(2_000), quoted=False, final=True)
    assert MAX_RECORD < len(record) < 2 * MAX_RECORD
    assert length == 2_000 * PIECE
    body = b"x" * 3_000_000 + b"\n" + b"y\n"
    (first, second) = lines(BytesIO(body), quoted=True, final=False)
    assert (first[1], second) == (3_000_001, (b"y", 2))
