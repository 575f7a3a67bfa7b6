"""Carries out backfills, one after the other, in the one process that leads.

First every merge partition is asked, in its log, up to where windows are closed: all that the live engine says of
those was said before its answer, and what comes for them later is late. Then how far the source's topic goes is noted,
and the archive is waited for: it has then all events that count, and all that was published. Values and how far they go
are written in one transaction, under one transactional id, so that a process that was killed is gone on with, and one
that was thought dead is fenced.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any

import asyncpg
import polars as pl
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from libs.common import clock, telemetry
from libs.common.errors import SextantError, TryLater
from libs.common.events import BackfillChanged
from libs.common.kafka import ends_of, producer
from libs.common.stream import Output, Outputs, send
from libs.common.topics import BACKFILLS, EVENTS, OBSERVATIONS, PARTIALS
from services.detector.core.backfill import (
    Gone,
    Revised,
    Scope,
    Told,
    retracted,
    revisions,
)
from services.detector.core.definitions import CompiledKpi
from services.detector.core.windows import Each, Session, milliseconds
from services.detector.handlers import bus, history
from services.detector.handlers.archived import Archive
from services.detector.handlers.corrections import Corrections
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.merge import Merge
from services.detector.handlers.orders import Orders
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.reading import Reading
from services.detector.handlers.recomputed import Failed, Recomputed, counted
from services.detector.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
RETRY_SECONDS = 2.0
UNUSABLE = (SextantError, pl.exceptions.PolarsError, asyncpg.PostgresError, ValueError, OverflowError)
"""What ends one backfill and not the process."""


class Cancelled(Exception):
    """Somebody wants it to end."""


class Stopping(Exception):
    """The process ends, or no longer leads: whoever leads next goes on."""


class Backfills:
    """One of the detector's loops. `merge`: says whether this process, of several, is the one that carries them out."""

    def __init__(
        self, settings: Settings, definitions: Definitions, reading: Reading, publisher: Publisher,
        orders: Orders, merge: Merge,
    ) -> None:  # fmt: skip
        self.settings, self.definitions, self.reading = settings, definitions, reading
        self.publisher, self.orders, self.merge = publisher, orders, merge
        self.archive = Archive(settings)
        self.corrections = Corrections(reading.withdrawals, definitions, self.archive, orders)
        self.recomputed = Recomputed(definitions, reading, self.archive, self._go_on)
        self.writer: AIOKafkaProducer | None = None
        self.stopping = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        try:
            while not stopping.is_set():
                if self.merge.leads() and (
                    self.corrections.is_due or self.orders.next(self.merge.closed_to) is not None
                ):
                    await self._attempt()
                await self._pause(LOOK_SECONDS)
        finally:
            await self._release()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def _release(self) -> None:
        writer, self.writer = self.writer, None
        if writer is not None:
            with suppress(KafkaError):
                await writer.stop()

    async def _attempt(self) -> None:
        """The next order, to its end or as far as it goes."""
        try:
            await self._lead()
            await self._correct()
            order = self.orders.next(self.merge.closed_to)
            if order is None:
                return
            log.info("a backfill begins", extra={"fields": {"id": order.id, "kpi": order.kpi}})
            await self._end(order, await self._outcome(order))
        except Stopping:
            await self._release()
        except KafkaError as error:  # fenced, or the brokers are away: begin anew, where the record says
            log.warning("a backfill is interrupted", extra={"fields": {"reason": repr(error)}})
            await self._release()
            await self._pause(RETRY_SECONDS)

    async def _lead(self) -> None:
        """Fence whoever led before, and know all that was written until then."""
        if self.writer is None:
            self.writer = producer(self.settings, "detector.backfills")
            await self.writer.start()
        end = (await ends_of(self.settings, BACKFILLS.name))[0]
        while self.orders.position < end:
            await self._pause(0.05)
            self._go_on()

    async def _correct(self) -> None:
        """Order what follows from withdrawals: of each all at once."""
        try:
            due = await self.corrections.due()
        except TryLater as later:
            log.info("corrections wait", extra={"fields": {"reason": str(later)}})
            return
        for withdrawal, orders in due.items():
            await self._write(*orders)
            log.info("corrections are ordered", extra={"fields": {"id": withdrawal, "kpis": len(orders)}})

    async def _outcome(self, order: BackfillChanged) -> dict[str, Any]:
        """Do it; how it ended."""
        while True:
            try:
                await self._carry_out(order.id)
                await self._follow_up(self.orders.known[order.id])
                return {"state": "done"}
            except Cancelled:
                return {"state": "cancelled", "note": "cancelled: what was published stays"}
            except TryLater as later:
                await self._note(self.orders.known[order.id], str(later))
                await self._pause(RETRY_SECONDS)
            except Failed as error:
                return {"state": "failed", "note": str(error)}
            except UNUSABLE as error:
                log.exception("a backfill failed", extra={"fields": {"id": order.id, "kpi": order.kpi}})
                return {"state": "failed", "note": str(error).partition("\n")[0] or repr(error)}

    async def _end(self, order: BackfillChanged, outcome: dict[str, Any]) -> None:
        told = await self._tell(
            self.orders.known[order.id], **outcome, ended_at=clock.now(), eta_seconds=None
        )
        fields = {"id": told.id, "kpi": told.kpi, "state": told.state, "note": told.note}
        counts = {name: getattr(told, name) for name in ("events", "windows", "new", "revised", "retracted")}
        log.info("a backfill has ended", extra={"fields": {**fields, **counts}})

    def _go_on(self, order: BackfillChanged | None = None) -> None:
        if self.stopping.is_set() or not self.merge.leads():
            raise Stopping
        if order is not None and order.id in self.orders.cancelled:
            raise Cancelled

    async def _tell(
        self, order: BackfillChanged, *outputs: Output | Outputs, **changes: Any
    ) -> BackfillChanged:
        """Write how it stands, and what comes with it, in one transaction."""
        told = order.model_copy(update={**changes, "recorded_at": clock.now()})
        await self._write(told, before=outputs)
        return told

    async def _write(self, *orders: BackfillChanged, before: Sequence[Output | Outputs] = ()) -> None:
        assert self.writer is not None
        states = [Output(BACKFILLS.name, each.id.encode(), each.encode(), partition=0) for each in orders]
        async with self.writer.transaction():
            for topic, count in (await send(self.writer, self.settings, [*before, *states])).items():
                telemetry.PRODUCED.labels("detector.backfills", topic).inc(count)
        for each in orders:
            self.orders.put(each)

    async def _note(self, order: BackfillChanged, note: str) -> BackfillChanged:
        return order if order.note == note else await self._tell(order, note=note)

    # --- one of them -------------------------------------------------------------------------------------

    def _compiled(self, order: BackfillChanged) -> CompiledKpi:
        name = f"{order.kpi}@{order.kpi_version}"
        compiled = self.definitions.kpis.get(name)
        if compiled is None:
            raise Failed(
                f"version {order.kpi_version} of {order.kpi} was replaced, removed, or does not compile"
            )
        return compiled

    async def _follow_up(self, order: BackfillChanged) -> None:
        """Of a correction: the windows that were not closed yet."""
        rest = await self.corrections.remainder(order, self._compiled(order))
        if rest is not None:
            await self._write(rest)

    async def _carry_out(self, id: str) -> None:
        order = self.orders.known[id]
        compiled = self._compiled(order)
        if isinstance(compiled.windows, Each):
            await self._retract(order, compiled)
            return
        if order.started_at is None:
            order = await self._fence(order, compiled)
        if order.withdrawal is not None and order.done_to is None and isinstance(compiled.windows, Session):
            order = await self._widened(order, compiled)
        closed = order.closed_to
        if closed is None:
            await self._note(order, "no window is closed yet: all are left to the live engine")
            return
        order = await self._await_archive(order, compiled)
        scope = Scope(
            clock.milliseconds(order.start),
            min(clock.milliseconds(order.stop), clock.milliseconds(closed)),
            clock.milliseconds(closed),
        )
        note = "" if order.stop <= closed else (
            f"windows that end after {closed.isoformat()} are left to the live engine"
        )  # fmt: skip
        order = await self._tell(order, state="running", note=note, events=0)
        if scope.start >= scope.stop:
            return
        steps = self.recomputed.of_inputs if compiled.source is None else self.recomputed.of_events
        gone = (
            Gone({})
            if compiled.source is None
            else await history.gone(self.archive, compiled.source, counted(order))
        )
        began = clock.monotonic()
        async with aclosing(steps(order, compiled, scope)) as found:
            async for told, events in found:
                self._go_on(order)
                order = self.orders.known[id]
                order = await self._publish(order, self._compiled(order), told, gone, events, began)

    async def _fence(self, order: BackfillChanged, compiled: CompiledKpi) -> BackfillChanged:
        """Learn up to where windows are closed everywhere, and then which events count."""
        self.orders.answers.pop(order.id, None)
        asking = bus.backfill(compiled.name, order.encode())
        order = await self._tell(order, *asking, state="waiting", note="the merge partitions are asked")
        while len(answers := self.orders.answers.get(order.id, {})) < PARTIALS.partitions:
            self._go_on(order)
            self._compiled(order)
            await self._pause(0.05)
        closed = [each.closed_to for each in answers.values()]
        known = [each for each in closed if each is not None]
        least = min(known) if len(known) == len(closed) else None
        if order.awaits is not None and (least is None or least < order.awaits):
            raise TryLater(f"windows are closed up to {least}, not yet to {order.awaits.isoformat()}")
        source = compiled.source
        ends = await ends_of(self.settings, EVENTS.of(source.id)) if source is not None else {}
        return await self._tell(
            order, started_at=clock.now(), closed_to=least,
            ends={str(number): end for number, end in ends.items()},
        )  # fmt: skip

    async def _widened(self, order: BackfillChanged, compiled: CompiledKpi) -> BackfillChanged:
        """Sessions that have events of this time begin before it, and fall apart into ones that begin later."""
        await self._await_archive(order, compiled)
        start, stop = await history.reach(self.archive, compiled, order.start, order.stop)
        return await self._tell(self.orders.known[order.id], start=start, stop=stop)

    async def _retract(self, order: BackfillChanged, compiled: CompiledKpi) -> None:
        """Of a KPI whose values are single events: those of events that are withdrawn."""
        order = await self._tell(order, state="running", started_at=clock.now())
        assert compiled.source is not None
        await self._await_archive(order, compiled)
        rows = await history.withdrawn(self.archive, compiled, order.start, order.stop)
        due = retracted(compiled, rows)
        outputs = [self.publisher.history(compiled, due, None, order.id)] if due.height else []
        counts = {"windows": due.height, "retracted": due.height}
        await self._tell(self.orders.known[order.id], *outputs, done_to=order.stop, **counts)

    async def _await_archive(self, order: BackfillChanged, compiled: CompiledKpi) -> BackfillChanged:
        """Until it has the events that count, and all that was published by now."""
        wanted = {OBSERVATIONS.name: await ends_of(self.settings, OBSERVATIONS.name)}
        if compiled.source is not None:
            wanted[EVENTS.of(compiled.source.id)] = counted(order)
        while behind := {
            name: lacking
            for name, ends in wanted.items()
            if (lacking := await self.archive.lacks(name, ends))
        }:
            self._go_on(order)
            shown = ", ".join(f"{lacking:,} records of {name}" for name, lacking in behind.items())
            order = await self._note(order, f"the archive lacks {shown}")
            await self._pause(LOOK_SECONDS)
        return order

    async def _publish(
        self, order: BackfillChanged, compiled: CompiledKpi, told: Told, gone: Gone, events: int, began: float
    ) -> BackfillChanged:
        assert order.closed_to is not None
        closed = clock.milliseconds(order.closed_to)
        before = await history.published(self.archive, compiled, told.first, told.reach)
        found: Revised = await asyncio.to_thread(revisions, compiled, told, before, closed, gone)
        outputs: list[Outputs] = []
        if found.due.height and not order.dry_run:
            watermark = closed + milliseconds(compiled.kpi.lateness)
            outputs = [self.publisher.history(compiled, found.due, watermark, order.id)]
        if told.goes_on_to > closed:
            order = order.model_copy(update={"open_to": clock.moment(told.goes_on_to)})
        seconds = max(clock.monotonic() - began, 1e-3)
        share = (told.next - clock.milliseconds(order.start)) / max(
            1, min(clock.milliseconds(order.stop), closed) - clock.milliseconds(order.start)
        )
        return await self._tell(
            order, *outputs, done_to=clock.moment(told.next), events=events, rate=round(events / seconds, 1),
            eta_seconds=round(seconds * (1 - share) / share, 1) if 0 < share <= 1 else None,
            windows=order.windows + found.windows, new=order.new + found.new, revised=order.revised + found.revised,
            retracted=order.retracted + found.retracted, left=order.left + found.left,
        )  # fmt: skip
