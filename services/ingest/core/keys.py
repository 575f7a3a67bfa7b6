"""What chooses the partition of an event: keys that are worked out, and the partitions of events without one. Pure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import polars as pl
from msgspec.structs import replace

from libs.common.catalog import KeyExpression, Source
from libs.common.expressions import derived
from libs.common.expressions.typed import DTYPES
from libs.common.partitioning import partitions_for
from services.ingest.core.records import Bad, Good

STICKY_BYTES = 1_000_000
"""As they were written. A partition gets so many before the next has its turn, …"""
STICKY_MS = 1_000
"""… or those of so long: no longer, for windows wait for every partition that is not idle."""

Place = Callable[[Sequence[Any]], Sequence[int]]
"""The partitions of records, by their keys (bytes, or None)."""


class Keys:
    """The keys of a source whose key is an expression."""

    def __init__(self, source: Source, key: KeyExpression) -> None:
        self.places = {
            name: source.fields.index(field)
            for field in source.fields
            if (name := field.name) in source.key_reads
        }
        self.types = {name: DTYPES[source.field_types[name]] for name in self.places}
        self.expression = derived(key.expression, source.field_types).expression.alias("key")

    def all(self, records: Sequence[Good | Bad]) -> list[Good | Bad]:
        """The records, the good ones with their keys: the text of what the expression gives, of NULL none of it (b"")."""
        goods = [record for record in records if isinstance(record, Good)]
        columns = {
            name: pl.Series(name, [record.values[place] for record in goods], dtype=self.types[name])
            for name, place in self.places.items()
        }
        found = pl.DataFrame(columns).select(self.expression)["key"].to_list() if goods else []
        keys = iter(b"" if value is None else str(value).encode() for value in found)
        return [replace(record, key=next(keys)) if isinstance(record, Good) else record for record in records]


class ByKey:
    """The same key, the same partition: as every Kafka client chooses it."""

    def __init__(self, partitions: int) -> None:
        self.place: Place = partial(partitions_for, count=partitions)

    def begin(self, now: int) -> Place:
        """Where the records of a transaction go, which begins at `now` (ms)."""
        return self.place

    def wrote(self, size: int) -> None:
        """So many bytes were written in it."""


class RoundRobin:
    """One record after the other to the next partition."""

    def __init__(self, partitions: int) -> None:
        self.partitions, self.turn = partitions, 0

    def begin(self, now: int) -> Place:
        return self._next

    def _next(self, keys: Sequence[Any]) -> list[int]:
        first, self.turn = self.turn, (self.turn + len(keys)) % self.partitions
        return [(first + place) % self.partitions for place in range(len(keys))]

    def wrote(self, size: int) -> None:
        """Makes no difference."""


class Sticky:
    """Whole transactions to one partition, which changes by bytes or time: larger batches for whoever reads them
    (KIP-480). The next one comes by turn, so that all get alike (KIP-794: not by which broker is slow)."""

    def __init__(self, partitions: int) -> None:
        self.partitions, self.turn, self.size = partitions, 0, 0
        self.since: int | None = None

    def begin(self, now: int) -> Place:
        if self.since is None or self.size >= STICKY_BYTES or now - self.since >= STICKY_MS:
            self.turn, self.size, self.since = (self.turn + 1) % self.partitions, 0, now
        turn = self.turn
        return lambda keys: [turn] * len(keys)

    def wrote(self, size: int) -> None:
        self.size += size


Placing = ByKey | RoundRobin | Sticky


def placing(source: Source, partitions: int) -> Placing:
    """How the events of a source are put on its partitions."""
    match source.keyed_by:
        case "random":
            return RoundRobin(partitions)
        case "sticky":
            return Sticky(partitions)
        case _:
            return ByKey(partitions)
