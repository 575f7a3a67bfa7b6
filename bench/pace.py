"""Events at an even pace, from a process of their own, and which of them closes which window."""

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from bench.broker import Records, producer, send
from bench.contenders import Closing
from bench.job import PARTITIONS, Job

STEPS_PER_SECOND = 100


async def paced(address: str, topic: str, records: Records, rate: int) -> npt.NDArray[np.float64]:
    """Write `rate` records a second; returns when each was handed to Kafka's client (monotonic seconds)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, _run, address, topic, records, rate)


def _run(address: str, topic: str, records: Records, rate: int) -> npt.NDArray[np.float64]:
    return asyncio.run(_pace(address, topic, records, rate))


async def _pace(address: str, topic: str, records: Records, rate: int) -> npt.NDArray[np.float64]:
    client = producer(address)
    await client.start()
    times = np.zeros(len(records))
    sent: list[asyncio.Future[Any]] = []
    step = rate // STEPS_PER_SECOND
    try:
        begin = time.monotonic()
        for first in range(0, len(records), step):
            await asyncio.sleep(max(0.0, begin + first / rate - time.monotonic()))
            times[first : first + step] = time.monotonic()
            sent += await send(client, topic, records[first : first + step])
        await asyncio.gather(*sent)
    finally:
        await client.stop()
    return times


def closers(job: Job, closing: Closing, delay_ms: int) -> pl.DataFrame:
    """series, start → `closer`: the index of the event with which a window could be closed, for all windows.

    That is the first event at or past end + delay of the series, of its partition, or of the partition that
    is the last to get there.
    """
    stream = job.stream
    groups = stream.series if closing == "key" else job.partitions[stream.series]
    starts = np.arange(stream.times.min(), stream.times[: job.events].max() + 1, job.window_ms)
    starts -= starts % job.window_ms
    reached = starts + job.window_ms + delay_ms
    count = job.series if closing == "key" else PARTITIONS
    found = np.empty((count, len(starts)), dtype=np.int64)
    for group in range(count):
        members = np.flatnonzero(groups == group)
        newest = np.maximum.accumulate(stream.times[members])
        found[group] = members[np.minimum(np.searchsorted(newest, reached), len(members) - 1)]
    if closing == "all":
        found[:] = found.max(axis=0)
    own = np.arange(job.series) if closing == "key" else job.partitions
    return pl.DataFrame(
        {
            "series": np.repeat([key.decode() for key in job.keys], len(starts)),
            "start": np.tile(starts, job.series),
            "closer": found[own].ravel(),
        }
    )
