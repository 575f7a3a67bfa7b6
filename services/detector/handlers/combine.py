"""The first loop: events of a source's partition → partial aggregates, for the merge partition of each series."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock, telemetry
from libs.common.catalog import Source
from libs.common.errors import BadMessage
from libs.common.kafka import Record
from libs.common.references import References
from libs.common.registry import Codecs
from libs.common.rules import references_of, verdicts
from libs.common.settings import ServiceSettings
from libs.common.stream import Limit, Output, dead_letter
from libs.common.topics import DEAD, EVENTS, PARTIALS
from libs.common.wire import DTYPES, INDEX, decode
from services.detector.core.combine import OFFSET, TIME, partials, split
from services.detector.core.definitions import CompiledKpi, milliseconds
from services.detector.core.merge import to_bytes
from services.detector.handlers.definitions import Definitions

KPI, SOURCE, PARTITION, AT, IDLE = "sx-kpi", "sx-source", "sx-partition", "sx-at", "sx-idle"
"""Headers of `detector.partials`. With `sx-kpi`: rows. Without: the partition's watermark."""


@dataclass
class Input:
    """What is remembered of one input partition; nothing that a restart may not lose."""

    limit: Limit
    heard: float
    """Monotonic time of the last record."""
    idle: bool = False


class Combine:
    """The processor of `detector.combine`."""

    def __init__(
        self, settings: ServiceSettings, definitions: Definitions, codecs: Codecs, references: References
    ) -> None:
        self.settings, self.definitions = settings, definitions
        self.codecs, self.references = codecs, references
        self.inputs: dict[TopicPartition, Input] = {}
        self.client: AIOKafkaConsumer | None = None

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> None:
        self.client = client
        self.inputs[tp] = Input(Limit(), clock.monotonic())

    async def revoked(self, tp: TopicPartition) -> None:
        self.inputs.pop(tp, None)

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output]:
        topic = tp.topic.removeprefix(self.settings.prefix)
        source = self.definitions.catalog.source(topic.removeprefix(EVENTS.of("")))
        if source is None:
            return []
        state = self.inputs[tp]
        if not records:
            return await self._silence(tp, source, state)
        state.heard, state.idle = clock.monotonic(), False
        events, outputs = await self._read(source, records, state)
        if events.height:
            events = await self._judge(source, events)
            for compiled in self.definitions.by_source.get(source.id, ()):
                outputs += self._partials(tp, compiled, events)
        return [*outputs, *self._marks(tp, source, self._watermark(source, records, events), idle=False)]

    async def _read(
        self, source: Source, records: Sequence[Record], state: Input
    ) -> tuple[pl.DataFrame, list[Output]]:
        """The events as a frame with `__time` and `__offset`; dead letters for what is none."""
        data = [record for record in records if record.value]
        values = [record.value for record in data]
        frame, bad = decode(values, await self.codecs.of(values))
        assert source.event_time is not None
        time = pl.col(source.event_time)
        offsets = pl.Series(OFFSET, [record.offset for record in data], dtype=pl.Int64)
        if source.event_time in frame.columns:
            without = frame.filter(time.is_null())[INDEX].to_list()
            timeless = BadMessage("the event has no time", field=source.event_time, rule="event time")
            bad += [(index, timeless) for index in without]
            frame = frame.filter(time.is_not_null()).with_columns(
                time.dt.epoch("ms").alias(TIME), offsets.gather(frame.filter(time.is_not_null())[INDEX])
            )
        else:
            frame = frame.clear().with_columns(pl.lit(0, dtype=pl.Int64).alias(TIME), offsets.clear())
        missing = [field for field in source.fields if field.name not in frame.columns]
        frame = frame.with_columns(pl.lit(None, dtype=DTYPES[each.type]).alias(each.name) for each in missing)
        state.limit.count(len(data), len(bad))
        return frame, [self._bury(source, data[index], error) for index, error in bad]

    def _bury(self, source: Source, record: Record, error: BadMessage) -> Output:
        letter = dead_letter(
            record, error, source=source.id, stage="combine", service="detector", now=clock.now()
        )
        telemetry.DEAD_LETTERS.labels("detector.combine", EVENTS.of(source.id)).inc()
        return Output(DEAD.name, source.id.encode(), letter.encode())

    async def _judge(self, source: Source, events: pl.DataFrame) -> pl.DataFrame:
        """Adds the verdict columns of the source's quality rules."""
        rules = self.definitions.rules.get(source.id, [])
        keys = {}
        if references_of(rules):
            await self.references.follow(self.definitions.references())
            keys = await self.references.caught_up()
        return events.with_columns(verdicts(rules, keys))

    def _partials(self, tp: TopicPartition, compiled: CompiledKpi, events: pl.DataFrame) -> list[Output]:
        rows = partials(events, compiled)
        headers = [
            (KPI, compiled.name.encode()),
            (SOURCE, compiled.source.id.encode()),
            (PARTITION, str(tp.partition).encode()),
        ]
        key = f"{compiled.source.id}/{tp.partition}".encode()
        return [
            Output(PARTIALS.name, key, to_bytes(part), telemetry.inject(headers), target)
            for target, part in split(rows, PARTIALS.partitions).items()
        ]

    def _watermark(self, source: Source, records: Sequence[Record], events: pl.DataFrame) -> int | None:
        """The latest of what was declared and what was seen, less the source's delay."""
        times = [int(value) for record in records for name, value in record.headers if name == "sx-watermark"]
        if events.height:
            newest = events[TIME].max()
            assert isinstance(newest, int)
            times.append(newest - milliseconds(source.watermark.delay))
        return max(times, default=None)

    def _marks(self, tp: TopicPartition, source: Source, at: int | None, *, idle: bool) -> list[Output]:
        """The partition's watermark, to every merge partition."""
        headers = [
            (SOURCE, source.id.encode()),
            (PARTITION, str(tp.partition).encode()),
            (AT, str(at if at is not None else "").encode()),
            (IDLE, b"1" if idle else b"0"),
        ]
        key = f"{source.id}/{tp.partition}".encode()
        return [Output(PARTIALS.name, key, b"", headers, target) for target in range(PARTIALS.partitions)]

    async def _silence(self, tp: TopicPartition, source: Source, state: Input) -> list[Output]:
        """A partition that is read to its end and silent for long no longer holds windows back."""
        if state.idle or clock.monotonic() - state.heard < source.watermark.idle.total_seconds():
            return []
        assert self.client is not None
        end = (await self.client.end_offsets([tp]))[tp]
        if await self.client.position(tp) < end:
            state.heard = clock.monotonic()
            return []
        state.idle = True
        return self._marks(tp, source, None, idle=True)
