"""The log of a merge partition: its steps, and now and then a snapshot. What recovery reads.

Each step is one record in the transaction of its output. A snapshot goes into the transaction of the step that it
contains; what lies before it is then deleted (write-ahead log and checkpoint: Gray and Reuter, Transaction Processing,
1993, chapter 11). So a commit costs one small record, however large the state is.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from aiokafka import TopicPartition

from libs.common.kafka import Record, delete_before, read_all
from libs.common.settings import ServiceSettings
from libs.common.stream import Output
from libs.common.topics import STATE

log = logging.getLogger(__name__)

STEP, SNAPSHOT, PART = b"step", b"snapshot", b"part"
PART_BYTES = 2 * 1024 * 1024
"""About as much of a frame as one record holds."""
FIRST_BYTES = 8 * 1024 * 1024
"""So many bytes of partial rows must have been taken in since the last snapshot for another one …"""
MOST_STEPS = 5_000
"""… or so many steps …"""
MOST_MS = 6 * 3_600_000
"""… or the first of them was so long ago: partial rows are kept for a day, and recovery reads them."""

CORRUPT = (ValueError, TypeError, KeyError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What reading a damaged record raises: JSON the first ones, Arrow IPC the others (a short one is an OSError)."""


@dataclass(frozen=True)
class Step:
    """The partial rows up to the offset `to` were taken in at the moment `now` (ms)."""

    number: int
    to: int
    now: int


@dataclass
class Restored:
    """What the log holds. `fault`: why it cannot be used; the state must then be made anew from the events."""

    value: Mapping[str, Any] | None = None
    frames: dict[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    snapshot_at: Step = Step(0, 0, 0)
    steps: list[Step] = field(default_factory=list)
    fault: str | None = None

    @property
    def last(self) -> Step:
        return self.steps[-1] if self.steps else self.snapshot_at


class StateLog:
    """Writes one partition's log."""

    def __init__(self, partition: int, last: Step, since: int | None = None) -> None:
        self.partition, self.last, self.since = partition, last, since
        """`since`: moment (ms) of the first step after the last snapshot."""
        self.steps = 0
        self.taken = 0
        """Bytes of partial rows since the last snapshot."""
        self.size = 0
        """Bytes of the last snapshot."""

    def step(self, to: int, now: int, taken: int) -> Output:
        self.last = Step(self.last.number + 1, to, now)
        self.since = now if self.since is None else self.since
        self.steps, self.taken = self.steps + 1, self.taken + taken
        value = json.dumps([self.last.number, to, now]).encode()
        return Output(STATE.name, STEP, value, partition=self.partition)

    def is_due(self, now: int) -> bool:
        """Whether recovery would read so much, or so old, that a snapshot is worth its writing."""
        much = self.steps >= MOST_STEPS or self.taken > max(FIRST_BYTES, self.size)
        return much or (self.since is not None and now - self.since > MOST_MS)

    def snapshot(
        self, value: Mapping[str, Any], frames: Mapping[tuple[str, str], pl.DataFrame]
    ) -> list[Output]:
        """To be written after the step that it contains, in the same transaction."""
        parts = [
            Output(STATE.name, PART, blob, [("kpi", kpi.encode()), ("frame", name.encode())], self.partition)
            for (kpi, name), frame in frames.items()
            for blob in pieces(frame)
        ]
        self.size = sum(len(part.value or b"") for part in parts)
        self.steps = self.taken = 0
        self.since = None
        at = [self.last.number, self.last.to, self.last.now]
        head = json.dumps({"at": at, "parts": len(parts), "value": value}).encode()
        return [Output(STATE.name, SNAPSHOT, head, partition=self.partition), *parts]


def pieces(frame: pl.DataFrame) -> Iterator[bytes]:
    """Arrow IPC streams of slices of a frame; one at least, so that its columns are kept."""
    rows = max(1, int(frame.height * PART_BYTES / max(1, frame.estimated_size())))
    for start in range(0, max(1, frame.height), rows):
        yield to_bytes(frame.slice(start, rows))


def to_bytes(frame: pl.DataFrame) -> bytes:
    return frame.write_ipc_stream(None, compression="lz4").getvalue()


def from_bytes(blob: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(blob)


class Reading:
    """Takes a partition's log in, record by record, and tells what it holds."""

    def __init__(self) -> None:
        self.found = Restored()
        self.parts: dict[tuple[str, str], list[pl.DataFrame]] = {}
        self.missing = 0
        """Parts of the snapshot still to come."""

    def take(self, record: Record) -> None:
        """One record. What cannot be read is a fault, until a later snapshot makes it needless."""
        try:
            self._take(record)
        except CORRUPT as error:
            kind = (record.key or b"").decode(errors="replace")
            self._fault(f"the record at offset {record.offset} ({kind!r}) is corrupt: {error}")

    def _take(self, record: Record) -> None:
        if record.key == SNAPSHOT:
            # Whatever came before is needless, and of a snapshot that is corrupt itself nothing is known.
            self.found, self.parts, self.missing = Restored(), {}, 0
            head = json.loads(record.value or b"")
            self.found = Restored(head["value"], snapshot_at=Step(*head["at"]))
            self.missing = head["parts"]
        elif record.key == PART:
            self.missing -= 1
            names = {name: value.decode() for name, value in record.headers}
            self.parts.setdefault((names["kpi"], names["frame"]), []).append(from_bytes(record.value or b""))
        elif record.key == STEP:
            step = Step(*json.loads(record.value or b""))
            if step.number > self.found.last.number + 1:
                self._fault(f"step {self.found.last.number + 1} is missing from the log")
            self.found.steps.append(step)

    def _fault(self, text: str) -> None:
        """The first one is the cause."""
        self.found.fault = self.found.fault or text

    def end(self, committed: int | None) -> Restored:
        """`committed`: the offset of the partials that the group has committed."""
        if self.missing:
            self._fault(f"{self.missing} parts of the snapshot are missing")
        if (committed or 0) != self.found.last.to:
            last = self.found.last.to
            self._fault(f"the log ends at offset {last} of the partials, {committed} is committed")
        if self.found.fault is None:
            self.found.frames = {place: pl.concat(frames) for place, frames in self.parts.items()}
        return self.found


async def restore(settings: ServiceSettings, partition: int, committed: int | None) -> Restored:
    """Read a partition's log. `committed`: the offset of the partials that the group has committed."""
    reading = Reading()
    async for records in read_all(settings, STATE.name, partitions=[partition]):
        for record in records:
            reading.take(record)
    return reading.end(committed)


async def forget_before(settings: ServiceSettings, partition: int, offset: int) -> None:
    """Delete what a snapshot has made needless. Not done is not wrong: there is more to read, no more."""
    await delete_before(settings, TopicPartition(settings.prefix + STATE.name, partition), offset)
