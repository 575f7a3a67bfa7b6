"""The job of long sliding windows: 26 hours of events, each minute a window of the last 24 hours."""

import numpy as np
import polars as pl

from bench.contenders.sextant import WATERMARK_DELAY_MS
from bench.job import T0, Job

MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
HOURS = 26
EVENTS = 300_000
JOB = Job(events=EVENTS, series=20, per_ms=EVENTS / (HOURS * 60 * MINUTE_MS), window_ms=MINUTE_MS)


def expected() -> pl.DataFrame:
    """series, start, count and sum of every closed window of 24 hours, from sums over the minutes before."""
    stream, count = JOB.stream, JOB.events
    series, minutes = stream.series[:count], (stream.times[:count] - T0) // MINUTE_MS
    watermark = int(stream.times[-1]) - WATERMARK_DELAY_MS
    ends = np.arange(1, (watermark - T0) // MINUTE_MS + 1)
    shape = (JOB.series, len(ends) + 1)
    counts, sums = np.zeros(shape), np.zeros(shape)
    np.add.at(counts, (series, minutes + 1), 1)
    np.add.at(sums, (series, minutes + 1), stream.values[:count])
    counts, sums = counts.cumsum(axis=1), sums.cumsum(axis=1)
    begins = np.maximum(ends - DAY_MINUTES, 0)
    within, total = counts[:, ends] - counts[:, begins], sums[:, ends] - sums[:, begins]
    rows, columns = np.nonzero(within)
    return pl.DataFrame(
        {
            "series": [JOB.keys[row].decode() for row in rows.tolist()],
            "start": T0 + (ends[columns] - DAY_MINUTES) * MINUTE_MS,
            "count": within[rows, columns].astype(np.int64),
            "sum": total[rows, columns],
        }
    )
