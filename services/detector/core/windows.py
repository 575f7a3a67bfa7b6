"""Windows: which ones an event lies in. Times are milliseconds since the epoch; windows are [start, stop).

Events are aggregated into panes, and windows are made of panes, so that a window of 24 h that starts every
minute costs no more than its panes (Li et al., No Pane, No Gain, SIGMOD Record 2005). A session has no panes:
its bounds come from the events (`services.detector.core.sessions`).
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import gcd
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from libs.common.catalog import Kpi
from libs.common.catalog.kpis import Window

Instants = npt.NDArray[np.int64]


def milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Aligned:
    """Tumbling and sliding windows: of `size`, one every `every`, aligned to the epoch plus `offset`."""

    size: int
    every: int
    offset: int = 0

    @property
    def pane(self) -> int:
        return gcd(self.size, self.every)

    @property
    def panes(self) -> int:
        """Panes in a window."""
        return self.size // self.pane

    def pane_of(self, times: pl.Series) -> pl.Series:
        """Start of the pane of each time."""
        whole = times.to_numpy()  # sooner than polars, whose division is a query
        return pl.Series((whole - self.offset) // self.pane * self.pane + self.offset, dtype=pl.Int64)

    def last_stop(self, panes: pl.Series) -> pl.Series:
        """Stop of the last window that each pane lies in."""
        whole = panes.to_numpy()
        return pl.Series(
            (whole - self.offset) // self.every * self.every + self.offset + self.size, dtype=pl.Int64
        )

    def first_stop(self, panes: pl.Series) -> pl.Series:
        """Stop of the first window that each pane lies in."""
        return pl.Series(self._first_and_last(panes.to_numpy(), None)[0] + self.size, dtype=pl.Int64)

    def stop_of(self, starts: pl.Series) -> pl.Series:
        return starts + self.size

    def windows_of(
        self, panes: pl.Series, above: int | None, upto: int | None
    ) -> tuple[pl.Series, pl.Series]:
        """(place in `panes`, start) of the windows that the panes lie in, those with above < stop <= upto.

        None does not limit.
        """
        first, last = self._first_and_last(panes.to_numpy(), above)
        if upto is not None:
            last = np.minimum(last, (upto - self.size - self.offset) // self.every * self.every + self.offset)
        return _ranges(first, last, self.every)

    def next_of(self, panes: pl.Series, above: int | None) -> tuple[pl.Series, pl.Series]:
        """(place in `panes`, start) of the first window with stop > above that each pane lies in, if there is one."""
        first, last = self._first_and_last(panes.to_numpy(), above)
        places = np.flatnonzero(first <= last)
        return pl.Series(places, dtype=pl.UInt32), pl.Series(first[places], dtype=pl.Int64)

    def _first_and_last(self, panes: Instants, above: int | None) -> tuple[Instants, Instants]:
        last = (panes - self.offset) // self.every * self.every + self.offset
        first = last - (self.size - self.pane - (panes - last)) // self.every * self.every
        if above is not None:
            first = np.maximum(first, _up(above - self.size + 1 - self.offset, self.every) + self.offset)
        return first, last

    def due(self, panes: Instants, above: int | None, upto: int) -> Instants:
        """Starts of the windows with above < stop <= upto that any of the panes lies in, in order."""
        _, starts = self.windows_of(pl.Series(panes), above, upto)
        return np.unique(starts.to_numpy())

    def ends_between(self, above: int, upto: int) -> bool:
        """Whether a window has above < stop <= upto."""
        first = self.offset + self.size
        return (upto - first) // self.every > (above - first) // self.every


@dataclass(frozen=True)
class Calendar:
    """Local days, business days, weeks, months, quarters or years: from midnight to midnight in a time zone.

    A day begins at its first local midnight, or where the clock leaves midnight out, when it has passed it.
    """

    unit: str
    zone: str
    week_starts: int = 0
    """0: Monday, 6: Sunday."""
    year_starts: int = 1
    holidays: frozenset[date] = frozenset()
    bounds: dict[date, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    """Local day → start and stop of its window: what was asked for, kept."""
    stops: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    def pane_of(self, times: pl.Series) -> pl.Series:
        """Start of the window of each time: a calendar window is one pane."""
        days = (
            pl.from_epoch(times, "ms").dt.replace_time_zone("UTC").dt.convert_time_zone(self.zone).dt.date()
        )
        known = {day: self._bounds(day)[0] for day in days.unique().to_list()}
        starts = days.replace_strict(known, return_dtype=pl.Int64)
        stops = self.stop_of(starts)
        # Where the clock goes back over midnight, the day before is said again: the next has begun all the same.
        return starts.zip_with(times < stops, stops)

    def last_stop(self, panes: pl.Series) -> pl.Series:
        return self.stop_of(panes)

    def first_stop(self, panes: pl.Series) -> pl.Series:
        return self.stop_of(panes)

    def stop_of(self, starts: pl.Series) -> pl.Series:
        return starts.replace_strict(
            {start: self._stop(start) for start in starts.unique().to_list()}, return_dtype=pl.Int64
        )

    def windows_of(
        self, panes: pl.Series, above: int | None, upto: int | None
    ) -> tuple[pl.Series, pl.Series]:
        stops = self.stop_of(panes).to_numpy()
        keep = np.ones(len(stops), dtype=bool)
        if above is not None:
            keep &= stops > above
        if upto is not None:
            keep &= stops <= upto
        places = np.flatnonzero(keep)
        return pl.Series(places, dtype=pl.UInt32), panes.gather(places)

    def next_of(self, panes: pl.Series, above: int | None) -> tuple[pl.Series, pl.Series]:
        return self.windows_of(panes, above, None)

    def due(self, panes: Instants, above: int | None, upto: int) -> Instants:
        _, starts = self.windows_of(pl.Series(panes), above, upto)
        return np.unique(starts.to_numpy())

    def ends_between(self, above: int, upto: int) -> bool:
        before, after = self.pane_of(pl.Series([above, upto], dtype=pl.Int64))
        return before != after

    def _stop(self, start: int) -> int:
        if start not in self.stops:
            self._bounds(datetime.fromtimestamp(start / 1000, UTC).astimezone(self._zone).date())
        return self.stops[start]

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def _bounds(self, day: date) -> tuple[int, int]:
        if day not in self.bounds:
            first, after = self._days(day)
            start, stop = self._midnight(first), self._midnight(after)
            self.bounds[day] = start, stop
            self.stops[start] = stop
        return self.bounds[day]

    def _midnight(self, day: date) -> int:
        local = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return round(local.timestamp() * 1000)

    def _days(self, day: date) -> tuple[date, date]:
        """The first day of the window of a day, and the first day after it."""
        one = timedelta(days=1)
        if self.unit == "day":
            return day, day + one
        if self.unit == "week":
            first = day - timedelta(days=(day.weekday() - self.week_starts) % 7)
            return first, first + 7 * one
        if self.unit == "business_day":
            last = day
            while not self._is_business(last):
                last += one
            first = last
            while not self._is_business(first - one):
                first -= one
            return first, last + one
        length = {"month": 1, "quarter": 3, "year": 12}[self.unit]
        month = day.year * 12 + day.month - 1
        first = month - (month - (self.year_starts - 1)) % length
        return date(first // 12, first % 12 + 1, 1), date(
            (first + length) // 12, (first + length) % 12 + 1, 1
        )

    def _is_business(self, day: date) -> bool:
        return day.weekday() < 5 and day not in self.holidays


@dataclass(frozen=True)
class Session:
    """Runs of events less than `gap` apart; a session is [first event, last event + gap)."""

    gap: int

    def ends_between(self, above: int, upto: int) -> bool:
        """Unknown without the events: a session's end waits for the batch."""
        return False


