"""Records of a source → events as combine wants them: decoded, with their times and places, judged, enriched."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from libs.common.batches import TIMESTAMP
from libs.common.catalog import Source
from libs.common.errors import BadMessage
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.kafka import Record
from libs.common.references import References
from libs.common.registry import Codecs
from libs.common.rules import references_of, verdicts
from libs.common.wire import DTYPES, INDEX
from services.detector.core.definitions import CompiledKpi
from services.detector.core.enrichment import joined
from services.detector.core.windows import milliseconds
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import Erasures
from services.detector.handlers.withdrawals import Withdrawals

Bad = list[tuple[int, BadMessage]]


class Reading:
    """How events are read, whatever they are read for: the present, the past, a state that is made anew."""

    def __init__(
        self,
        definitions: Definitions,
        codecs: Codecs,
        references: References,
        erasures: Erasures,
        withdrawals: Withdrawals,
    ) -> None:
        self.definitions, self.codecs, self.references = definitions, codecs, references
        self.erasures, self.withdrawals = erasures, withdrawals

    async def load(self) -> None:
        """What is left out of the past, as it is known by now."""
        await asyncio.gather(self.erasures.load(), self.withdrawals.load())

    async def events(
        self, source: Source, partition: int, records: Sequence[Record]
    ) -> tuple[pl.DataFrame, Bad]:
        """The events of records of `partition`, judged; and what is none, by its place among them.

        Control records, which have no value, are neither.
        """
        usable, bad = await self.timed(source, partition, records)
        return await self.judged(source, usable), bad

    async def timed(
        self, source: Source, partition: int, records: Sequence[Record]
    ) -> tuple[pl.DataFrame, Bad]:
        """As `events`, but not judged. Events of erased subjects from before their erasure, and those that were
        withdrawn, are left out."""
        frame, bad = await self.codecs.columns(source, records), []
        if frame is None:
            frame, bad = await self._one_by_one(source, records)
        frame = self.erasures.left(source.id, partition, frame, records)
        frame = self.withdrawals.left(source.id, partition, frame, records)
        partitions = pl.Series(PARTITION, np.full(frame.height, partition, np.int32))
        usable, timeless = timed(source, frame.hstack([partitions]))
        return usable, [*bad, *timeless]

    async def _one_by_one(self, source: Source, records: Sequence[Record]) -> tuple[pl.DataFrame, Bad]:
        places = [place for place, record in enumerate(records) if record.value]
        data = [records[place] for place in places]
        frame, bad = await self.codecs.events(source, [record.value for record in data])
        rows = frame[INDEX]
        frame = frame.with_columns(
            pl.Series(OFFSET, [record.offset for record in data], dtype=pl.Int64).gather(rows),
            pl.Series(TIMESTAMP, [record.timestamp for record in data], dtype=pl.Int64).gather(rows),
            pl.Series(INDEX, places, dtype=pl.UInt32).gather(rows),
        )
        return frame, [(places[index], error) for index, error in bad]

    async def newest(self, source: Source, records: Sequence[Record]) -> int | None:
        """The latest time (ms) that is written in these few records, whatever becomes of them."""
        assert source.event_time is not None
        values = [record.value or b"" for record in records]
        if source.format == "json":
            return max((at for value in values if (at := _time_in(value, source.event_time))), default=None)
        frame, _ = await self.codecs.events(source, values)
        if frame.is_empty():
            return None
        newest = frame[source.event_time].cast(pl.Datetime("ms", "UTC")).dt.epoch("ms").max()
        return newest if isinstance(newest, int) else None

    async def judged(self, source: Source, events: pl.DataFrame) -> pl.DataFrame:
        """Adds the verdict columns of the source's quality rules."""
        return events.with_columns(await self.verdicts(source))

    async def verdicts(self, source: Source) -> list[pl.Expr]:
        """The verdict columns of the source's quality rules, as the references are now."""
        rules = self.definitions.rules.get(source.id, [])
        keys = {}
        if references_of(rules):
            await self.references.follow(self.definitions.references())
            keys = await self.references.caught_up()
        return verdicts(rules, keys)

    async def enriched(self, events: pl.DataFrame, compiled: CompiledKpi) -> pl.DataFrame:
        """The events with the columns `<prefix>_<field>` of their rows in the references (`joined`)."""
        if not compiled.enriched:
            return events
        await self.references.follow(self.definitions.references())
        await self.references.caught_up()
        for each in compiled.enriched:
            events = joined(events, each, await self.references.rows(each.reference, self.codecs))
        return events


def timed(source: Source, frame: pl.DataFrame) -> tuple[pl.DataFrame, Bad]:
    """The events that have a time which their arrival allows, with it as `__time`; the others by their `__index`."""
    missing = [field for field in source.fields if field.name not in frame.columns]
    if missing:
        frame = frame.with_columns(pl.lit(None, dtype=DTYPES[each.type]).alias(each.name) for each in missing)
    assert source.event_time is not None
    times = frame[source.event_time].cast(pl.Datetime("ms", "UTC")).to_physical().alias(TIME)
    frame, ahead = frame.hstack([times]), milliseconds(source.watermark.ahead)
    newest, arrived = times.max(), frame[TIMESTAMP].min()
    if (
        isinstance(newest, int)
        and isinstance(arrived, int)
        and newest <= arrived + ahead
        and not times.null_count()
    ):
        return frame, []  # sooner than one by one
    good = (pl.col(TIME) <= pl.col(TIMESTAMP) + ahead).fill_null(False)
    usable = frame.filter(good)
    if usable.height == frame.height:
        return usable, []
    others = frame.filter(~good).select(INDEX, TIME).iter_rows()
    return usable, [(index, _timeless(source, time)) for index, time in others]


def _time_in(value: bytes, field: str) -> int | None:
    """The field of a JSON object as a time in ms; None if it is none."""
    try:
        time = msgspec.json.decode(value)[field]
        return time if isinstance(time, int) else int(datetime.fromisoformat(time).timestamp() * 1000)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
        return None


def _timeless(source: Source, time: int | None) -> BadMessage:
    if time is None:
        return BadMessage("the event has no time", field=source.event_time, rule="event time")
    return BadMessage(
        "the event is later than its arrival: a clock runs ahead",
        field=source.event_time, value=str(time), rule="watermark.ahead",
    )  # fmt: skip
