"""The only place that reads the clock; everywhere else time is an argument."""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return datetime.now(UTC)


def moment(milliseconds: int) -> datetime:
    """The instant so many milliseconds after the epoch, in UTC; of one outside the years 1 to 9999 the nearest in them,
    for a record's timestamp is whatever its producer says."""
    return EPOCH + timedelta(milliseconds=min(max(milliseconds, _FIRST), _LAST))


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the epoch: what `moment` makes the instant of."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def monotonic() -> float:
    """Seconds that never go back, for measuring durations."""
    return time.monotonic()
