"""What was fetched of a partition: batches of the log as they came, taken apart only as far as it is asked for.

Whoever asks for records gets objects, each made when it is asked for. Whoever wants columns gets them at a tenth of the
price: a record batch (Kafka's message format 2) is nearly a block of Avro, for both write lengths and numbers as zig-zag
varints, so polars reads a whole fetch as rows of a schema that surrounds the fields of the values.
"""

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Protocol, overload

import numpy as np
import polars as pl
from aiokafka.record._protocols import DefaultRecordBatchProtocol
from aiokafka.record.default_records import DefaultRecordBatch

from libs.common.expressions import OFFSET
from libs.common.wire import Schema, container, rows, wired

TIMESTAMP, VALUE = "__timestamp", "__value"
"""Columns beside the fields and `OFFSET`; the timestamp is in ms."""

CONTROL = b"sx-control"
"""In the headers of what is no event (ARCHITECTURE.md, section 3)."""

HEARTBEAT = (CONTROL.decode(), b"heartbeat")
"""The header of a sign of life of ingest, which says nothing of the source."""

_WHOLE = re.compile(rb"-?\d{1,15}")
_NUMBER = struct.Struct(">i")
_LENGTH, _COUNT, _HEAD = 8, 57, 61
"""Places in a batch: its length (of what follows), the number of its records, where they begin."""


class Record(Protocol):
    """What a consumer gives for each record; topic and partition are those it was asked for."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """ms."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, Any]]:
        """(name, bytes)."""
        ...


@dataclass(frozen=True)
class Batch:
    """A batch of the log, from its record number `first` on, `count` of them."""

    raw: bytes
    first: int
    count: int

    @classmethod
    def of(cls, raw: bytes) -> "Batch":
        return cls(raw, 0, _count(raw))

    @cached_property
    def head(self) -> DefaultRecordBatchProtocol:
        return DefaultRecordBatch(self.raw)

    @cached_property
    def records(self) -> list[Record]:
        records: list[Any] = list(DefaultRecordBatch(self.raw))
        return records[self.first : self.first + self.count]

    @property
    def begin(self) -> int:
        """Offset of the first record."""
        whole = self.head.next_offset - self.head.base_offset == _count(self.raw)
        return self.head.base_offset + self.first if whole else self.records[0].offset

    @property
    def is_plain(self) -> bool:
        """Whether columns can be made of it: not compressed, stamped by its producer, nothing but events in it."""
        return not self.head.compression_type and not self.head.timestamp_type and CONTROL not in self.raw

    def since(self, offset: int) -> "Batch":
        """Without the records before an offset."""
        if offset <= self.head.base_offset:
            return self
        before = sum(record.offset < offset for record in self.records)
        return self.split(before)[1]

    def split(self, count: int) -> tuple["Batch", "Batch"]:
        return replace(self, count=count), replace(self, first=self.first + count, count=self.count - count)


def _count(raw: bytes) -> int:
    return _NUMBER.unpack_from(raw, _COUNT)[0]


def batches_in(fetched: bytes) -> Iterator[bytes]:
    """The batches of a fetch; the last may have come in part, and is left out."""
    place = 0
    while place + _LENGTH + 4 <= len(fetched):
        end = place + _LENGTH + 4 + _NUMBER.unpack_from(fetched, place + _LENGTH)[0]
        if end > len(fetched):
            return
        yield bytes(fetched[place:end])
        place = end


class Records(Sequence[Record]):
    """Consecutive records of a partition."""

    def __init__(self, batches: Sequence[Batch] = ()) -> None:
        self.batches = [batch for batch in batches if batch.count]
        self.ends = list(accumulate(batch.count for batch in self.batches))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __iter__(self) -> Iterator[Record]:
        return chain.from_iterable(batch.records for batch in self.batches)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        number = bisect_right(self.ends, place)
        batch = self.batches[number]
        return batch.records[place - self.ends[number] + batch.count]

    def __add__(self, more: "Records") -> "Records":
        return Records([*self.batches, *more.batches])


