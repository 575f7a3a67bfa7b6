"""What a backfill computes anew: the values of a scope, piece by piece, of archived events or of published values."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import polars as pl

from libs.common import clock
from libs.common.catalog import Source
from libs.common.events import BackfillChanged
from libs.common.expressions import OFFSET, PARTITION, TIME
from services.detector.core import backfill
from services.detector.core.backfill import Recomputation, Scope, Told
from services.detector.core.definitions import CompiledKpi
from services.detector.core.merge import observations
from services.detector.handlers import history
from services.detector.handlers.archived import Archive
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.publishing import keys_of
from services.detector.handlers.reading import Reading


class Failed(Exception):
    """The backfill cannot be done."""


class Recomputed:
    """`go_on`: called between pieces; raises what ends the order."""

    def __init__(
        self,
        definitions: Definitions,
        reading: Reading,
        archive: Archive,
        go_on: Callable[[BackfillChanged], None],
    ) -> None:
        self.definitions, self.reading, self.archive, self.go_on = definitions, reading, archive, go_on

    async def of_events(
        self, order: BackfillChanged, compiled: CompiledKpi, scope: Scope
    ) -> AsyncGenerator[tuple[Told, int]]:
        """What the archived events come to, and how many there were, piece by piece."""
        source = compiled.source
        assert source is not None
        done = None if order.done_to is None else clock.milliseconds(order.done_to)
        work, ends, count = Recomputation(compiled, scope, done), counted(order), 0
        first, stop = work.reading
        if first < stop:
            async with aclosing(self.archive.between(source, first, stop)) as frames:
                async for frame in frames:
                    self.go_on(order)
                    if frame.is_empty():
                        continue
                    events = await self._judged(source, compiled, frame, ends)
                    await asyncio.to_thread(work.add, events)
                    count += frame.height
                    last = frame[TIME].max()
                    assert isinstance(last, int)
                    async for told in _in_thread(work, last, last=False):
                        yield told, count
                    if work.is_done:
                        return
        async for told in _in_thread(work, max(stop, work.at or stop), last=True):
            yield told, count

    async def _judged(
        self, source: Source, compiled: CompiledKpi, frame: pl.DataFrame, ends: dict[int, int]
    ) -> pl.DataFrame:
        """Those that count, as combine wants them."""
        verdicts = await self.reading.verdicts(source)
        before = pl.col(PARTITION).replace_strict(ends, default=0, return_dtype=pl.Int64)
        chosen = frame.lazy().filter(pl.col(OFFSET) < before).with_columns(verdicts)
        return await self.reading.enriched(await asyncio.to_thread(chosen.collect), compiled)

    async def of_inputs(
        self, order: BackfillChanged, compiled: CompiledKpi, scope: Scope
    ) -> AsyncGenerator[tuple[Told, int]]:
        """As `of_events`, of the values that were published of the KPIs that this one is over."""
        first = scope.start if order.done_to is None else max(scope.start, clock.milliseconds(order.done_to))
        newest = self.definitions.newest
        inputs = {id: newest[id] for id in compiled.kpi.over.values() if id in newest}
        if lacking := set(compiled.kpi.over.values()) - inputs.keys():
            raise Failed(f"{', '.join(sorted(lacking))}: not computed by the detector")
        served = {id: self.definitions.served.get(id, each.version) for id, each in inputs.items()}
        held, count = list[pl.DataFrame](), 0
        async with aclosing(history.inputs(self.archive, served, first, scope.stop)) as frames:
            async for frame in frames:
                self.go_on(order)
                count += frame.height
                held = [pl.concat([*held, frame])]
                next = held[0]["start"].max()
                if isinstance(next, int) and next > first:
                    whole, held = (
                        held[0].filter(pl.col("start") < next),
                        [held[0].filter(pl.col("start") >= next)],
                    )
                    yield await asyncio.to_thread(_derived, compiled, inputs, whole, first, next), count
                    first = next
        if held:
            yield await asyncio.to_thread(_derived, compiled, inputs, held[0], first, scope.stop), count
        else:
            yield Told(pl.DataFrame(schema=observations(compiled)), first, scope.stop, pl.DataFrame()), count


async def _in_thread(work: Recomputation, at: int, *, last: bool) -> AsyncGenerator[Told]:
    steps = work.upto(at, last=last)
    while (told := await asyncio.to_thread(next, steps, None)) is not None:
        yield told


def _derived(
    compiled: CompiledKpi, inputs: dict[str, CompiledKpi], rows: pl.DataFrame, first: int, next: int
) -> Told:
    mine = {id: rows.filter(pl.col("kpi") == id) for id in inputs}
    keys = {id: keys_of(compiled, each["series_key"]) for id, each in mine.items()}
    return Told(backfill.of_inputs(compiled, inputs, keys, mine), first, next, pl.DataFrame())


def counted(order: BackfillChanged) -> dict[int, int]:
    """Partition → the offset before which events count."""
    return {int(number): end for number, end in order.ends.items()}
