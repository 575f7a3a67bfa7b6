"""How fast a size grows: the slope of a straight line through the samples of the last hour (least squares).

State breathes: a window that closes gives its rows back. The slope over many windows tells growth from breathing, where
the difference of two samples would not; of windows longer than an hour it is what comes before the next one closes.
"""

from collections import deque
from dataclasses import dataclass, field

SPAN_SECONDS = 3600.0
ENOUGH_SECONDS = 300.0
"""Before samples span so long nothing is said."""


@dataclass
class Growth:
    """Samples of one size, by a monotonic time in seconds; at most an hour of them."""

    samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, size: float) -> None:
        self.samples.append((at, size))
        while self.samples[0][0] < at - SPAN_SECONDS:
            self.samples.popleft()

    @property
    def per_hour(self) -> float | None:
        """Units an hour; None while too little was seen."""
        if not self.samples or self.samples[-1][0] - self.samples[0][0] < ENOUGH_SECONDS:
            return None
        times, sizes = zip(*self.samples, strict=True)
        middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
        spread = sum((at - middle) ** 2 for at in times)
        return sum((at - middle) * (size - mean) for at, size in self.samples) / spread * SPAN_SECONDS
