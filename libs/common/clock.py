"""The only place that reads the clock; everywhere else time is an argument."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never go back, for measuring durations."""
    return time.monotonic()
