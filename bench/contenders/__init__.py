"""Who runs the job: Sextant's detector, and the peers it is measured beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from bench.broker import Records
from bench.job import Job

Closing = Literal["key", "partition", "all"]
"""Whose event time closes a window: its series', its partition's, or that of all partitions."""


class Missing(Exception):
    """This contender cannot be had here; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where one run happens: servers, names of its own, a folder for state and logs."""

    addresses: Mapping[str, str]
    prefix: str
    folder: Path
    commit_ms: int

    @property
    def bootstrap(self) -> str:
        return self.addresses["SEXTANT_KAFKA"]

    @property
    def input(self) -> str:
        return f"{self.prefix}events.readings"

    @property
    def ready(self) -> Path:
        """A contender that is no member of a consumer group makes this file when it can take events."""
        return self.folder / "ready"


@dataclass(frozen=True)
class Command:
    """A process to start."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Program(Protocol):
    """Something that can be started for a run."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def prepare(self) -> None:
        """Fetch and build it, once; raises Missing."""
        ...

    async def arrange(self, place: Place) -> None:
        """Make the topics of a run, and whatever says what the job is."""
        ...

    def commands(self, place: Place) -> list[Command]:
        """What to start; started again with the same place it goes on where it was."""
        ...


class Contender(Program, Protocol):
    """One engine with the job."""

    @property
    def closing(self) -> Closing: ...

    @property
    def delay_ms(self) -> int:
        """How far event time must be past a window's end for it to close."""
        ...

    def records(self, job: Job) -> Records:
        """The job's records as this contender reads them."""
        ...

    def output(self, place: Place) -> str:
        """The topic of its results."""
        ...

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """Closed windows: index (place in `values`), series, start (ms) and the aggregates it publishes."""
        ...
