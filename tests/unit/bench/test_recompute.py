"""The answers that benchmarks compare with, against plain Python, and that a wrong output is seen."""

from collections import defaultdict

import polars as pl
import pytest

from bench import sliding
from bench.contenders import Closing
from bench.job import LATENESS_MS, T0, Job, judge
from bench.open_keys import OpenKeys
from bench.pace import closers

JOB = Job(events=30_000, series=7)


def rows(job: Job) -> list[tuple[str, int, float]]:
    """(series, time, value) of the events that lie in windows that close."""
    stream = job.stream
    columns = zip(stream.series.tolist(), stream.times.tolist(), stream.values.tolist(), strict=True)
    return [(job.keys[series].decode(), at, value) for series, at, value in columns][: job.events]


@pytest.mark.parametrize("job", [JOB, OpenKeys(series=1_500)])
def test_the_expected_windows_are_those_of_a_loop_over_the_events(job: Job) -> None:
    windows: dict[tuple[str, int], list[float]] = defaultdict(list)
    for series, at, value in rows(job):
        windows[series, at - at % job.window_ms].append(value)
    looped = pl.DataFrame(
        [(*key, len(each), sum(each), min(each), max(each)) for key, each in windows.items()],
        schema=["series", "start", "count", "sum", "min", "max"],
        orient="row",
    )
    assert str(judge(job.expected(), looped)) == f"exact ({len(windows):,} windows)"


def test_the_expected_sliding_windows_are_those_of_a_loop_over_the_events() -> None:
    minute, day = sliding.MINUTE_MS, sliding.DAY_MINUTES * sliding.MINUTE_MS
    expected = sliding.expected()
    sample = expected.sample(50, seed=1)
    events = rows(sliding.JOB)
    for row in sample.iter_rows(named=True):
        start = row["start"]
        inside = [
            value for series, at, value in events if series == row["series"] and start <= at < start + day
        ]
        assert (row["count"], row["sum"]) == (len(inside), pytest.approx(sum(inside), rel=1e-9))
    assert expected["start"].min() == T0 + minute - day
    assert not expected.select("series", "start").is_duplicated().any()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda got: got.tail(-1), (1, 0, 0, 0)),
        (lambda got: got.with_columns(start=pl.col("start") + 1), (29, 29, 0, 0)),
        (lambda got: got.with_columns(sum=pl.col("sum") * (1 + 1e-8)), (0, 0, 29, 0)),
        (lambda got: got.with_columns(min=None), (0, 0, 29, 0)),
        (lambda got: pl.concat([got.with_columns(max=pl.lit(0.0)), got]), (0, 0, 0, 29)),
        (lambda got: pl.concat([got, got.with_columns(count=pl.col("count") + 1)]), (0, 0, 29, 29)),
    ],
    ids=["missing", "moved", "inexact", "null", "corrected", "spoilt"],
)
def test_an_output_that_differs_is_told_from_an_exact_one(change, found: tuple[int, ...]) -> None:  # pyright: ignore[reportMissingParameterType]
    expected = Job(events=30_000, series=10).expected().head(29)
    verdict = judge(expected, change(expected))
    assert (verdict.missing, verdict.extra, verdict.wrong, verdict.repeated) == found


@pytest.mark.parametrize("closing", ["key", "partition", "all"])
def test_a_window_can_be_closed_with_its_closing_event_and_not_without_it(closing: Closing) -> None:
    series, times = JOB.stream.series, JOB.stream.times

    def is_closed(own: int, end: int, events: int) -> bool:
        """Whether the first `events` events have brought every clock that counts past the window."""
        places = JOB.partitions[series[:events]]
        clocks = {
            "key": [series[:events] == own],
            "partition": [places == JOB.partitions[own]],
            "all": [places == each for each in set(JOB.partitions.tolist())],
        }[closing]
        return all((times[:events][clock] >= end + LATENESS_MS).any() for clock in clocks)

    found = closers(JOB, closing, LATENESS_MS)
    assert found.height == JOB.series * 3
    for row in found.iter_rows(named=True):
        own, end = JOB.keys.index(row["series"].encode()), row["start"] + JOB.window_ms
        assert is_closed(own, end, row["closer"] + 1)
        assert not is_closed(own, end, row["closer"])
