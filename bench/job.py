"""The job that every contender does, and the answer it must give.

Events of many series over some partitions; event time runs `per_ms` events a millisecond, less up to 2 s of
disorder. Windows: tumbling by event time per series (count, sum, min, max). The last event of each series
lies a minute later and closes the last real window; its own window stays open and is not expected.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from libs.common.partitioning import partitions_for

T0 = 1_700_000_000_000 // 86_400_000 * 86_400_000
"""Event time of the first event, ms: a midnight, so that windows of every length begin there."""
DISORDER_MS = 2_000
LATENESS_MS = 5_000
FLUSH_AFTER_MS = 60_000
PARTITIONS = 4
AGGREGATES = ("count", "sum", "min", "max")


@dataclass(frozen=True)
class Events:
    """Events as columns, in the order in which they are written; `series` are indices."""

    series: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True)
class Job:
    """`events` events, and one more of each series that closes the last real window."""

    events: int = 500_000
    series: int = 1_000
    per_ms: float = 1.0
    """Events per millisecond of event time."""
    window_ms: int = 10_000
    seed: int = 7

    @cached_property
    def keys(self) -> list[bytes]:
        """The Kafka key of each series."""
        return [f"series-{number:04d}".encode() for number in range(self.series)]

    @cached_property
    def partitions(self) -> npt.NDArray[np.int64]:
        """The input partition of each series."""
        return np.array(partitions_for(self.keys, PARTITIONS))

    @cached_property
    def stream(self) -> Events:
        draw = np.random.default_rng(self.seed)
        drift = (np.arange(self.events) / self.per_ms).astype(np.int64)
        times = np.maximum(T0, T0 + drift - draw.integers(0, DISORDER_MS, self.events))
        flush = np.full(self.series, T0 + int(self.events / self.per_ms) + FLUSH_AFTER_MS)
        every = np.arange(self.series)
        return Events(
            np.concatenate([draw.integers(0, self.series, self.events), every]),
            np.concatenate([times, flush]),
            np.concatenate([np.round(draw.normal(100.0, 15.0, self.events), 4), np.zeros(self.series)]),
        )

    def expected(self) -> pl.DataFrame:
        """series, start and the aggregates of every closed window, recomputed from the columns by numpy."""
        stream = self.stream
        series, times = stream.series[: self.events], stream.times[: self.events]
        windows = (times - T0) // self.window_ms
        cells = series * (int(windows.max()) + 1) + windows
        order = np.argsort(cells, kind="stable")
        values, cells = stream.values[: self.events][order], cells[order]
        first = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
        return pl.DataFrame(
            {
                "series": [self.keys[index].decode() for index in series[order][first]],
                "start": T0 + windows[order][first] * self.window_ms,
                "count": np.diff(np.r_[first, len(cells)]),
                "sum": np.add.reduceat(values, first),
                "min": np.minimum.reduceat(values, first),
                "max": np.maximum.reduceat(values, first),
            }
        )


@lru_cache(maxsize=1)
def json_values(job: Job) -> list[bytes]:
    """The values of the job's records as JSON, 126 bytes each."""
    names = [key.decode() for key in job.keys]
    encode = msgspec.json.Encoder().encode
    common = {"metric": "conversion_rate", "dims": {"region": "eu", "channel": "web"}}
    stream = job.stream
    rows = zip(stream.series.tolist(), stream.times.tolist(), stream.values.tolist(), strict=True)
    return [
        encode({"series": names[series], "ts": time, "value": value, **common})
        for series, time, value in rows
    ]


@dataclass(frozen=True)
class Verdict:
    """How a run's output differs from the recompute, in windows."""

    expected: int
    missing: int
    extra: int
    wrong: int
    repeated: int
    """Published more than once as closed."""

    @property
    def exact(self) -> bool:
        return not (self.missing or self.extra or self.wrong)

    def __str__(self) -> str:
        if self.exact:
            return (
                f"exact ({self.expected:,} windows{f', {self.repeated:,} repeated' if self.repeated else ''})"
            )
        return f"WRONG: {self.missing:,} missing, {self.extra:,} extra, {self.wrong:,} wrong of {self.expected:,}"


def judge(expected: pl.DataFrame, got: pl.DataFrame) -> Verdict:
    """`got`: at least the columns of `expected`, in reading order.

    The last record of a window counts, as for a reader that upserts. Numbers may differ by 1e-9 of their size.
    """
    keys = [name for name in ("kpi", "series", "start") if name in expected.columns]
    last = got.unique(keys, keep="last", maintain_order=True)
    both = expected.join(last, on=keys, how="inner", suffix="_got")
    names = [name for name in expected.columns if name not in keys]
    close = pl.all_horizontal(
        ((pl.col(name) - pl.col(f"{name}_got")).abs() <= 1e-9 * pl.col(name).abs().clip(1.0)).fill_null(False)
        for name in names
    )
    return Verdict(
        expected=expected.height,
        missing=expected.height - both.height,
        extra=last.height - both.height,
        wrong=both.filter(~close).height,
        repeated=got.height - last.height,
    )
