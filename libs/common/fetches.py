"""What a consumer's fetches give: whole record batches (`Records`), so that nobody need have an object per record."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch

from libs.common.batches import Batch, Record, Records, batches_in


class _Fetched:
    """What a fetch brought, as the library looks through it: transactions and control batches are its business."""

    def __init__(self, fetched: bytes) -> None:
        self.size, self.batches = len(fetched), batches_in(fetched)
        self.next = next(self.batches, None)

    def size_in_bytes(self) -> int:
        return self.size

    def has_next(self) -> bool:
        return self.next is not None

    def next_batch(self) -> "_Whole":
        raw, self.next = self.next, next(self.batches, None)
        assert raw is not None
        return _Whole(raw)


class _Whole:
    """A batch that gives itself, and not its records, when it is iterated over."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.head = raw, DefaultRecordBatch(raw)
        self.offset = self.head.next_offset - 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.head, name)

    def __iter__(self) -> Any:
        return iter([self])

    def __next__(self) -> Any:
        """The marker in a control batch."""
        return next(self.head)


_PartitionRecords: Any = fetcher.PartitionRecords
_FetchResult: Any = fetcher.FetchResult


class _Batches(_PartitionRecords):
    """Gives batches."""

    rest: Batch | None = None

    def __next__(self) -> Batch:
        if self.rest is None:
            return super().__next__()
        batch, self.rest = self.rest, None
        self.next_fetch_offset = batch.head.next_offset
        return batch

    def _consumer_record(self, tp: TopicPartition, record: _Whole) -> Batch:
        return Batch.of(record.raw).since(self.next_fetch_offset)


class _Result(_FetchResult):
    """Gives `Records`."""

    def getone(self) -> Record | None:
        found = self.getall(1)
        return found[0] if found else None

    def getall(self, max_records: int | None = None) -> Records:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return Records()
        fetched: Any = self._partition_records
        batches: list[Batch] = []
        room = float("inf") if max_records is None else max_records
        for whole in fetched:
            batch = whole
            if batch.count > room:
                batch, fetched.rest = whole.split(int(room))
                fetched.next_fetch_offset = fetched.rest.begin
            batches.append(batch)
            room -= batch.count
            if room <= 0:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        return Records(batches)


def mend() -> None:
    """Let consumers be made with what is here."""
    library: Any = fetcher
    library.MemoryRecords, library.PartitionRecords, library.FetchResult = _Fetched, _Batches, _Result
