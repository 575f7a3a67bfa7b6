"""Health: a score, the assessed share and the worst open severity, always together.

score = weight of the assessed events that break no rule / assessed events, where an event that breaks a rule
keeps part of its weight (info 0.9, warning 0.5, critical 0). What was not assessed is in neither side of the
fraction, so it never raises the score; it shows in the assessed share. Nothing assessed: the score is unknown.
An open critical incident caps the score, and so does a source that is not fresh.
"""

from libs.common.events import Severity

WEIGHTS = (1.0, 0.9, 0.5, 0.0)
"""The weight an event keeps, by its worst violation: none, info, warning, critical."""

CRITICAL_CAP = 0.4
STALE_CAP = 0.6


def score(assessed: int, good: float, worst: Severity | None, fresh: bool | None) -> float | None:
    """0 to 1, or None for unknown. `good` is the summed weight of the assessed events."""
    if assessed <= 0:
        return None
    value = min(1.0, max(0.0, good / assessed))
    if worst == "critical":
        value = min(value, CRITICAL_CAP)
    if fresh is False:
        value = min(value, STALE_CAP)
    return value


def assessed_share(events: int, assessed: int) -> float:
    """0 to 1; a source without events has nothing assessed."""
    return 0.0 if events <= 0 else min(1.0, assessed / events)
