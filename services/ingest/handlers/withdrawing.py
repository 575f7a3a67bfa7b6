"""What a re-drive had published is taken back: told on `withdrawals`, and its ids are new to the source again."""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.clock import milliseconds
from libs.common.events import EventsWithdrawn
from libs.common.kafka import high_watermarks, span_of, starts_of
from libs.common.topics import WITHDRAWALS
from services.ingest.core.redrives import Order
from services.ingest.handlers.batch import Batch
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.writer import Writer

AT_ONCE = 5_000
"""Receipts of one record."""
SKEW = timedelta(hours=1)
"""Clocks of machines, and of one machine over time, differ by less."""


async def withdraw(writer: Writer, order: Order, receipts: Sequence[str]) -> None:
    """Take back the events of these receipts, which are all committed; Problem if the writer takes nothing now. What is
    told twice is the same."""
    since, upto = await _bounds(writer, order)

    def done(batch: Batch) -> None:
        for part, first in enumerate(range(0, len(receipts), AT_ONCE)):
            event = EventsWithdrawn.build(
                id=f"{order.id}/{part}", source=order.source, redrive=order.id,
                receipts=list(receipts[first : first + AT_ONCE]), since=since, upto=upto,
                by=order.undone_by or "unknown", withdrawn_at=batch.now,
            )  # fmt: skip
            batch.others[WITHDRAWALS.name].append((event.id.encode(), event.encode(), []))
        writer.window.withdraw(receipts)

    await writer.submit(Submission(writer.contract, [], does=done), writer.settings.confirm_seconds)


async def _bounds(writer: Writer, order: Order) -> tuple[dict[str, int], dict[str, int]]:
    """Partition → the offsets between which the order's events lie: after it was ordered, before now."""
    settings, topic = writer.settings, writer.topic
    upto = await high_watermarks(settings, settings.prefix + topic)
    starts = await starts_of(settings, settings.prefix + topic)
    ordered = milliseconds(order.ordered_at - SKEW)
    spans = await span_of(settings, topic, ordered, ordered)
    # Where the topic begins later, they may be in the archive alone.
    since = {number: first if first > starts[number] else 0 for number, (first, _) in spans.items()}
    return {str(number): at for number, at in since.items()}, {str(number): at for number, at in upto.items()}
