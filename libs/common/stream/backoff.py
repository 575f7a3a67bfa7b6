"""Waiting longer after each failure, with jitter, so that many waiters do not come back together."""

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """Seconds to wait: doubling from `first` to `longest`, each between half and the whole of it."""

    first: float = 0.1
    longest: float = 10.0
    failures: int = 0

    def next(self) -> float:
        pause = min(self.longest, self.first * 2**self.failures)
        self.failures += 1
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.failures = 0
