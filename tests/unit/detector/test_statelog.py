"""When the log of a merge partition wants a snapshot, and what is noticed when it is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import polars as pl
import pytest

from libs.common.kafka import Record
from libs.common.stream import Output
from services.detector.handlers.statelog import MOST_MS, MOST_STEPS, Reading, Restored, StateLog, Step

BEGIN = Step(7, 100, 1_000)


def test_a_log_without_steps_since_its_snapshot_wants_none_however_old() -> None:
    assert not StateLog(0, BEGIN).is_due(1_000 + 10 * MOST_MS)


def test_steps_that_recovery_needs_are_not_left_to_grow_older_than_their_rows_are_kept() -> None:
    log = StateLog(0, BEGIN)
    log.step(110, 2_000, 10)
    assert not log.is_due(2_000 + MOST_MS)
    assert log.is_due(2_001 + MOST_MS)
    log.snapshot({}, {})
    assert not log.is_due(2_001 + MOST_MS)


def test_the_age_of_steps_outlives_a_restart() -> None:
    assert StateLog(0, Step(8, 110, 2_000), since=2_000).is_due(2_001 + MOST_MS)


def test_many_steps_want_a_snapshot() -> None:
    log = StateLog(0, BEGIN)
    for number in range(MOST_STEPS):
        assert not log.is_due(2_000)
        log.step(number, 2_000, 0)
    assert log.is_due(2_000)


@dataclass(frozen=True)
class Kept:
    """A record of the log, as a consumer gives it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=tuple)


def written() -> list[Kept]:
    """A snapshot of two parts that stands for step 1, then steps 2 and 3, up to offset 30 of the partials."""
    log = StateLog(0, Step(0, 0, 0))
    log.step(10, 1_000, 1)
    frames = {("k@1", "rows"): pl.DataFrame({"a": [1, 2]}), ("k@1", "told"): pl.DataFrame({"b": [3]})}
    outputs: list[Output] = [*log.snapshot({"x": 1}, frames), log.step(20, 2_000, 1), log.step(30, 3_000, 1)]
    return [Kept(number, each.key, each.value, each.headers or ()) for number, each in enumerate(outputs)]


def read(records: Sequence[Kept], committed: int | None = 30) -> Restored:
    reading = Reading()
    for record in records:
        reading.take(cast(Record, cast(Any, record)))
    return reading.end(committed)


def test_a_whole_log_is_read_without_a_fault() -> None:
    found = read(written())
    assert found.fault is None
    assert [step.to for step in found.steps] == [20, 30]
    assert found.frames["k@1", "rows"]["a"].to_list() == [1, 2]


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("value", [None, b"", b"\x00garbage", b"{}", b"[1"])
def test_a_corrupt_record_is_a_fault_that_names_its_offset(offset: int, value: bytes | None) -> None:
    records = written()
    records[offset] = replace(records[offset], value=value)
    assert f"the record at offset {offset} " in (read(records).fault or "")


@pytest.mark.parametrize("lost", range(5))
def test_a_lost_record_is_a_fault(lost: int) -> None:
    assert read([each for each in written() if each.offset != lost]).fault is not None


def test_a_deleted_log_is_a_fault_once_something_was_committed() -> None:
    assert read([]).fault == "the log ends at offset 0 of the partials, 30 is committed"
    assert read([], None).fault is None


def test_a_fault_before_a_later_snapshot_is_needless() -> None:
    assert read([Kept(0, b"step", b"garbage"), *written()]).fault is None
