"""Partial rows: the aggregates of a series, pane and input partition, as they came and as they were merged."""

from collections.abc import Mapping

import polars as pl

from libs.common.expressions import Partial

ROWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "series_key": pl.String, "start": pl.Int64, "count": pl.Int64, "assessed": pl.Int64, "suspect": pl.Int64,
    "worst": pl.UInt8, "first": pl.Int64, "end": pl.Int64, "schema_ids": pl.List(pl.Int64), "partition": pl.Int32,
}  # fmt: skip
"""The columns of a partial row beside its KPI's states."""

OFFSETS = pl.List(pl.Struct({"partition": pl.Int32, "first": pl.Int64, "last": pl.Int64}))

MERGE_FROM = 8_192
"""Rows not yet merged that are not worth merging."""


States = Mapping[str, Partial]
"""The columns of a KPI's state, or of several, by name."""


def merging(states: States, rows: pl.DataFrame) -> list[pl.Expr]:
    """For a group-by over these partial rows: the partial row of all of them, but for its keys."""
    return [pl.col("first").min(), pl.col("end").max(), *_combined(states, rows)]


def _combined(states: States, rows: pl.DataFrame) -> list[pl.Expr]:
    return [
        pl.col("count", "assessed", "suspect").sum(),
        pl.col("worst").max(),
        _schema_ids(rows["schema_ids"]),
        *(partial.of_states() for partial in states.values()),
    ]


def _schema_ids(lists: pl.Series) -> pl.Expr:
    """The union. Nearly always all rows have the one same id: then it costs nothing, else more than all else."""
    ids = lists.explode()
    if len(lists) and len(ids) == len(lists) and not ids.null_count() and ids.min() == ids.max():
        return pl.lit([ids[0]], dtype=lists.dtype).first().alias("schema_ids")
    return pl.col("schema_ids").explode().unique().sort()


def merged(states: States, members: pl.DataFrame) -> pl.DataFrame:
    """The merged state of each window: partial rows grouped by `series_key` and `window`.

    Result: the keys, count, assessed, suspect, worst, schema_ids, offsets (a range per input partition), the states.
    """
    keys = ["series_key", "window"]
    parts = members.group_by(*keys, "partition").agg(merging(states, members)).sort("partition")
    span = pl.struct("partition", "first", pl.col("end").alias("last")).alias("offsets")
    found = parts.group_by(keys).agg(span, *_combined(states, parts))  # in the order of the partitions
    names = ["count", "assessed", "suspect", "worst", "schema_ids", "offsets"]
    return found.select(*keys, *names, *states)


class Rows:
    """Partial rows in two tiers: `merged`, one per series, pane and partition, and what came since.

    Merged anew whenever what came is half as much as what is there, so that a row is merged a few times in its
    life, however many batches come (O'Neil et al., The Log-Structured Merge-Tree, 1996).
    """

    def __init__(self, states: States) -> None:
        self.states = states
        schema = {**ROWS, **{name: partial.dtype for name, partial in states.items()}}
        self.merged = pl.DataFrame(schema=schema)
        self.fresh: list[pl.DataFrame] = []
        self.waiting = 0

    def only(self, states: States) -> "Rows":
        """The same with these states alone."""
        found = Rows(states)
        columns = found.merged.columns
        found.merged = self.merged.select(columns)
        found.fresh = [each.select(columns) for each in self.fresh]
        found.waiting = self.waiting
        return found

    def add(self, rows: pl.DataFrame) -> None:
        """Columns as in `merged`, in any order."""
        self.fresh.append(rows[self.merged.columns])  # sooner than `select`, which is a query
        self.waiting += rows.height
        if self.waiting > max(MERGE_FROM, self.merged.height // 2):
            self.merge()

    def merge(self) -> None:
        if self.fresh:
            rows = pl.concat([self.merged, *self.fresh])
            keys = ["series_key", "start", "partition"]
            self.merged = rows.group_by(keys).agg(merging(self.states, rows)).select(self.merged.columns)
            self.fresh, self.waiting = [], 0

    def where(self, condition: pl.Expr) -> pl.DataFrame:
        """The rows that satisfy a condition; several may be of one series, pane and partition."""
        self._gather()
        found = [each.filter(condition) for each in (self.merged, *self.fresh) if each.height]
        return pl.concat(found) if found else self.merged

    def keep(self, condition: pl.Expr) -> None:
        """Forget the others."""
        self._gather()
        if self.merged.height:
            self.merged = self.merged.filter(condition)
        self.fresh = [kept for each in self.fresh if (kept := each.filter(condition)).height]
        self.waiting = sum(each.height for each in self.fresh)

    def _gather(self) -> None:
        """Many small frames are looked through one by one: make them one."""
        if len(self.fresh) > 1:
            self.fresh = [pl.concat(self.fresh, rechunk=True)]

    @property
    def height(self) -> int:
        return self.merged.height + self.waiting

    @property
    def size(self) -> int:
        """Bytes."""
        return int(sum(each.estimated_size() for each in (self.merged, *self.fresh)))
