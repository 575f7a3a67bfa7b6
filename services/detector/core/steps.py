"""What a step of the engine takes, and what it brings."""

from dataclasses import dataclass

import polars as pl

from services.detector.core.definitions import CompiledKpi

CLOSED = "closed"
"""Of late rows: windows that end up to then were closed when they came; None: they are in no window."""


@dataclass(frozen=True)
class Rows:
    """Partial rows of one input partition, for the KPIs named (`id@version`)."""

    kpis: tuple[str, ...]
    partition: int
    frame: pl.DataFrame


@dataclass(frozen=True)
class Mark:
    """The watermark of an input partition of a source, in ms; None: as before."""

    source: str
    partition: int
    at: int | None
    idle: bool


@dataclass(frozen=True)
class Announcement:
    """How far an input partition has been combined for one KPI.

    `live`: it takes part in the source's marks from now on. Until then it catches up, and has marks of its own.
    Of a KPI over others a merge partition is the input: it is live when it has brought what stood of them, and `at` is
    up to where it had closed their windows by then.
    """

    kpi: str
    partition: int
    at: int | None
    live: bool


@dataclass(frozen=True)
class Ready:
    """A merge partition has caught up with a version of a KPI (`id@version`)."""

    kpi: str
    partition: int


@dataclass(frozen=True)
class Emission:
    """What one step brought for one KPI."""

    compiled: CompiledKpi
    late: pl.DataFrame
    due: pl.DataFrame
    windows: pl.DataFrame
    """What `due` was made of; the same frame for all KPIs that share a state."""
    watermark: int | None
    marks: tuple[int | None, ...]
    """Of the input partitions."""
    moved: bool
    """The watermark is further than before."""
