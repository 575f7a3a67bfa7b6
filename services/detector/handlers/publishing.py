"""Emitted values → records of `kpi.observations`, and what KPIs over them are to know."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from libs.common import clock, telemetry
from libs.common.events import parse_series_key, series_key
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.stream import Output, Outputs
from libs.common.topics import OBSERVATIONS, PARTIALS
from services.detector.core.combine import series_keys, split
from services.detector.core.definitions import CompiledKpi, of
from services.detector.core.derived import contributions
from services.detector.core.engine import INPUT, Engine, completeness
from services.detector.core.merge import observations
from services.detector.core.publish import Common, Envelope, common, encode
from services.detector.core.steps import Emission
from services.detector.handlers import bus


class Publisher:
    """`schema_id`: of `OBSERVATION_SCHEMA` in the registry."""

    def __init__(self, schema_id: int) -> None:
        self.schema_id = schema_id

    def emissions(self, emissions: Sequence[Emission]) -> Iterator[tuple[Emission, list[Outputs]]]:
        """Each with the records of its values; what KPIs that share a state have in common is written once."""
        known: dict[tuple[object, ...], Common] = {}
        for each in emissions:
            if each.due.is_empty():
                yield each, []
                continue
            place = id(each.windows), each.watermark, each.marks
            if place not in known:
                shares = completeness(each.windows["stop"], each.marks)
                known[place] = common(each.windows, shares, _envelope(each.watermark))
            yield each, [self._records(each.compiled, each.due, known[place])]

    def single(self, compiled: CompiledKpi, events: pl.DataFrame) -> Outputs:
        """A record for each event of a KPI that has no windows: its window is the millisecond [t, t + 1).

        The revision follows the offset, so that of two events of a series at one moment the later one is the newer.
        """
        assert compiled.scalar is not None
        number = compiled.scalar.cast(pl.Float64)
        offset = pl.col(OFFSET)
        due = events.with_columns(
            series_keys(events, compiled.kpi.by),
            pl.col(TIME).alias("start"),
            (pl.col(TIME) + 1).alias("stop"),
            (offset % 2**31 + 1).cast(pl.Int32).alias("revision"),
            pl.lit("final").alias("status"),
            pl.lit(1, dtype=pl.Int64).alias("count"),
            pl.col("assessed", "suspect").cast(pl.Int64),
            pl.concat_list(pl.col("__schema_id")).alias("schema_ids"),
            pl.concat_list(
                pl.struct(pl.col(PARTITION).alias("partition"), offset.alias("first"), offset.alias("last"))
            ).alias("offsets"),
            pl.when(number.is_finite()).then(number).alias("value"),
        ).select(list(observations(compiled)))
        shares = pl.Series([1.0] * due.height, dtype=pl.Float64)
        return self._records(compiled, due, common(due, shares, _envelope(None)))

    def history(
        self, compiled: CompiledKpi, due: pl.DataFrame, watermark: int | None, backfill: str
    ) -> Outputs:
        """The records of windows that were closed long ago, computed again by a backfill (its id)."""
        shares = pl.Series([1.0] * due.height, dtype=pl.Float64)
        outputs = self._records(compiled, due, common(due, shares, _envelope(watermark)))
        return replace(outputs, headers=[(bus.BACKFILL, backfill.encode())])

    def _records(self, compiled: CompiledKpi, due: pl.DataFrame, shared: Common) -> Outputs:
        return Outputs(OBSERVATIONS.name, *encode(compiled, self.schema_id, due, shared))

    def onward(self, emission: Emission, over: list[CompiledKpi], number: int) -> Iterator[Output]:
        """To KPIs over this one: its final values. After those of all versions goes how far it has got."""
        for compiled in over:
            yield from self._given(compiled, emission.compiled, emission.due, number)

    def standing(self, engine: Engine, compiled: CompiledKpi, number: int) -> Iterator[Output]:
        """To a KPI over others that is new: what stands of them in merge partition `number`, and how far that is."""
        for input, due in engine.standing(compiled):
            yield from self._given(compiled, input, due, number)
        for id in dict.fromkeys(compiled.kpi.over.values()):
            times = [engine.watermark(name) for name in engine.states if of(name) == id]
            if at := max((each for each in times if each is not None), default=None):
                yield from bus.marks(f"{INPUT}{id}", number, at, idle=False)
        closed = engine.closed_to(compiled)
        yield from bus.announcement(compiled.name, f"{INPUT}{compiled.kpi.id}", number, closed, live=True)

    def _given(
        self, compiled: CompiledKpi, input: CompiledKpi, due: pl.DataFrame, number: int
    ) -> Iterator[Output]:
        """Values of an input that merge partition `number` gives to a KPI over it."""
        frame = contributions(compiled, input, due, keys_of(compiled, due["series_key"]))
        for target, part in split(frame, PARTIALS.partitions).items():
            yield bus.rows(
                [compiled.name], f"{INPUT}{input.kpi.id}", number, part, target, telemetry.inject([])
            )

    def passed(self, emission: Emission, over: list[CompiledKpi], number: int) -> list[Output]:
        """To KPIs over this one: how far merge partition `number` has got with it."""
        if not over or not emission.moved:
            return []
        source = f"{INPUT}{emission.compiled.kpi.id}"
        return bus.marks(source, number, emission.watermark, idle=False)


def _envelope(watermark: int | None) -> Envelope:
    trace = dict(telemetry.inject()).get("traceparent")
    return Envelope(watermark, int(clock.now().timestamp() * 1000), trace.decode() if trace else None)


def keys_of(compiled: CompiledKpi, members: pl.Series) -> pl.Series:
    """The series of a KPI over others that each series of an input belongs to."""
    names = compiled.kpi.by
    kept = {
        member: series_key({name: value for name, value in parse_series_key(member).items() if name in names})
        for member in members.unique().to_list()
    }
    return members.replace_strict(kept, return_dtype=pl.String) if kept else members
