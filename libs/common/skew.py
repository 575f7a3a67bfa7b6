"""Skew: how unevenly the partitions of a source are used, and what to do about it, in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.catalog import Source

ENOUGH = 100.0
"""Records, below which nothing is said."""
HOT = 1.5
"""A key is hot that alone is so many times what a partition would have if all had alike."""
UNEVEN = 2.0
"""Partitions are uneven where one has so many times the mean."""


SUGGESTED = 3
"""Fields that are named as candidates for the key, at most."""


@dataclass(frozen=True)
class Share:
    """What one partition has of a source's records and of their bytes, 0 to 1."""

    partition: int
    records: float
    bytes: float


@dataclass(frozen=True)
class HotKey:
    """A key as it may be shown (None: not at all), and its share of the records."""

    key: str | None
    share: float


def skew(shares: Sequence[float]) -> float | None:
    """The largest share over the mean: 1 where all have alike, their number where one has all. None of nothing."""
    total = sum(shares)
    return max(shares) * len(shares) / total if total else None


def advice(
    source: Source,
    records: float,
    shares: Sequence[Share],
    keys: Sequence[HotKey],
    distinct: int | None,
) -> list[str]:
    """What is to be done, the most weighty first; nothing if all is well or nothing is known.

    `records`: how many the figures rest on. `distinct`: keys that came, None if they are many.
    """
    count = len(shares)
    if records < ENOUGH:
        return [f"{records:.0f} records are too few to tell: at least {ENOUGH:.0f} are needed"]
    uneven = skew([each.records for each in shares]) or 1.0
    if count < 2 or source.keyed_by not in ("fields", "expression"):
        return []
    hot = [each for each in keys if each.share >= HOT / count]
    found = [_hot(each, _others(source)) for each in hot]
    empty = [each for each in shares if each.records == 0.0]
    if empty:
        few = "the key has too few values" if distinct is None else f"the key has {_keys(distinct)}"
        found.append(
            f"{len(empty)} of {count} partitions are empty: {few}; add a field to the key that has more, or key it by an"
            " expression over one"
        )
    elif uneven >= UNEVEN and not hot:
        found.append(
            f"the fullest partition has {uneven:.1f} times the mean, and no single key is the cause: several fall"
            " together; more partitions part them"
        )
    return found


def _hot(each: HotKey, others: Sequence[str]) -> str:
    if each.key == "":
        return (
            f"{each.share:.0%} of the records have an empty key, and all of them are in one partition: give them a key"
            " (coalesce with another field, in an expression), or none (random) if their order does not matter"
        )
    which = "a key that you may not see" if each.key is None else f"key {each.key}"
    more = f" ({' or '.join(others)})" if others else ""
    return (
        f"{which} carries {each.share:.0%} of the records: a partition cannot be split below one key; add a field"
        f"{more} to the key, or use random if their order does not matter"
    )


def _others(source: Source) -> list[str]:
    """Fields that might be added to the key; not what names an event, or its time: then every event has its own."""
    used = {*source.key_reads, source.event_id, source.event_time}
    plain = [field.name for field in source.fields if field.type in ("string", "int", "long")]
    return [name for name in plain if name not in used][:SUGGESTED]


def _keys(count: int) -> str:
    return "only one value" if count == 1 else f"only {count:,} values"
