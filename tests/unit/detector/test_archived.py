"""Events of the archive are the frames that the topic's records would give."""

import polars as pl

from libs.common.batches import TIMESTAMP
from libs.common.catalog import DEFINITION, Source
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.wire import SCHEMA_ID
from services.detector.handlers.archived import events_of

SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "till", "title": "Till", "owner": "fleet", "event_time": "at",
        "watermark": {"ahead": "1h"},
        "fields": [
            {"name": "at", "type": "timestamp"}, {"name": "day", "type": "date"}, {"name": "gate", "type": "string"},
            {"name": "amount", "type": "double"}, {"name": "added", "type": "long"},
        ],
    }
)  # fmt: skip


def test_rows_of_the_archive_become_typed_events_with_their_places() -> None:
    assert isinstance(SOURCE, Source)
    lines = (
        '1,41,86400000,7,"{""at"": ""1970-01-01T00:00:01.500Z"", ""day"": ""1970-01-01"", ""gate"": ""a \\""b\\"" ü,c"",'
        ' ""amount"": 0.1}"\n'
        '0,9,86400000,8,"{""at"": ""1970-01-02T00:00:00.000Z"", ""gate"": null, ""amount"": 2, ""gone"": 1}"\n'
    )
    frame = events_of(SOURCE, lines.encode())
    assert frame.select(PARTITION, OFFSET, TIMESTAMP, SCHEMA_ID, TIME).rows() == [
        (1, 41, 86_400_000, 7, 1_500), (0, 9, 86_400_000, 8, 86_400_000),
    ]  # fmt: skip
    assert frame.select("gate", "amount", "added").rows() == [('a "b" ü,c', 0.1, None), (None, 2.0, None)]
    assert frame.schema["at"] == pl.Datetime("ms", "UTC")
    assert frame.schema["day"] == pl.Date


def test_an_event_that_was_later_than_its_arrival_allows_is_left_out_as_it_was_when_it_came() -> None:
    assert isinstance(SOURCE, Source)
    lines = (
        '0,1,1000,7,"{""at"": ""1970-01-01T01:00:01.000Z""}"\n'
        '0,2,1000,7,"{""at"": ""1970-01-01T01:00:01.001Z""}"\n'
    )
    assert events_of(SOURCE, lines.encode())[OFFSET].to_list() == [1]
