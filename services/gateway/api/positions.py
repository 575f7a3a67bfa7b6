"""From a REST answer to its stream: the cursor from which the stream goes on, with nothing missed between.

The views of the archive trail the streams by what is in flight. The cursor is therefore placed before the oldest
entry of the window that the archive does not hold yet: what the answer has already may come once more, what it
lacks comes for certain.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from services.gateway.api.asking import Asker
from services.gateway.api.models.common import StreamPosition
from services.gateway.core.delivery import START
from services.gateway.core.sealing import Cursor
from services.gateway.store import kpis, signals
from services.gateway.store.windows import EpochLost

_PAGE = 200

Held = Callable[[list[dict[str, Any]]], Awaitable[list[bool]]]


async def observations_position(asker: Asker, kpi: str) -> StreamPosition | None:
    async def held(facts: list[dict[str, Any]]) -> list[bool]:
        names = [
            (
                fact["kpi_version"],
                fact["series_key"],
                datetime.fromisoformat(fact["window_start"]),
                fact["revision"],
            )
            for fact in facts
        ]
        found = await kpis.held(asker.desk.pool, kpi, names)
        return [name in found for name in names]

    return await _position(asker, f"observations/{kpi}", held)


async def signals_position(asker: Asker) -> StreamPosition | None:
    async def held(facts: list[dict[str, Any]]) -> list[bool]:
        names = [(fact["id"], datetime.fromisoformat(fact["recorded_at"])) for fact in facts]
        found = await signals.changes_held(asker.desk.pool, names)
        return [name in found for name in names]

    return await _position(asker, "signals", held)


async def present_position(asker: Asker, channel: str) -> StreamPosition | None:
    """Of channels whose owner writes its view before it publishes: the view is never behind."""
    return await _position(asker, channel, None)


async def _position(asker: Asker, channel: str, held: Held | None) -> StreamPosition | None:
    """None while no feeder has begun, or the archive is further behind than the window reaches."""
    windows = asker.desk.windows
    try:
        window = await windows.window(channel)
    except EpochLost:
        return None
    position = window.last
    if held is not None:
        position = await _before_oldest_missing(asker, channel, window.last, held)
    if window.refuses(window.epoch, position):
        # The archive is further behind than the window reaches: no cursor could be resumed in full.
        return None
    cursor = Cursor(channel, window.epoch, position, 0)
    return StreamPosition(channel=channel, cursor=asker.desk.seal.cursor(cursor))


async def _before_oldest_missing(asker: Asker, channel: str, last: str, held: Held) -> str:
    """Back through the window, page by page, until a whole page is held."""
    before = position = last
    older = False
    while True:
        entries = await asker.desk.windows.read_back(channel, before, _PAGE)
        if older:
            position = entries[0][0] if entries else START
        known = await held([json.loads(fact) for _, _, fact in entries]) if entries else []
        missing = [index for index, here in enumerate(known) if not here]
        if not missing:
            return position
        # What lies before the oldest missing one; it may be on the next page.
        older = missing[-1] + 1 == len(entries)
        if not older:
            position = entries[missing[-1] + 1][0]
        before = f"({entries[-1][0]}"
