"""Batches of the log are read as columns just as they are read record by record."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from libs.common import fetches
from libs.common.batches import (
    CONTROL,
    HEARTBEAT,
    TIMESTAMP,
    VALUE,
    Batch,
    Layout,
    Record,
    Records,
    are_heartbeats,
    controls,
)
from libs.common.expressions import OFFSET
from libs.common.wire import Codec

SCHEMA: dict[str, Any] = {
    "type": "record", "name": "r",
    "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]}],
}  # fmt: skip
CODEC = Codec(SCHEMA)
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Timestamp, key, value, headers."""


def batch(base: int, rows: Sequence[Row], *, compression: int = 0, gap: int = 1) -> bytes:
    """A batch as the broker keeps it, whose first record has the offset `base`."""
    builder = DefaultRecordBatchBuilder(2, compression, True, 7, 0, 0, 1 << 30)
    for place, (timestamp, key, value, headers) in enumerate(rows):
        builder.append(place * gap, timestamp, key, value, headers)
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    return bytes(raw)


def records_of(*raws: bytes) -> Records:
    return Records([Batch.of(raw) for raw in raws])


def avro(id: str, n: int | None, schema: int = 3) -> bytes:
    return CODEC.encode(schema, {"id": id, "n": n})


EVENTS = st.lists(
    st.tuples(st.integers(0, 2**41), st.text(max_size=5), st.none() | st.integers(-(2**40), 2**40)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(
    batches=st.lists(EVENTS, min_size=1, max_size=4),
    keyed=st.booleans(),
    headers=st.integers(0, 3),
    data=st.data(),
)
def test_columns_are_what_the_records_are(
    batches: list[list[tuple[int, str, int | None]]], keyed: bool, headers: int, data: st.DataObject
) -> None:
    raws, base = [], 10
    for events in batches:
        rows: list[Row] = [
            (at, id.encode() if keyed else None, avro(id, n), [(f"h{place}", id.encode()) for place in range(headers)])
            for at, id, n in events
        ]  # fmt: skip
        gap = data.draw(st.integers(1, 3))
        raws.append(batch(base, rows, gap=gap))
        base += len(rows) * gap + data.draw(st.integers(0, 2))
    whole = records_of(*raws)
    first = data.draw(st.integers(10, base))
    cut = Records([each.since(first) for each in whole.batches])
    assert [record.offset for record in cut] == [each.offset for each in whole if each.offset >= first]
    for records in (whole, cut):
        frame = Layout(SCHEMA).frame(records)
        if not records:
            assert frame is None
            continue
        assert frame is not None
        expected = [
            (record.offset, record.timestamp, CODEC.record((record.value or b"")[5:])) for record in records
        ]
        found = frame.select(OFFSET, TIMESTAMP, pl.struct("id", "n")).rows()
        assert found == expected
        texts = Layout(None).frame(records)
        assert texts is not None
        assert texts[VALUE].to_list() == [record.value for record in records]


@pytest.mark.parametrize(
    "rows",
    [
        [(0, b"k", avro("a", 1), []), (0, None, avro("b", 1), [])],
        [(0, b"k", avro("a", 1), []), (0, b"k", avro("b", 1), [("h", b"")])],
        [(0, b"k", avro("a", 1), []), (0, b"k", None, [])],
        [(0, b"k", avro("a", 1), []), (0, b"k", b"", [(CONTROL.decode(), b"watermark")])],
    ],
)
def test_records_that_are_not_alike_have_no_columns(rows: list[Row]) -> None:
    assert Layout(SCHEMA).frame(records_of(batch(0, rows))) is None


def test_a_compressed_batch_has_no_columns_but_its_records() -> None:
    records = records_of(batch(0, [(5, b"k", avro("a", 1), [])], compression=1))
    assert Layout(SCHEMA).frame(records) is None
    assert [record.timestamp for record in records] == [5]


def test_control_records_are_found_among_others() -> None:
    control: Row = (0, None, b"", [(CONTROL.decode(), b"watermark")])
    records = records_of(batch(0, [(0, b"k", b"x", [])]), batch(1, [control, (0, b"k", b"y", [])]))
    assert [record.offset for record in controls(records)] == [1]
    assert [record.offset for record in controls(list(records))] == [1]


def test_heartbeats_are_told_from_all_else() -> None:
    beat: Row = (0, None, b"", [HEARTBEAT])
    mark: Row = (0, None, b"", [(CONTROL.decode(), b"watermark")])
    assert are_heartbeats(records_of(batch(0, [beat]), batch(2, [beat, beat])))
    assert not are_heartbeats(records_of(batch(0, [beat]), batch(2, [mark])))
    assert not are_heartbeats(records_of(batch(0, [beat, (0, b"k", b"x", [])])))
    assert not are_heartbeats(records_of())


@given(counts=st.lists(st.integers(0, 4), max_size=5), data=st.data())
def test_records_are_a_sequence(counts: list[int], data: st.DataObject) -> None:
    raws, base = [], 0
    for count in counts:
        if count:
            raws.append(batch(base, [(0, None, b"v", [])] * count))
            base += count
    records = records_of(*raws)
    offsets = list(range(base))
    assert [record.offset for record in records] == offsets
    assert len(records) == base
    assert bool(records) == bool(offsets)
    bounds = st.none() | st.integers(-25, 25)
    cut = slice(data.draw(bounds), data.draw(bounds))
    assert [record.offset for record in records[cut]] == offsets[cut]
    if offsets:
        place = data.draw(st.integers(-base, base - 1))
        assert records[place].offset == offsets[place]
    with pytest.raises(IndexError):
        records[base]
    assert [record.offset for record in records + records] == offsets * 2


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    most=st.integers(1, 7),
    start=st.integers(0, 8),
)
def test_what_was_fetched_is_given_once_and_never_more_than_is_asked_for(
    counts: list[int], most: int, start: int
) -> None:
    fetches.mend()
    start = min(start, 2 * counts[0] - 2)  # a fetch begins with the batch that has what was asked for
    raws, base = [], 0
    for count in counts:
        raws.append(batch(base, [(0, None, b"v", [])] * count, gap=2))
        base += 2 * count
    fetched: Any = fetcher.PartitionRecords(
        TopicPartition("t", 0), fetcher.MemoryRecords(b"".join(raws) + raws[0][:20]), [], start, None, None, True, 0
    )  # fmt: skip

    class Known:
        active, paused, position = True, False, start

        def state_value(self, _: Any) -> "Known":
            return self

        def consumed_to(self, position: int) -> None:
            self.position = position

    known = Known()
    result: Any = fetcher.FetchResult(
        TopicPartition("t", 0), assignment=known, partition_records=fetched, backoff=0
    )
    given: list[Record] = []
    while result.has_more():
        records = result.getall(most)
        assert len(records) <= most
        given += records
        if given:
            assert given[-1].offset < known.position
    offsets = [record.offset for raw in raws for record in Batch.of(raw).records]
    assert [record.offset for record in given] == [offset for offset in offsets if offset >= start]
