"""The only place that reads the clock; everywhere else time is an argument."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return datetime.now(UTC)


def moment(milliseconds: int) -> datetime:
    """The instant so many milliseconds after the epoch, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the epoch: what `moment` makes the instant of."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def monotonic() -> float:
    """Seconds that never go back, for measuring durations."""
    return time.monotonic()
