"""A heartbeat of ingest says nothing of the source: a partition that gets nothing else goes idle as if it got nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from aiokafka import TopicPartition

from libs.common.batches import HEARTBEAT
from libs.common.catalog import DEFINITION, Source
from libs.common.expressions import TIME
from libs.common.kafka import Record
from libs.common.stream import Limit
from services.detector.handlers.combine import Combine, Input, Progress

TP = TopicPartition("events.drops", 0)
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "drops", "title": "Drops", "owner": "ops", "event_id": "id", "event_time": "at",
        "key": ["id"], "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }
)  # fmt: skip


@dataclass
class Told:
    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, Any]]
    timestamp: int = 0
    key: bytes | None = None


class Reading:
    """Nothing in it can be read as an event, and nobody is erased."""

    erasures = SimpleNamespace(open_of=lambda _: ())

    async def load(self) -> None: ...

    async def events(
        self, source: Source, partition: int, records: Sequence[Record]
    ) -> tuple[Any, list[Any]]:
        return pl.DataFrame({TIME: []}, schema={TIME: pl.Int64}), []


def combine(state: Input) -> Combine:
    definitions = SimpleNamespace(by_source={}, version=-1, catalog=SimpleNamespace(source=lambda _: SOURCE))
    settings = SimpleNamespace(prefix="")
    found = Combine(cast(Any, settings), cast(Any, definitions), cast(Any, Reading()), cast(Any, None))
    found.inputs[TP] = state
    return found


@pytest.mark.parametrize("idle", [True, False])
async def test_heartbeats_alone_leave_a_partition_as_it_is(idle: bool) -> None:
    state = Input(Progress(), Limit(), heard=-1_000.0, idle=idle, at=7)
    records = [Told(offset, b"", [HEARTBEAT]) for offset in range(3)]
    assert list(await combine(state).process(TP, records)) == []
    assert (state.heard, state.idle, state.at) == (-1_000.0, idle, 7)


async def test_a_declared_watermark_among_them_is_news() -> None:
    state = Input(Progress(), Limit(), heard=-1_000.0, idle=True)
    mark = Told(1, b"", [("sx-control", b"watermark"), ("sx-watermark", b"5000")])
    records = [Told(0, b"", [HEARTBEAT]), mark]
    assert await combine(state).process(TP, records) != []
    assert state.heard > 0
    assert (state.idle, state.at) == (False, 5_000)


async def test_a_declared_watermark_that_is_no_number_says_nothing() -> None:
    state = Input(Progress(), Limit(), heard=-1_000.0, at=7)
    odd = [
        Told(place, b"", [("sx-control", b"watermark"), ("sx-watermark", at)])
        for place, at in enumerate([b"soon", None, b"9" * 40])
    ]
    await combine(state).process(TP, odd)
    assert state.at == 7
