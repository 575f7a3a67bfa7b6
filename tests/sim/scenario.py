"""What a seed stands for: definitions, events with their arrival, and the faults that strike. Nothing runs here."""

import random
from dataclasses import dataclass
from typing import Any

SOURCE = "meter"
KEYS = ("a", "b", None)
BEFORE = 2 * 3_600_000
"""Events are of the two hours before the beginning (ms)."""
FEEDING_SECONDS = 8.0
WINDOWS: tuple[dict[str, str], ...] = (
    {"tumbling": "10m"},
    {"tumbling": "30m", "offset": "7m"},
    {"sliding": "30m", "every": "10m"},
    {"sliding": "2h", "every": "10m"},
    {"session": "4m"},
    {"calendar": "day", "zone": "Europe/Berlin"},
    {"each": "event"},
)
VALUES = ("sum(v)", "count(*)", "sum(v) / count(*)", "max(v) - min(v)", "last(v)")


@dataclass(frozen=True)
class Arrival:
    """Events that one transaction of ingest brings to one partition."""

    at: float
    """Seconds from the beginning."""
    open: float
    """Seconds that the transaction takes."""
    partition: int
    values: tuple[bytes, ...]
    aborted: bool
    """Rolled back at first, and sent again."""


@dataclass(frozen=True)
class Change:
    """A definition comes into force."""

    at: float
    kind: str
    id: str
    version: int
    definition: dict[str, Any]


@dataclass(frozen=True)
class Strike:
    """What happens to a process at its so-manieth request or answer since its start."""

    call: int
    kind: str
    """kill · freeze · error · stop · pause (the broker) · later (what decodes is not ready)."""
    seconds: float
    """How long it is away, or frozen, or the broker answers nobody."""


@dataclass(frozen=True)
class Scenario:
    seed: int
    processes: int
    arrivals: tuple[Arrival, ...]
    changes: tuple[Change, ...]
    strikes: tuple[tuple[Strike, ...], ...]
    """Of each process, in order: the first of its first life, the second of its second …"""
    loses: bool = False
    """With every kill goes the log of a state."""

    @classmethod
    def of(cls, seed: int) -> "Scenario":
        dice = random.Random(seed)
        processes = dice.choice((1, 2, 2, 3))
        strikes = [tuple(_strike(dice) for _ in range(dice.randint(0, 4))) for _ in range(processes)]
        arrivals, changes = tuple(_arrivals(dice)), tuple(_changes(dice))
        return cls(seed, processes, arrivals, changes, tuple(strikes), loses=seed % 2 == 1)


def source(partitions: int = 2) -> dict[str, Any]:
    return {
        "kind": "source", "id": SOURCE, "title": "Meter", "owner": "ops", "event_id": "id", "event_time": "at",
        "key": ["id"], "partitions": partitions, "format": "json",
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
            {"name": "k", "type": "string", "nullable": True}, {"name": "v", "type": "long", "nullable": True},
        ],
    }  # fmt: skip


def _changes(dice: random.Random) -> list[Change]:
    found = [Change(0.0, "source", SOURCE, 1, source())]
    for number in range(dice.choice((1, 1, 2))):
        id, at = f"kpi{number}", dice.choice((0.0, 0.0, dice.uniform(1, 10)))
        definition = _kpi(dice, id)
        found.append(Change(at, "kpi", id, 1, definition))
        if dice.random() < 0.15:
            found.append(
                Change(
                    at + dice.uniform(1, 6),
                    "kpi",
                    id,
                    2,
                    definition | {"value": "sum(v) + 1"}
                    if "each" not in definition["window"]
                    else definition | {"value": "v + 1"},
                )
            )
        if (
            "each" not in definition["window"]
            and "session" not in definition["window"]
            and dice.random() < 0.3
        ):
            over = {
                "kind": "kpi", "id": f"{id}_all", "title": "All", "owner": "ops", "over": {"part": id},
                "value": "sum(part)", "by": [], "window": definition["window"], "lateness": definition["lateness"],
            }  # fmt: skip
            found.append(Change(at + dice.choice((0.0, 0.5)), "kpi", f"{id}_all", 1, over))
    return sorted(found, key=lambda change: change.at)


def _kpi(dice: random.Random, id: str) -> dict[str, Any]:
    window = dice.choice(WINDOWS)
    definition = {
        "kind": "kpi", "id": id, "title": id, "owner": "ops", "source": SOURCE, "window": window,
        "by": dice.choice(([], ["k"])), "value": dice.choice(VALUES), "where": dice.choice((None, "v is null or v > 3")),
        "lateness": "1d", "early": dice.choice(("0s", "1s")), "measures": {"n": "count(v)"},
    }  # fmt: skip
    if "tumbling" in window and dice.random() < 0.4:
        definition["lateness"] = "5m"
    if "each" in window:
        definition |= {"value": "v * 2", "measures": {}, "lateness": "0s"}
    return {name: value for name, value in definition.items() if value is not None}


def _arrivals(dice: random.Random) -> list[Arrival]:
    found: list[Arrival] = []
    number = 0
    for partition in range(2):
        clock = 0.0
        for _ in range(dice.randint(2, 5)):
            values: list[bytes] = []
            for _ in range(dice.randint(1, 8)):
                clock = min(0.98, clock + dice.random() * 0.06)
                at = -int(BEFORE * (1 - max(0.0, clock - dice.random() * dice.choice((0.0, 0.1, 0.6)))))
                number += 1
                values.append(_event(dice, f"e{number}", at))
            at = dice.random() * FEEDING_SECONDS
            found.append(Arrival(at, dice.random() * 0.5, partition, tuple(values), dice.random() < 0.2))
    return sorted(found, key=lambda arrival: arrival.at)


def _event(dice: random.Random, id: str, at: int) -> bytes:
    """JSON; `at` is relative to the beginning. Few are malformed, or of a clock that runs ahead."""
    luck = dice.random()
    if luck < 0.03:
        return b"{no json"
    if luck < 0.05:
        at = 30 * 3_600_000
    key, value = dice.choice(KEYS), dice.choice((None, dice.randint(-5, 50)))
    name = "null" if key is None else f'"{key}"'
    return f'{{"id": "{id}", "at": {EPOCH_MS + at}, "k": {name}, "v": {"null" if value is None else value}}}'.encode()


def _strike(dice: random.Random) -> Strike:
    kind = dice.choices(("kill", "freeze", "error", "stop", "pause", "later"), (40, 20, 15, 15, 5, 10))[0]
    call = round(2 ** dice.uniform(0, 10.5))
    return Strike(call, kind, dice.choice((0.05, 1.0, 5.0, 14.0, 40.0)) * dice.uniform(0.5, 1.0))


EPOCH_MS = 1_741_500_000_000
"""The beginning in event time and in wall time: 2025-03-09 06:00 UTC."""
