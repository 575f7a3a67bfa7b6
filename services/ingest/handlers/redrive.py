"""Re-drive: orders that check dead letters against the present definition and publish those that pass, after all.

A step looks at some letters and notes what became of them in one transaction of the database. One that was cut off is
done again: its receipt is the same, and the ids of the events are known, so that nothing is published twice. By their
receipts what an order has published is taken back, when it is undone.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
from pydantic import TypeAdapter

from libs.common import clock
from libs.common.errors import Conflict, Invalid, NotFound, Problem
from services.ingest import store
from services.ingest.core import receipts, redrives
from services.ingest.core.contract import Contract
from services.ingest.core.fix import Fix
from services.ingest.core.records import Good
from services.ingest.core.redrives import ACTIVE, BEFORE, EXHAUSTED, GONE, Command, Order, Verdict
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.withdrawing import withdraw
from services.ingest.handlers.writer import Writer
from services.ingest.handlers.writers import Writers

log = logging.getLogger(__name__)

CHECKED_AT_ONCE = 500
"""Letters."""
AGAIN_SECONDS = 1.0
"""While a writer starts, or the database is away."""
_FIX: TypeAdapter[Fix] = TypeAdapter(Fix)


class Redrives:
    """One of the service's loops: takes a step of each order that is under way, in turn."""

    def __init__(self, pool: asyncpg.Pool, writers: Writers) -> None:
        self.pool, self.writers = pool, writers
        self.changed = asyncio.Event()
        self.due: dict[str, float] = {}
        """When the next step of an order may be taken."""
        self.stepping = asyncio.Lock()
        """A command waits for the step: what it says of the order's letters is so."""

    async def order(self, order: Order, ids: Sequence[str] | None) -> dict[str, Any]:
        """Take an order; Invalid if it names letters that are not there, or none."""
        self.writers.get(order.source)
        async with self.pool.acquire() as connection, connection.transaction():
            await store.add_redrive(connection, order)
            count = await store.choose_letters(connection, order, ids, redrives.MOST_LETTERS + 1)
            if ids is not None and count < len(set(ids)):
                missing = await store.unchosen(connection, order.id, ids)
                raise Invalid(
                    f"{len(missing)} of them are no dead letters of {order.source}, or not stored yet: "
                    + ", ".join(missing[:5]),
                    code="unknown_letters",
                )
            if not 0 < count <= redrives.MOST_LETTERS:
                what = f"{order.source}" if order.cause is None else f"{order.source} of cause {order.cause}"
                said = "no" if not count else f"more than {redrives.MOST_LETTERS}"
                raise Invalid(
                    f"there are {said} dead letters of {what}", code="no_letters" if not count else "too_many"
                )
        self.changed.set()
        return await self.shown(order.id)

    async def command(self, id: str, command: Command, by: str) -> dict[str, Any]:
        """What stands of it then; Conflict if its state takes no such command."""
        async with self.stepping:
            order = await store.redrive(self.pool, id)
            if order is None:
                raise _unknown(id)
            state = redrives.commanded(order, command, await store.driven(self.pool, id))
            if command == "undo":
                await self._may_undo(order)
                await store.set_undoing(self.pool, id, by, clock.now())
            else:
                note = "" if command != "cancel" else await self._left(id)
                await store.set_redrive(self.pool, id, state, note, clock.now())
        self.changed.set()
        return await self.shown(id)

    async def _left(self, id: str) -> str:
        published = await self._published(id)
        stays = "; what is published stays, unless it is undone" if published else ""
        return f"{published} of its events are published{stays}"

    async def _published(self, id: str) -> int:
        return (await store.redrive_counts(self.pool, [id]))[id]["published"]

    async def _may_undo(self, order: Order) -> None:
        if self.writers.get(order.source).source.reference:
            raise Conflict(
                f"{order.source} is a reference: a row is put back by sending it as it was",
                code="not_undoable",
            )
        if not await self._published(order.id):
            raise Conflict("nothing of it is published", code="nothing_published")

    async def shown(self, id: str) -> dict[str, Any]:
        order = await store.redrive(self.pool, id)
        if order is None:
            raise _unknown(id)
        return {**(await self._shown([order]))[0], "failures": await store.redrive_failures(self.pool, id)}

    async def listed(self) -> list[dict[str, Any]]:
        """The newest first."""
        return await self._shown(await store.newest_redrives(self.pool))

    async def _shown(self, orders: Sequence[Order]) -> list[dict[str, Any]]:
        counts = await store.redrive_counts(self.pool, [order.id for order in orders])
        return [msgspec.to_builtins(order) | counts[order.id] for order in orders]

    async def run(self, stopping: asyncio.Event) -> None:
        """What was under way when the process ended goes on."""
        while not stopping.is_set():
            self.changed.clear()
            try:
                pause = await self._round(stopping)
            except store.UNREACHED as error:
                log.warning("waiting", extra={"fields": {"loop": "ingest.redrive", "reason": repr(error)}})
                pause = AGAIN_SECONDS
            waits = [asyncio.create_task(event.wait()) for event in (self.changed, stopping)]
            await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    async def _round(self, stopping: asyncio.Event) -> float | None:
        """Seconds until something is due; None if nothing is under way."""
        active = await store.redrives_in(self.pool, ACTIVE)
        self.due = {id: self.due.get(id, 0.0) for id in active}
        for id in active:
            if self.due[id] <= clock.monotonic() and not stopping.is_set():
                async with self.stepping:
                    order = await store.redrive(self.pool, id)
                    if order is not None and order.state in ACTIVE:
                        self.due[id] = clock.monotonic() + await self._step(order)
        return max(0.0, min(self.due.values()) - clock.monotonic()) if self.due else None

    async def _step(self, order: Order) -> float:
        """Seconds until the next."""
        try:
            writer = self.writers.get(order.source)
            if order.state == "checking":
                return await self._check(writer, order)
            if order.state == "undoing":
                return await self._undo(writer, order)
            return await self._drive(writer, order)
        except NotFound as error:
            await self._enter(order, "failed", error.detail)
        except Problem as error:  # overloaded, or the writer starts
            log.info("re-drive waits", extra={"fields": {"redrive": order.id, "reason": error.detail}})
        return AGAIN_SECONDS

    async def _enter(self, order: Order, state: redrives.State, note: str = "") -> None:
        await store.set_redrive(self.pool, order.id, state, note, clock.now())

    async def _check(self, writer: Writer, order: Order) -> float:
        places = await store.next_letters(
            self.pool, order.id, CHECKED_AT_ONCE, redrives.SLICE_BYTES, checked=False
        )
        if not places:
            await self._enter(order, redrives.checked(order))
            return 0.0
        found = await self._judged(writer, writer.contract, order, places)
        verdicts = {place: Verdict() if isinstance(each, Good) else each for place, each in found.items()}
        await store.note_checked(self.pool, order.id, verdicts)
        return 0.0

    async def _drive(self, writer: Writer, order: Order) -> float:
        driven = await store.driven(self.pool, order.id) if order.state == "canary" else 0
        room = redrives.room(order, driven)
        places = await store.next_letters(
            self.pool, order.id, max(1, room), redrives.SLICE_BYTES, checked=True
        )
        if not places or not room:
            await self._enter(order, "tried" if places else "done")
            return 0.0
        contract = writer.contract
        found = await self._judged(writer, contract, order, places)
        goods = {place: each for place, each in found.items() if isinstance(each, Good)}
        verdicts = {place: each for place, each in found.items() if isinstance(each, Verdict)}
        receipt = _receipt(order, min(places))
        if goods:
            letters = [places[place] for place in goods]
            records = list(goods.values())
            submission = Submission(contract, records, receipt=receipt, letters=letters)
            await writer.submit(submission)
            settled = redrives.settled(records, submission.results, receipt)
            verdicts |= dict(zip(goods, settled, strict=True))
        await store.note_driven(self.pool, order.id, places, verdicts, receipt, clock.now())
        return len(places) / order.rate

    async def _undo(self, writer: Writer, order: Order) -> float:
        """Its events are taken back, then its letters are dead again; a step that is cut off is done again."""
        published = await store.receipts_of(self.pool, order.id)
        # A step that was cut off, and has not been done again, may have published too.
        next = await store.next_letters(self.pool, order.id, 1, redrives.SLICE_BYTES, checked=True)
        await withdraw(writer, order, [*published, *(_receipt(order, place) for place in next)])
        count = await self._published(order.id)
        note = f"{count} events are taken back: the KPIs that counted them are computed again, see backfills"
        await store.note_undone(self.pool, order.id, note, clock.now())
        return 0.0

    async def _judged(
        self, writer: Writer, contract: Contract, order: Order, places: Mapping[int, str]
    ) -> dict[int, Good | Verdict]:
        """Of each place what its letter is now."""
        ids = list(places.values())
        letters = await store.letters(self.pool, ids)
        before, often = await store.redriven(self.pool, ids), await store.failed_drives(self.pool, ids)
        if writer.parking is not None:
            await writer.parking.caught_up()
        fix, found, goods = _FIX.validate_python(order.fix), dict[int, Good | Verdict](), 0
        for place, id in places.items():
            if id in before:
                found[place] = BEFORE
            elif often.get(id, 0) >= redrives.MOST_DRIVEN:
                found[place] = EXHAUSTED
            elif id not in letters:
                found[place] = GONE
            else:
                made = redrives.again(contract.validator, fix, letters[id], goods)
                if isinstance(made, Good) and writer.parking is not None:
                    missing = writer.parking.missing(made)
                    made = made if missing is None else redrives.failed(missing)
                found[place] = made
                goods += isinstance(found[place], Good)
        return found


def _receipt(order: Order, place: int) -> str:
    """Of the step that begins with the letter at this place."""
    return receipts.id_of(order.source, f"redrive {order.id} {place}")


def _unknown(id: str) -> NotFound:
    return NotFound(f"there is no re-drive {id}", code="unknown_redrive")
