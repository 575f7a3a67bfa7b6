"""The rhythm in which a source's events arrive: what is to be expected now, and whether it came. Pure.

Counts per minute of arrival, up to four weeks and a bit, are all that is known. Nothing is assumed of their
distribution but that what was will be: windows that are comparable with the present one (the same hour of the week, an
hour earlier and later too, in each of the last weeks; with fewer than three weeks, and for the longest windows, also
all of the last three days) have a median and a spread, and the window at hand is called a drop when it has less than
half of that median and lies five spreads below it. The spread is at least that of a Poisson process, sqrt(median), so
that a low rate is not judged on few events; where it is too large to tell half from whole, as it is of sources that
come in irregular lots, a longer window is taken, and if none is long enough nothing is said. One week of four may have
been a bad one.

Silence is judged by gaps: so many times the longest of those that are comparable, three at least. For a Poisson process,
whose longest of n gaps is near ln(n) means, one further gap is three times that with probability n^-3. Where gaps have a
heavy tail, as those between bursts have, it is more: 50^x, with the tail index x by B. M. Hill, "A Simple General
Approach to Inference About the Tail of a Distribution" (1975), so that a further gap is that long in one of 50 n
cases, and while n is small in one of 5,000.

Median and spread of the same hour of the week: the seasonal baseline of Hochenbaum, Vallis, Kejariwal, "Automatic
Anomaly Detection in the Cloud Via Statistical Learning" (2017), without its parametric test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""Events per minute, one after another, from the first minute in which there was one to the last whole minute."""

HOUR, DAY, WEEK = 60, 1_440, 10_080
WEEKS = 4
KEPT = WEEKS * WEEK + 2 * DAY
"""Minutes of history that are of use."""
LENGTHS = (5, 15, 60, 240)
"""Minutes of the windows that are looked at: the first that can tell half from whole is taken."""
SPREADS = 5.0
DROP, RECOVERED = 0.5, 0.75
"""Of what is expected: below the one it has dropped, above the other it is back. What lies between changes nothing."""
ENOUGH_WEEKS = 3
GAPS, GAPS_A_WEEK, SHORTEST = 20, 60, 5
"""Gaps that there must be; that there must be about the same hour of each week, else all are comparable; and minutes
that are never silence."""
LONGER, SURE, FEW = 3.0, 50.0, 5_000.0


@dataclass(frozen=True)
class Expected:
    """Of the window of `minutes` that ends now."""

    minutes: int
    events: int
    """What came."""
    middle: float
    low: float
    """With less it has dropped; 0 or below: cannot be told."""

    @property
    def tells(self) -> bool:
        """Whether half of what is expected would be noticed."""
        return self.low >= DROP * self.middle and self.middle > 0


def expected(counts: Counts) -> Expected | None:
    """None while too little is known, or what comes is too irregular to say."""
    total = np.concatenate(([0], np.cumsum(counts)))
    found: Expected | None = None
    for minutes in LENGTHS:
        each = _of_window(total, minutes)
        if each is not None and each.low > 0:
            found = each
            if each.tells:
                break
    return found


def _of_window(total: NDArray[np.int64], minutes: int) -> Expected | None:
    now = len(total) - 1
    shifts = np.arange(-HOUR, HOUR + 1, min(minutes, HOUR))
    ends = [now - week * WEEK + shifts for week in range(1, WEEKS + 1)]
    weeks = [_sums(total, each, minutes) for each in ends if each[0] - minutes >= 0]
    samples: list[NDArray[np.int64]] = []
    if weeks:
        samples.append(np.concatenate(_forgiving(weeks, [int(each.sum()) for each in weeks])))
    if len(weeks) < ENOUGH_WEEKS or minutes > HOUR:  # of so long windows the weeks have too few
        first = max(0, now - 3 * DAY)
        before = np.arange(now - minutes, first + minutes - 1, -minutes)
        if now - minutes < DAY:
            return None
        samples.append(_sums(total, before, minutes))
    bands = [_band(each) for each in samples]
    middle, low = min(bands, key=lambda band: band[1])
    return Expected(minutes, int(total[now] - total[max(0, now - minutes)]), middle, low)


def _sums(total: NDArray[np.int64], ends: NDArray[np.int64], minutes: int) -> NDArray[np.int64]:
    return total[ends] - total[ends - minutes]


def _forgiving(weeks: list[Any], good: Sequence[float]) -> list[Any]:
    """Of four weeks the worst is left out."""
    if len(weeks) < WEEKS:
        return weeks
    worst = int(np.argmin(good))
    return weeks[:worst] + weeks[worst + 1 :]


def _band(samples: NDArray[np.int64]) -> tuple[float, float]:
    """(middle, low)"""
    middle = float(np.median(samples))
    spread = max(float(np.std(samples)), middle**0.5)
    return middle, min(DROP * middle, middle - SPREADS * spread)


@dataclass(frozen=True)
class Rate:
    """A verdict; `unknown` changes nothing about what was said before."""

    state: Literal["unknown", "normal", "dropped", "between"]
    expected: Expected | None


def rate(counts: Counts) -> Rate:
    """Whether as much comes as is to be expected. That nothing comes at all is silence, which is judged by gaps."""
    found = expected(counts)
    if found is None:
        return Rate("unknown", None)
    if found.events >= RECOVERED * found.middle:
        return Rate("normal", found)
    newest = found.minutes // 3
    still = counts[-newest:].sum() < RECOVERED * found.middle * newest / found.minutes
    if 0 < found.events < found.low and still:
        return Rate("dropped", found)
    return Rate("between", found)


@dataclass(frozen=True)
class Quiet:
    """Minutes without an event up to now, and how many of them are silence; None while that cannot be said."""

    minutes: int
    allowed: int | None

    @property
    def is_silence(self) -> bool:
        return self.allowed is not None and self.minutes > self.allowed


def quiet(counts: Counts) -> Quiet:
    """How long the source has been quiet, and how long it may be."""
    now = len(counts)
    heard = np.flatnonzero(counts)
    if not heard.size:
        return Quiet(now, None)
    minutes, gaps = int(now - 1 - heard[-1]), np.diff(heard)
    if now < DAY:
        return Quiet(minutes, None)
    weeks: list[NDArray[np.int64]] = []
    for week in range(1, WEEKS + 1):
        start, stop = now - week * WEEK - minutes - HOUR, now - week * WEEK + HOUR
        if start >= 0:  # the gaps that lie there or reach into it
            weeks.append(gaps[(heard[1:] > start) & (heard[:-1] < stop)])
    comparable = gaps
    if len(weeks) >= ENOUGH_WEEKS:
        kept = _forgiving(weeks, [-float(each.max(initial=0)) for each in weeks])
        if all(each.size >= GAPS_A_WEEK for each in kept):
            comparable = np.concatenate(kept)
    if comparable.size < GAPS:
        return Quiet(minutes, None)
    return Quiet(minutes, max(SHORTEST, round(_times(comparable) * int(comparable.max()))))


def _times(gaps: NDArray[np.int64]) -> float:
    """How many times the longest is silence."""
    top = np.sort(gaps)[-int(gaps.size**0.5) - 1 :]
    return max(LONGER, max(SURE, FEW / gaps.size) ** float(np.mean(np.log(top[1:] / top[0]))))
