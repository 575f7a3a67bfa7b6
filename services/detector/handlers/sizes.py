"""The size of each KPI's state, sampled: metrics, and how fast it grows."""

import asyncio
from collections import Counter

from libs.common import clock, telemetry
from services.detector.core.definitions import of
from services.detector.core.growth import Growth
from services.detector.handlers.merge import Merge

SAMPLE_SECONDS = 15.0


class Sizes:
    """One of the detector's loops. Speaks of the merge partitions that this process has."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        self.growths: dict[tuple[str, int], Growth] = {}
        """(KPI `id@version`, merge partition) → samples of its bytes."""
        self.shown: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self.sample(clock.monotonic())
            try:
                await asyncio.wait_for(stopping.wait(), SAMPLE_SECONDS)
            except TimeoutError:
                continue

    def sample(self, now: float) -> None:
        """Take the sizes of now (monotonic seconds) in, and show them as metrics."""
        sizes, rows, windows = Counter[str](), Counter[str](), Counter[str]()
        seen: set[tuple[str, int]] = set()
        for number, partition in self.merge.partitions.items():
            for name, state in partition.engine.states.items():
                seen.add((name, number))
                self.growths.setdefault((name, number), Growth()).add(now, state.size)
                sizes[of(name)] += state.size
                rows[of(name)] += state.rows
                windows[of(name)] += state.open_windows
        self.growths = {place: each for place, each in self.growths.items() if place in seen}
        for kpi in sizes:
            telemetry.STATE_BYTES.labels(kpi).set(sizes[kpi])
            telemetry.STATE_ROWS.labels(kpi).set(rows[kpi])
            telemetry.OPEN_WINDOWS.labels(kpi).set(windows[kpi])
        for kpi in self.shown - sizes.keys():
            for gauge in (telemetry.STATE_BYTES, telemetry.STATE_ROWS, telemetry.OPEN_WINDOWS):
                gauge.remove(kpi)
        self.shown = set(sizes)

    def per_hour(self, name: str, number: int) -> float | None:
        """Bytes an hour that the state of a KPI (`id@version`) grows by in a merge partition; None: not known yet."""
        growth = self.growths.get((name, number))
        return None if growth is None else growth.per_hour
