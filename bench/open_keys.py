"""The job of many open keys: one event each in a window that stays open, while a few close the window before it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.contenders.sextant import WATERMARK_DELAY_MS
from bench.job import FLUSH_AFTER_MS, PARTITIONS, T0, Events, Job


@dataclass(frozen=True)
class OpenKeys(Job):
    """In order: `first` events of the first window, one of every series in the second (`opening` events in all), one
    per partition that closes the first window (`events` in all), and one per partition that closes the second."""

    first: int = 1_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", self.opening + PARTITIONS)

    @property
    def opening(self) -> int:
        return self.first + self.series

    @cached_property
    def stream(self) -> Events:
        draw = np.random.default_rng(self.seed)
        second = T0 + self.window_ms
        early = WATERMARK_DELAY_MS - 1
        one_each = np.array([np.flatnonzero(self.partitions == number)[0] for number in range(PARTITIONS)])
        series = np.r_[np.arange(self.first), np.arange(self.series), one_each, one_each]
        times = np.r_[
            draw.integers(T0, second, self.first),
            draw.integers(second, second + early, self.series),
            np.full(PARTITIONS, second + WATERMARK_DELAY_MS),
            np.full(PARTITIONS, second + FLUSH_AFTER_MS),
        ]
        return Events(series, times, np.round(draw.normal(100.0, 15.0, len(series)), 4))
