"""How events come, and what follows for how their source should be connected. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

TOGETHER = 1.0
"""Seconds between arrivals within which they are one delivery."""
PROMPT = 30.0
"""A source that gives events one by one and so soon (seconds) loses by being polled."""
FEW = 3.0
"""Events of a delivery, up to which they come one by one."""
LATENCIES: tuple[tuple[float, Literal["seconds", "minutes", "hours"]], ...] = (
    (60.0, "seconds"), (3_600.0, "minutes"), (86_400.0, "hours"),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Figures in seconds, and the advice that rests on them."""

    events: int
    deliveries: int
    span_seconds: float
    delivery_gap_p50: float | None
    delivery_gap_p95: float | None
    delay_p50: float | None
    delay_p95: float | None
    connect: Literal["push", "pull", "undecided"]
    every_seconds: int | None
    latency: Literal["seconds", "minutes", "hours", "days", "undecided"]
    why: str


def measured(arrivals: Sequence[tuple[datetime, datetime]]) -> Measured:
    """Of (event time, arrival) pairs, in any order."""
    came = sorted(arrival for _, arrival in arrivals)
    starts = came[:1] + [
        after for before, after in pairwise(came) if (after - before).total_seconds() > TOGETHER
    ]
    gaps = [(after - before).total_seconds() for before, after in pairwise(starts)]
    delays = [(arrival - event).total_seconds() for event, arrival in arrivals]
    gap50, gap95 = (_at(gaps, 0.5), _at(gaps, 0.95)) if len(gaps) >= 2 else (None, None)
    delay50, delay95 = _at(delays, 0.5), _at(delays, 0.95)
    connect, every, why = _advice(len(arrivals), len(starts), gap50, delay50)
    return Measured(
        len(arrivals),
        len(starts),
        (came[-1] - came[0]).total_seconds() if came else 0.0,
        gap50, gap95, delay50, delay95,
        connect, every,
        _latency(delay95) if delay95 is not None else "undecided",
        why,
    )  # fmt: skip


def _advice(
    events: int, deliveries: int, gap: float | None, delay: float | None
) -> tuple[Literal["push", "pull", "undecided"], int | None, str]:
    if gap is None or delay is None:
        return "undecided", None, f"{deliveries} deliveries are too few to tell: at least 3 are needed"
    lot = events / deliveries
    if lot <= FEW and delay <= PROMPT:
        return "push", None, (
            f"events come one by one ({lot:.1f} a delivery), {delay:,.1f} s after they happened: polling would add to it"
        )  # fmt: skip
    every = round(min(3_600.0, max(5.0, gap / 2)))
    if gap <= 5:
        return "push", None, f"a delivery each {gap:,.1f} s: polling so often costs more than being told"
    return (
        "pull",
        every,
        (
            f"lots of {lot:,.0f}, one each {gap:,.0f} s, {delay:,.0f} s after they happened: asking every {every:,} s"
            " adds no more than half a gap"
        ),
    )


def _latency(delay: float) -> Literal["seconds", "minutes", "hours", "days", "undecided"]:
    for limit, name in LATENCIES:
        if delay <= limit:
            return name
    return "days"


def _at(values: Sequence[float], share: float) -> float | None:
    """The value that so many are not above."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None
