"""Parity: what was published of a window beside what plain SQL makes of its events. Pure."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from libs.common.catalog import Kpi
from libs.common.clock import milliseconds

TOLERANCE = 1e-9
"""Relative, of values: sums of the same numbers in another order."""

Reason = Literal[
    "disposed", "erased", "withdrawn", "unread", "late", "long", "reference", "version", "backfilled", "large"
]
"""Why a window is left out, since the values that it was made of cannot be had again:

- disposed: events of it were disposed of; erased: they were erased with their subject
- withdrawn: a re-drive that had published events of it was undone, and it has not been computed again since
- unread: events of it came before what its KPI's version could read, or all values of its inputs did
- late: values of its inputs, or events of a KPI on Flink or for single events, came too late for it; nothing says which
- long: a session that begins further back than is looked
- reference: a row that its events were enriched with has changed since, or may have
- version: another version of an input took over just when it was made
- backfilled: an input was backfilled since, or sessions were, which then have events that were too late
- large: it has more events than are compared at once
"""


class Key(NamedTuple):
    """A window of a series, of a KPI for single events the value of one event."""

    series: str
    start: int
    """ms; `stop` too."""
    stop: int
    place: tuple[int, int] | None = None
    """Partition and offset of the single event."""


@dataclass(frozen=True)
class Figures:
    """What a window comes to. `measures` in the KPI's order."""

    value: float | None
    count: int
    measures: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A window with both figures; None where one side has no such window."""

    key: Key
    published: Figures | None
    batch: Figures | None

    @property
    def more(self) -> int:
        """By how many events SQL has more."""
        return (self.batch.count if self.batch else 0) - (self.published.count if self.published else 0)


def reach(kpi: Kpi) -> timedelta:
    """How far before its end a window begins at most; sessions that are longer are left out."""
    window = kpi.window
    if window.session is not None:
        return max(100 * window.session, timedelta(days=1))
    if window.each is not None:
        return timedelta(milliseconds=1)
    days = {"day": 2, "business_day": 14, "week": 8, "month": 32, "quarter": 93, "year": 367}
    return window.tumbling or window.sliding or timedelta(days=days[window.calendar or "day"])


def step(kpi: Kpi) -> timedelta:
    """A stretch of time that is shorter may have no window's end in it."""
    window = kpi.window
    least = timedelta(days=1) if window.calendar else timedelta(0)
    return max(window.tumbling or window.every or least, timedelta(seconds=1))


def differences(published: Mapping[Key, Figures], batch: Mapping[Key, Figures]) -> list[Difference]:
    """The windows that are not the same on both sides, the first first."""
    found = [
        Difference(key, published.get(key), batch.get(key))
        for key in published.keys() | batch.keys()
        if not _same(published.get(key), batch.get(key))
    ]
    return sorted(found, key=lambda each: (each.key.stop, each.key))


def _same(one: Figures | None, other: Figures | None) -> bool:
    if one is None or other is None:
        return one is other
    pairs = zip((one.value, *one.measures), (other.value, *other.measures), strict=True)
    return one.count == other.count and all(_near(*pair) for pair in pairs)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other), 1e-300)


# --- why a window that differs is no fault ---------------------------------------------------------------


def dropped(kpi: Kpi, found: Sequence[Difference]) -> set[Key]:
    """Of a KPI whose engine keeps no record of late events: the windows that lack some, or are others for want of them.

    SQL then has more events: in the same window, of sessions in one that takes in those that were published. Values of
    inputs may lack some too, but others: then neither side has more for certain.
    """
    sessions, gone = kpi.window.session is not None, set[Key]()
    for each in found:
        if kpi.over and each.more:
            gone.add(each.key)
        parts = list[Difference]()
        if sessions and each.batch:
            parts = [other for other in found if other.batch is None and overlap(other.key, each.key)]
        if each.more + sum(part.more for part in parts) > 0:
            gone |= {each.key, *(part.key for part in parts)}
    return gone


def overlap(one: Key, other: Key) -> bool:
    return one.series == other.series and one.start < other.stop and other.start < one.stop


def spread(reasons: Mapping[Key, Reason], found: Iterable[Difference]) -> dict[Key, Reason]:
    """Sessions that differ where another one is left out differ for the same reason: their bounds come of its events."""
    near: dict[Key, Reason] = {
        each.key: reason for each in found for key, reason in reasons.items() if overlap(key, each.key)
    }
    return {**near, **reasons}


Span = Mapping[str, int]
"""partition, first and last offset."""


def within(place: tuple[int, int], spans: Iterable[Span]) -> bool:
    return any(each["partition"] == place[0] and each["first"] <= place[1] <= each["last"] for each in spans)


def touched(key: Key, moments: Sequence[int]) -> bool:
    """Whether one of these times (ms, in their order) lies in the window."""
    place = bisect_left(moments, key.start)
    return place < len(moments) and moments[place] < key.stop


def uncorrected(
    key: Key,
    spans: Sequence[Span],
    withdrawn: Sequence[Mapping[str, Any]],
    backfilled: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether what was published of a window may count an event that was withdrawn, for no backfill has come over the
    window since. `withdrawn`: places of events with `event_time` and `withdrawn_at`, by time; `backfilled`: where each
    was (start, stop, closed_to), with `started_at`."""
    first, last = (
        bisect_left(withdrawn, at, key=lambda each: milliseconds(each["event_time"]))
        for at in (key.start, key.stop)
    )
    mine = [each for each in withdrawn[first:last] if within((each["partition"], each["offset"]), spans)]
    if not mine:
        return False
    newest = max(each["withdrawn_at"] for each in mine)
    return not any(
        milliseconds(row["start"]) <= key.start < milliseconds(row["stop"])
        and key.stop <= milliseconds(row["closed_to"])
        and row["started_at"] >= newest
        for row in backfilled
    )


# --- values of inputs ------------------------------------------------------------------------------------

CHANGEOVER = 60_000
"""ms: so long around the moment at which a version takes over a value may be made of either."""


def counting(versions: Mapping[int, int], known: Collection[int], at: int) -> tuple[int, bool]:
    """The version of an input of which a value that was made at a moment (ms) took a window's values, and whether that is
    sure. `versions`: when each had caught up (ms), and was served from then on; `known`: those that have values in the
    window."""
    if not versions:
        return max(known), len(known) == 1
    served = max((version for version, since in versions.items() if since <= at), default=min(versions))
    chosen = max((version for version in known if version <= served), default=min(known))
    if len(known) == 1:
        return chosen, chosen == served
    changing = any(at - CHANGEOVER < versions[each] <= at for each in versions if each > min(versions))
    return chosen, chosen == served and not changing


def stood(versions: Mapping[int, int], version: int, made: int) -> bool:
    """Whether a value of an input (made at a moment, ms) may have been there before its version took over from another:
    then windows that were closed by that time have none of it."""
    return version > min(versions, default=version) and made <= versions.get(version, made) + CHANGEOVER
