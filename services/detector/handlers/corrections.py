"""What follows when events are withdrawn: backfills of the KPIs that had counted them.

First of the windows that are closed by then; what is left to the live engine is computed again when it is closed too.
The archive says when the events are gone from it, and of which times they were.
"""

from collections.abc import Iterator
from datetime import timedelta

from libs.common import clock
from libs.common.clock import moment
from libs.common.events import BackfillChanged, EventsWithdrawn
from services.detector.core.corrections import concerned, id_of, touched
from services.detector.core.definitions import CompiledKpi
from services.detector.core.windows import Each
from services.detector.handlers.archived import Archive, TakenOut
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.orders import Orders
from services.detector.handlers.withdrawals import Withdrawals

LOOK_SECONDS = 1.0
"""No more often is the archive asked."""
REASON = "a re-drive was undone"


class Corrections:
    """Orders them, in whichever process leads."""

    def __init__(
        self, withdrawals: Withdrawals, definitions: Definitions, archive: Archive, orders: Orders
    ) -> None:
        self.withdrawals, self.definitions = withdrawals, definitions
        self.archive, self.orders = archive, orders
        self.settled: set[str] = set()
        """Withdrawals of which all is ordered."""
        self.asked = 0.0

    @property
    def is_due(self) -> bool:
        """Whether something may have to be ordered."""
        return clock.monotonic() - self.asked >= LOOK_SECONDS and any(self._open())

    def _open(self) -> Iterator[EventsWithdrawn]:
        return (each for each in self.withdrawals.all if each.id not in self.settled)

    async def due(self) -> dict[str, list[BackfillChanged]]:
        """Withdrawal → what is to be ordered now, all at once; `settled` takes it then. TryLater while the archive does
        not answer."""
        self.asked = clock.monotonic()
        found: dict[str, list[BackfillChanged]] = {}
        waiting = {told.id: told for told in self._open()}
        for id, gone in (await self.archive.taken_out(list(waiting))).items():
            orders = list(self._orders(waiting[id], gone))
            if not orders or any(each.id in self.orders.known for each in orders):
                self.settled.add(id)  # nothing counted them, or whoever led before has ordered it
            else:
                found[id] = orders
        return found

    def _orders(self, told: EventsWithdrawn, gone: TakenOut) -> Iterator[BackfillChanged]:
        if gone.first is None or gone.last is None:
            return
        now = clock.now()
        kpis = concerned(self.definitions.kpis.values(), told.source)
        for place, compiled in enumerate(each for each in kpis if each.kpi.engine == "embedded"):
            windows = touched(compiled, gone.first, gone.last)
            yield BackfillChanged.build(
                id=id_of(told.id, compiled.name), kpi=compiled.kpi.id, kpi_version=compiled.version,
                start=moment(windows.start), stop=moment(windows.stop), state="queued", reason=REASON, by=told.by,
                withdrawal=told.id, recorded_at=now,
                ordered_at=now + timedelta(microseconds=place),  # one after the other, in this order
            )  # fmt: skip

    async def remainder(self, order: BackfillChanged, compiled: CompiledKpi) -> BackfillChanged | None:
        """What is to follow one that is done: that of the windows which were not closed yet."""
        if order.withdrawal is None or isinstance(compiled.windows, Each):
            return None
        gone = (await self.archive.taken_out([order.withdrawal])).get(order.withdrawal)
        if gone is None or gone.first is None or gone.last is None:
            return None
        windows = touched(compiled, gone.first, gone.last)
        end = max(moment(windows.end), order.open_to or order.stop)
        if order.closed_to is not None and end <= order.closed_to:
            return None
        now = clock.now()
        return BackfillChanged.build(
            id=id_of(order.id, compiled.name), kpi=order.kpi, kpi_version=order.kpi_version,
            start=moment(windows.start), stop=moment(windows.stop), state="queued", reason=order.reason, by=order.by,
            withdrawal=order.withdrawal, awaits=end, ordered_at=now, recorded_at=now,
        )  # fmt: skip
