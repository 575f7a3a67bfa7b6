"""The second loop: partial aggregates → observations, with the state in a changelog."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock, telemetry
from libs.common.errors import TryLater
from libs.common.events import LateEvents, parse_series_key
from libs.common.kafka import Record, read_all
from libs.common.rules import SEVERITIES
from libs.common.stream import Output
from libs.common.topics import LATE, OBSERVATIONS, STATE
from libs.common.wire import Codec
from services.detector.core.merge import MergeState, completeness, from_bytes
from services.detector.core.watermarks import Watermark
from services.detector.handlers.combine import AT, IDLE, KPI, PARTITION, SOURCE
from services.detector.handlers.definitions import Definitions
from services.detector.settings import Settings

log = logging.getLogger(__name__)


@dataclass
class Partition:
    """The state of one merge partition."""

    changelog: dict[str, bytes] = field(default_factory=dict)
    """What was restored for KPIs that are not compiled yet."""
    keys: set[str] = field(default_factory=set)
    """The changelog's keys that hold something."""
    states: dict[str, MergeState] = field(default_factory=dict)
    watermarks: dict[str, Watermark] = field(default_factory=dict)
    definitions: int = -1
    provisional_at: float = 0.0
    late: dict[str, int] = field(default_factory=dict)


class Merge:
    """The processor of `detector.merge`."""

    def __init__(self, settings: Settings, definitions: Definitions, codec: Codec, schema_id: int) -> None:
        self.settings, self.definitions = settings, definitions
        self.codec, self.schema_id = codec, schema_id
        self.partitions: dict[int, Partition] = {}

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> None:
        """Restore the partition's state from its changelog."""
        partition = Partition()
        read = 0
        async for records in read_all(self.settings, STATE.name, partitions=[tp.partition]):
            read += len(records)
            for record in records:
                key = (record.key or b"").decode()
                if record.value is None:
                    partition.changelog.pop(key, None)
                else:
                    partition.changelog[key] = record.value
        partition.keys = set(partition.changelog)
        for key in [key for key in partition.changelog if key.startswith("watermark|")]:
            source_id = key.removeprefix("watermark|")
            snapshot = json.loads(partition.changelog.pop(key))
            self._mark(partition, source_id, snapshot["partitions"]).resume(snapshot["marks"])
        self.partitions[tp.partition] = partition
        fields = {"partition": tp.partition, "records": read, "keys": len(partition.keys)}
        log.info("state restored", extra={"fields": fields})

    async def revoked(self, tp: TopicPartition) -> None:
        self.partitions.pop(tp.partition, None)

    def _mark(self, partition: Partition, source_id: str, count: int) -> Watermark:
        source = self.definitions.catalog.source(source_id)
        return partition.watermarks.setdefault(source_id, Watermark(source.partitions if source else count))

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output]:
        """Partials first, then watermarks, then what is due: an event is never judged by a mark behind it."""
        partition = self.partitions[tp.partition]
        moved: set[str] = set()
        frames: dict[str, list[pl.DataFrame]] = {}
        marks: list[dict[str, bytes]] = []
        for record in records:
            headers = dict(record.headers)
            if KPI not in headers:
                marks.append(headers)
            elif self._wants(headers[KPI].decode()):
                rows = from_bytes(record.value or b"")
                number = pl.lit(int(headers[PARTITION]), dtype=pl.Int32).alias("partition")
                frames.setdefault(headers[KPI].decode(), []).append(rows.with_columns(number))
        outputs = self._redefine(partition, tp.partition)
        for name, rows in frames.items():
            state = partition.states[name]
            source_id = state.compiled.source.id
            watermark = self._mark(partition, source_id, state.compiled.source.partitions)
            late = state.add(pl.concat(rows), watermark.at)
            outputs += self._late(partition, state, late)
        for headers in marks:
            source_id = headers[SOURCE].decode()
            at = int(headers[AT]) if headers[AT] else None
            self._mark(partition, source_id, int(headers[PARTITION]) + 1).advance(
                int(headers[PARTITION]), at, headers[IDLE] == b"1"
            )
            moved.add(source_id)
        outputs += self._publish(partition, set(frames), moved)
        outputs += self._changes(partition, tp.partition, moved)
        return outputs

    def _wants(self, name: str) -> bool:
        """Whether rows are of a KPI in force; TryLater if it is newer than the catalog read so far."""
        if name in self.definitions.kpis:
            return True
        if self.definitions.is_gone(name):
            return False
        raise TryLater(f"the catalog does not say yet what {name} is")

    def _redefine(self, partition: Partition, number: int) -> list[Output]:
        """States of KPIs in force; tombstones for those that are gone."""
        if partition.definitions == self.definitions.version:
            return []
        partition.definitions = self.definitions.version
        for name, compiled in self.definitions.kpis.items():
            if name not in partition.states:
                state = partition.states[name] = MergeState(compiled)
                state.restore(partition.changelog)
                partition.changelog = {
                    key: blob for key, blob in partition.changelog.items() if not key.startswith(f"{name}|")
                }
        gone = {name for name in partition.states if self.definitions.is_gone(name)}
        gone |= {
            name for key in partition.changelog if self.definitions.is_gone(name := key.partition("|")[0])
        }
        for name in gone:
            partition.states.pop(name, None)
        dropped = {key for key in partition.keys if key.partition("|")[0] in gone}
        partition.keys -= dropped
        partition.changelog = {key: blob for key, blob in partition.changelog.items() if key not in dropped}
        return [Output(STATE.name, key.encode(), None, partition=number) for key in sorted(dropped)]

    def _late(self, partition: Partition, state: MergeState, late: pl.DataFrame) -> list[Output]:
        compiled, now = state.compiled, clock.now()
        if late.height:
            count = int(late["count"].sum())
            partition.late[compiled.name] = partition.late.get(compiled.name, 0) + count
            telemetry.LATE_EVENTS.labels(compiled.kpi.id).inc(count)
        return [
            Output(
                LATE.name,
                compiled.kpi.id.encode(),
                LateEvents.build(
                    kpi=compiled.kpi.id,
                    kpi_version=compiled.version,
                    source=compiled.source.id,
                    series_key=row["series_key"],
                    window_start=moment(row["start"]),
                    partition=row["partition"],
                    first=row["first"],
                    last=row["end"],
                    count=row["count"],
                    recorded_at=now,
                ).encode(),
            )
            for row in late.iter_rows(named=True)
        ]

    def _publish(self, partition: Partition, added: set[str], moved: set[str]) -> list[Output]:
        """Windows that are final, and at most once a second those in progress."""
        provisional = clock.monotonic() - partition.provisional_at >= self.settings.provisional_seconds
        if provisional:
            partition.provisional_at = clock.monotonic()
        outputs: list[Output] = []
        for name, state in partition.states.items():
            if not (provisional or name in added or state.compiled.source.id in moved):
                continue
            source = state.compiled.source
            watermark = self._mark(partition, source.id, source.partitions)
            due = state.emit(watermark.at, provisional=provisional)
            if due.height:
                outputs += self._observations(state, due, watermark)
            state.forget(watermark.at)
        return outputs

    def _observations(self, state: MergeState, due: pl.DataFrame, watermark: Watermark) -> Iterator[Output]:
        compiled, now = state.compiled, clock.now()
        parts = [
            watermark.marks[number].at if number in watermark.marks else None
            for number in range(watermark.partitions)
        ]
        traceparent = dict(telemetry.inject()).get("traceparent")
        common = {
            "version": 1,
            "kpi": compiled.kpi.id,
            "kpi_version": compiled.version,
            "watermark": None if watermark.at is None else moment(watermark.at),
            "recorded_at": now,
            "traceparent": None if traceparent is None else traceparent.decode(),
        }
        shares = completeness(due["stop"], parts)
        for row, share in zip(due.iter_rows(named=True), shares, strict=True):
            observation = {
                **common,
                **{
                    name: row[name]
                    for name in ("series_key", "value", "count", "assessed", "suspect", "offsets")
                },
                "series": parse_series_key(row["series_key"]),
                "window_start": moment(row["start"]),
                "window_end": moment(row["stop"]),
                "revision": row["revision"],
                "status": row["status"],
                "completeness": share,
                "worst": SEVERITIES[row["worst"] - 1] if row["worst"] else None,
                "schema_ids": row["schema_ids"],
            }
            key = f"{compiled.kpi.id}|{row['series_key']}".encode()
            yield Output(OBSERVATIONS.name, key, self.codec.encode(self.schema_id, observation))

    def _changes(self, partition: Partition, number: int, moved: set[str]) -> Iterator[Output]:
        for state in partition.states.values():
            for key, blob in state.changes():
                if blob is not None:
                    partition.keys.add(key)
                elif key not in partition.keys:
                    continue
                else:
                    partition.keys.discard(key)
                yield Output(STATE.name, key.encode(), blob, partition=number)
        for source_id in sorted(moved):
            mark = partition.watermarks[source_id]
            snapshot = json.dumps({"partitions": mark.partitions, "marks": mark.snapshot()}).encode()
            partition.keys.add(f"watermark|{source_id}")
            yield Output(STATE.name, f"watermark|{source_id}".encode(), snapshot, partition=number)


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
