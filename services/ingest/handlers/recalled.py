"""What the topics say was taken in before: ids and receipts, by the headers of what was published."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence

from libs.common.batches import Record, number
from libs.common.events import EventsWithdrawn
from libs.common.kafka import read_all
from libs.common.settings import ServiceSettings
from libs.common.topics import WITHDRAWALS


def published(records: Iterable[Record]) -> Iterator[tuple[tuple[str, int], Iterable[Hashable]]]:
    """(receipt, arrival in ms) and ids, of events and deliveries, of records on a source's topic, by their headers."""
    here: tuple[str, int] | None = None
    ids: dict[Hashable, None] = {}
    for record in records:
        headers = dict(record.headers)
        if "sx-receipt" not in headers:
            continue
        receipt = _text(headers["sx-receipt"])
        at = number(headers.get("sx-ingested"))
        at = record.timestamp if at is None else at
        if here != (receipt, at):
            if here is not None:
                yield here, ids
            here, ids = (receipt, at), {}
        if "ce_id" in headers:
            ids[_text(headers["ce_id"])] = None
        if "sx-delivery" in headers:
            ids["delivery", _text(headers["sx-delivery"])] = None
    if here is not None:
        yield here, ids


def _text(value: bytes | None) -> str:
    """Of a header, which may be anything: others write to a source's topic too."""
    return (value or b"").decode("utf-8", "replace")


async def withdrawn(settings: ServiceSettings, source: str) -> AsyncIterator[Sequence[str]]:
    """The receipts whose events were taken back, of a source."""
    async for records in read_all(settings, WITHDRAWALS.name, undecided=True):
        for record in records:
            told = EventsWithdrawn.decode(record.value or b"")
            if told.source == source:
                yield told.receipts


def lettered(records: Iterable[Record]) -> Iterator[tuple[str, str, int]]:
    """(source, receipt, arrival in ms) of the dead letters that ingest wrote, one after another of a body once."""
    last = "", ""
    for record in records:
        here = _text(record.key), _text(dict(record.headers).get("sx-receipt"))
        if here[1] and here != last:
            yield *here, record.timestamp
            last = here


Read = Callable[[int], AsyncIterator[Iterable[Record]]]
"""The dead letters of all sources that came since (ms), up to all that were committed, or are being, when it began."""
Take = Callable[[str, int], None]
"""Told a receipt and its arrival (ms)."""


class Letters:
    """The topic of dead letters is that of all sources: writers that start together have it read once for all of them.

    Who asks while it is read waits for another reading: this one may have passed what its predecessor wrote last.
    """

    def __init__(self, read: Read) -> None:
        self.read = read
        self.asked: dict[str, tuple[int, Take]] = {}
        """Source → since when (ms), and who is told."""
        self.reading = asyncio.Lock()

    async def recall(self, source: str, since: int, take: Take) -> None:
        """Tells of the dead letters of a source since then (ms), all those that were committed before it was asked."""
        self.asked[source] = since, take
        async with self.reading:
            if source not in self.asked:  # read by somebody who asked too
                return
            group = dict(self.asked)
            async for records in self.read(min(since for since, _ in group.values())):
                for id, receipt, at in lettered(records):
                    if id in group and at >= group[id][0]:
                        group[id][1](receipt, at)
            for id in group:
                del self.asked[id]
