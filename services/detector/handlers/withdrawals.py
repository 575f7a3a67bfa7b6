"""Events that count no more, since the re-drive that published them was undone: the topic `withdrawals`, followed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from libs.common.events import EventsWithdrawn
from libs.common.expressions import OFFSET
from libs.common.kafka import Record
from libs.common.settings import ServiceSettings
from libs.common.topics import WITHDRAWALS
from libs.common.wire import INDEX
from services.detector.handlers.following import follow, load


@dataclass(frozen=True)
class Withdrawal:
    told: EventsWithdrawn
    receipts: frozenset[bytes]


class Withdrawals:
    """One of the detector's loops."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.known: dict[str, dict[str, Withdrawal]] = {}
        """Source → id → what is withdrawn."""

    async def load(self) -> None:
        """Read the topic to its end: before the past of any source is read."""
        await load(self.settings, [WITHDRAWALS], self.take)

    async def run(self, stopping: asyncio.Event) -> None:
        await follow(self.settings, [WITHDRAWALS], self.take, stopping)

    def take(self, topic: str, record: Record) -> None:
        told = EventsWithdrawn.decode(record.value or b"")
        receipts = frozenset(receipt.encode() for receipt in told.receipts)
        self.known.setdefault(told.source, {})[told.id] = Withdrawal(told, receipts)

    @property
    def all(self) -> list[EventsWithdrawn]:
        return [each.told for known in self.known.values() for each in known.values()]

    def of(self, source: str) -> list[str]:
        """Their ids."""
        return list(self.known.get(source, ()))

    def left(
        self, source: str, partition: int, events: pl.DataFrame, records: Sequence[Record]
    ) -> pl.DataFrame:
        """The events of a partition without those that are withdrawn. `records`: those that the events were read from,
        by offset."""
        number = str(partition)
        for each in self.known.get(source, {}).values():
            since, upto = each.told.since.get(number, 0), each.told.upto.get(number, 0)
            if not records or records[-1].offset < since or records[0].offset >= upto:
                continue
            among = events.filter((pl.col(OFFSET) >= since) & (pl.col(OFFSET) < upto))
            gone = [place for place in among[INDEX].to_list() if _receipt(records[place]) in each.receipts]
            if gone:
                events = events.filter(~pl.col(INDEX).is_in(gone))
        return events


def _receipt(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == "sx-receipt"), None)