class Layout:
    """How records are read as columns whose values are of a schema, in the wire format. None: values are bytes."""

    def __init__(self, schema: Schema | None) -> None:
        self.value = [{"name": VALUE, "type": "bytes"}]
        self.names = [VALUE]
        if schema is not None:
            self.value = [{"name": "__size", "type": "long"}, *wired(schema)]
            self.names = [field["name"] for field in wired(schema)]
        self.heads: dict[tuple[bool, int], bytes] = {}

    def frame(self, records: Records) -> pl.DataFrame | None:
        """`OFFSET`, `TIMESTAMP` and what is of the value (`wire.WIRE` and its fields); None if they are not all alike.

        Alike: plain batches, all records with a key or none, with as many headers, and values of these fields.
        """
        if not records or not all(batch.is_plain for batch in records.batches):
            return None
        sample = next(iter(DefaultRecordBatch(records.batches[0].raw)))
        keyed, headers = sample.key is not None, len(sample.headers)
        counts = [_count(batch.raw) for batch in records.batches]
        body = b"".join(memoryview(batch.raw)[_HEAD:] for batch in records.batches)
        names = ["__delta", "__place", "__headers", *([] if keyed else ["__key"]), *self.names]
        try:
            frame = rows(self._head(keyed, headers), sum(counts), body, names)
        except (Exception, pl.exceptions.PanicException):  # whatever it stumbled over, they are not alike
            return None
        alike = (frame.drop_in_place("__headers") == headers).all()
        if not keyed:
            alike = alike and (frame.drop_in_place("__key") == -1).all()
        if not alike:
            return None
        offsets = np.repeat([batch.head.base_offset for batch in records.batches], counts)
        times = np.repeat([batch.head.first_timestamp for batch in records.batches], counts)
        places, deltas = frame.drop_in_place("__place"), frame.drop_in_place("__delta")
        frame = frame.hstack([pl.Series(OFFSET, offsets) + places, pl.Series(TIMESTAMP, times) + deltas])
        if sum(counts) == len(records):
            return frame
        kept = [np.arange(count) for count in counts]
        inside = [
            (place >= batch.first) & (place < batch.first + batch.count)
            for place, batch in zip(kept, records.batches, strict=True)
        ]
        return frame.filter(pl.Series(np.concatenate(inside)))

    def _head(self, keyed: bool, headers: int) -> bytes:
        if (keyed, headers) not in self.heads:
            pairs = (
                {"name": f"__{part}{at}", "type": "bytes"} for at in range(headers) for part in ("h", "v")
            )
            fields = [
                {"name": "__length", "type": "long"},
                {"name": "__attributes", "type": {"type": "fixed", "name": "__attributes", "size": 1}},
                {"name": "__delta", "type": "long"}, {"name": "__place", "type": "long"},
                {"name": "__key", "type": "bytes" if keyed else "long"},
                *self.value,
                {"name": "__headers", "type": "long"}, *pairs,
            ]  # fmt: skip
            self.heads[keyed, headers] = container({"type": "record", "name": "record", "fields": fields})
        return self.heads[keyed, headers]


def number(value: bytes | None) -> int | None:
    """The whole number that a header says, such as a time in ms; None if it says none: others write to topics too."""
    return int(value) if value and _WHOLE.fullmatch(value) else None


def controls(records: Sequence[Record]) -> list[Record]:
    """Those that have no value."""
    if isinstance(records, Records):
        records = [record for batch in records.batches if CONTROL in batch.raw for record in batch.records]
    return [record for record in records if not record.value]


def are_heartbeats(records: Sequence[Record]) -> bool:
    """Whether there is nothing among them but signs of life."""
    found = controls(records)
    return bool(found) and len(found) == len(records) and all(HEARTBEAT in each.headers for each in found)
