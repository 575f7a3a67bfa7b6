"""Times of a zone, as clocks there show them. Pure."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def in_utc(time: datetime, zone: ZoneInfo) -> datetime:
    """A time in UTC; one without an offset is read in the zone.

    Of a time that clocks show twice, when they are put back, it is the first (PEP 495, fold=0). ValueError, saying the
    rule, if they skip it, when they are put forward: nobody can have seen it. OverflowError outside the years 1 to 9999.
    """
    if time.tzinfo is not None:
        return time.astimezone(UTC)
    utc = time.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None, fold=0) != time.replace(fold=0):
        raise ValueError(f"a time that clocks in {zone.key} show")
    return utc
