"""What strategy did, as events: written with the rows, sent by the outbox."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from libs.common.events import ActionTaken
from libs.common.outbox import put
from libs.common.stream.stored import Connection
from libs.common.topics import ACTIONS


async def tell(
    connection: Connection,
    kind: str,
    signal: str | None,
    subject: str,
    by: str,
    now: datetime,
    **details: Any,
) -> None:
    """One ActionTaken, in the caller's transaction."""
    action = ActionTaken.build(
        id=uuid4().hex, kind=kind, signal=signal, subject=subject, by=by, details=details, recorded_at=now
    )
    await put(connection, "strategy", ACTIONS.name, signal or subject, action)
