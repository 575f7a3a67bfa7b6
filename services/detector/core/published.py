"""What was published of the windows that still take events: the number of their last revision."""

import polars as pl

KEYS = ["series_key", "start"]
SCHEMA = {"series_key": pl.String, "start": pl.Int64, "stop": pl.Int64, "revision": pl.Int32}


class Published:
    """One row per window of a series. A window that is not here was never published."""

    def __init__(self) -> None:
        self.windows = pl.DataFrame(schema=SCHEMA)

    def next(self, due: pl.DataFrame) -> pl.DataFrame:
        """Adds `revision` to windows (series_key, start, stop ...) about to be published, and notes it."""
        if self.windows.is_empty():
            due = due.with_columns(pl.lit(1, dtype=pl.Int32).alias("revision"))
            self.windows = due.select(list(SCHEMA))
            return due
        due = due.join(self.windows.select(*KEYS, "revision"), on=KEYS, how="left")
        due = due.with_columns(pl.col("revision").fill_null(0) + 1)
        others = self.windows.join(due.select(KEYS), on=KEYS, how="anti")
        self.windows = pl.concat([others, due.select(list(SCHEMA))])
        return due

    def known(self, made: pl.DataFrame) -> pl.DataFrame:
        """Adds `revision` to windows as they were published last; without those that never were."""
        return made.join(self.windows.select(*KEYS, "revision"), on=KEYS)

    def final(self, emitted_to: int | None) -> pl.DataFrame:
        """Those that end by `emitted_to` (ms): they were published as final."""
        return (
            self.windows.clear() if emitted_to is None else self.windows.filter(pl.col("stop") <= emitted_to)
        )

    @property
    def newest(self) -> int | None:
        """End (ms) of the newest window that still takes events."""
        found = self.windows["stop"].max()
        return found if isinstance(found, int) else None

    def resume(self, windows: pl.DataFrame, emitted_to: int | None, lateness: int) -> None:
        """These were published, by another state; times in ms."""
        self.windows = windows.select(list(SCHEMA))
        if emitted_to is not None:
            self.forget(emitted_to - lateness)

    def forget(self, upto: int) -> None:
        """Forget the windows with stop <= upto."""
        oldest = self.windows["stop"].min()
        if isinstance(oldest, int) and oldest <= upto:
            self.windows = self.windows.filter(pl.col("stop") > upto)