@dataclass(frozen=True)
class Each:
    """No windows: every event is a value of its own."""

    def ends_between(self, above: int, upto: int) -> bool:
        return False


Windows = Aligned | Calendar | Session | Each


def windows_of(kpi: Kpi) -> Windows:
    """The windows of a KPI."""
    return compile_window(kpi.window)


def compile_window(window: Window) -> Windows:
    if window.tumbling is not None:
        size = milliseconds(window.tumbling)
        return Aligned(size, size, milliseconds(window.offset))
    if window.sliding is not None and window.every is not None:
        return Aligned(milliseconds(window.sliding), milliseconds(window.every), milliseconds(window.offset))
    if window.session is not None:
        return Session(milliseconds(window.session))
    if window.calendar is not None:
        return Calendar(
            window.calendar,
            window.zone,
            {"monday": 0, "sunday": 6}[window.week_starts],
            window.year_starts,
            frozenset(window.holidays),
        )
    return Each()


def distance(windows: Windows) -> int:
    """About how far apart two windows start, in ms."""
    match windows:
        case Aligned():
            return windows.every
        case Calendar():
            days = {"day": 1, "business_day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}
            return days[windows.unit] * 86_400_000
        case Session():
            return windows.gap
        case Each():
            return 1


def _up(number: int, step: int) -> int:
    """The least multiple of `step` that is not less than `number`."""
    return -(-number // step) * step


def _ranges(first: Instants, last: Instants, step: int) -> tuple[pl.Series, pl.Series]:
    """(place, value) of first, first + step ... last of each place; nothing where last < first."""
    counts = np.maximum((last - first) // step + 1, 0)
    places = np.repeat(np.arange(len(first)), counts)
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    return pl.Series(places, dtype=pl.UInt32), pl.Series(first[places] + within * step, dtype=pl.Int64)
