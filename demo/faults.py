"""Seeded faults: late, duplicate and malformed events, in exactly known numbers. Pure.

Late       a share of the events is sent up to LATEST of event time after its place; the last ones at the end
Duplicate  a share is sent again, up to a day after
Malformed  a share is sent as a corrupted copy besides the original, under an id of its own
No late event is more than LATEST behind the newest event sent, so none is beyond a lateness of LATEST or more:
a partition's watermark is never ahead of the newest event sent.
"""

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import polars as pl

from demo.data import CLOCK, lines

LATEST = timedelta(minutes=90)


@dataclass(frozen=True)
class Faults:
    """Shares of a source's events."""

    late: float = 0.0
    duplicate: float = 0.0
    malformed: float = 0.0
    seed: int = 7


@dataclass
class Plan:
    """What is sent for one source: (when on the replay's clock, ms; line), in order; and how many of each kind."""

    sends: list[tuple[int, bytes]]
    events: int
    late: int
    duplicate: int
    malformed: int


CORRUPTIONS = ("wrong type", "missing field", "unknown field", "no time", "broken JSON")


def plan(source: str, frame: pl.DataFrame, faults: Faults) -> Plan:
    """The sends of a source's events (sorted by time) with its faults; the same seed gives the same plan."""
    random = Random(f"{faults.seed}/{source}")
    texts = lines(frame)
    clocks = frame[CLOCK].dt.epoch("ms").to_list()
    end = clocks[-1] if clocks else 0
    sends: list[tuple[int, int, bytes]] = []
    counts = {"late": 0, "duplicate": 0, "malformed": 0}
    for place, (clock, text) in enumerate(zip(clocks, texts, strict=True)):
        sent = clock
        if random.random() < faults.late:
            delay = random.uniform(0.2, 1.0) * LATEST.total_seconds() * 1000
            sent = min(end, int(clock + delay))
            counts["late"] += 1
        sends.append((sent, place, text))
        if random.random() < faults.duplicate:
            sends.append((min(end, int(sent + random.uniform(0, 86_400_000))), place, text))
            counts["duplicate"] += 1
        if random.random() < faults.malformed:
            sends.append((sent, place, corrupted(text, place, random)))
            counts["malformed"] += 1
    sends.sort(key=lambda each: (each[0], each[1]))
    return Plan([(clock, text) for clock, _, text in sends], len(texts), **counts)


def corrupted(text: bytes, place: int, random: Random) -> bytes:
    """A copy of an event that its source must refuse."""
    event: dict[str, Any] = msgspec.json.decode(text)
    event["event_id"] = f"malformed-{place}"
    match random.choice(CORRUPTIONS):
        case "wrong type":
            event["origin"] = 17
        case "missing field":
            del event["origin"]
        case "unknown field":
            event["gate"] = "B7"
        case "no time":
            event["event_time"] = "yesterday"
        case _:
            return msgspec.json.encode(event)[:-1]
    return msgspec.json.encode(event)
