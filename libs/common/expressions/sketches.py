"""Sketches as polars expressions: small states that merge, for what has no small exact state.

Both are sets or sums over buckets that depend on the values alone, so their states are equal whatever the order,
batching and merge tree, live and in replay.
"""

import math

import polars as pl
import polars_hash as _  # noqa: F401  (gives expressions the namespace nchash)

from libs.common.expressions.typed import Typed

REGISTERS = 4096
DISTINCT_ERROR = 1.04 / math.sqrt(REGISTERS)
"""Standard error of a distinct count, relative: 1.6 %."""
QUANTILE_ERROR = 0.01
"""Greatest error of a quantile, relative to the value at its rank."""

_GAMMA = (1 + QUANTILE_ERROR) / (1 - QUANTILE_ERROR)
_SHIFT = 40_000
"""Beyond the logarithm of the smallest double, so that buckets of positive numbers are positive."""


def _last_of_runs(ordered: pl.Expr) -> pl.Expr:
    """Where the next one differs."""
    return (ordered != ordered.shift(-1)).fill_null(True)


def coupons(argument: Typed) -> pl.Expr:
    """Per value: register * 64 + rank of its hash's first one bit (Flajolet et al., HyperLogLog, 2007)."""
    column = argument.expression
    if argument.type == "double":
        column = pl.when(column == 0).then(0.0).otherwise(column)  # -0.0 is 0.0
    elif argument.type not in ("string", "null"):
        column = column.cast(pl.Int64)
    hashed = column.cast(pl.String).nchash.xxh3_64()  # pyright: ignore[reportAttributeAccessIssue]
    rank = (hashed // REGISTERS).bitwise_leading_zeros().cast(pl.Int32) - 11
    found = (hashed % REGISTERS).cast(pl.Int32) * 64 + rank
    return pl.when(column.is_not_null()).then(found)


def highest(found: pl.Expr) -> pl.Expr:
    """Of a group's coupons, the highest of each register, in order."""
    ordered = found.drop_nulls().unique().sort()
    return ordered.filter(_last_of_runs(ordered // 64))


def distinct(state: pl.Expr) -> pl.Expr:
    """The estimate (Ertl, New cardinality estimation algorithms for HyperLogLog sketches, 2017, algorithm 6)."""
    occupied = state.list.len().cast(pl.Float64)
    weights = state.list.eval(pl.lit(0.5).pow(pl.element() % 64)).list.sum()
    free = 1.0 - occupied / REGISTERS
    empty = free + pl.sum_horizontal(free.pow(2.0**step) * 2.0 ** (step - 1) for step in range(1, 24))
    estimate = REGISTERS**2 / (2 * math.log(2)) / (REGISTERS * empty + weights)
    return pl.when(occupied > 0).then(estimate.round()).otherwise(0).cast(pl.Int64)


def bucket(number: pl.Expr) -> pl.Expr:
    """The logarithmic bucket of a double (Masson, Rim, Lee: DDSketch, VLDB 2019); in the order of the numbers."""
    size = (number.abs().log() / math.log(_GAMMA)).ceil() + _SHIFT
    return pl.when(number == 0).then(0.0).otherwise(size * number.sign()).cast(pl.Int32)


def buckets(found: pl.Expr) -> pl.Expr:
    """Of a group's buckets: each one once, in order."""
    return found.drop_nulls().sort().unique(maintain_order=True)


def counts(found: pl.Expr) -> pl.Expr:
    """Of a group's buckets: how often each one occurs, in the order of `buckets`."""
    return found.drop_nulls().sort().unique_counts().cast(pl.Int64)


def summed(found: pl.Expr, numbers: pl.Expr) -> pl.Expr:
    """Of a group of states: the counts of each bucket together, in the order of `buckets`."""
    ordered = found.explode().drop_nulls().sort()
    running = numbers.explode().drop_nulls().sort_by(found.explode().drop_nulls()).cum_sum()
    totals = running.filter(_last_of_runs(ordered))
    return totals - totals.shift(1).fill_null(0)


def quantile(found: pl.Expr, numbers: pl.Expr, share: float) -> pl.Expr:
    """The value at rank floor(share * (n - 1)), counted from 0, to a relative error of QUANTILE_ERROR."""
    rank = (numbers.list.sum() - 1).cast(pl.Float64) * share
    running = numbers.list.eval(pl.element().cum_sum())
    below = (running - rank.floor().cast(pl.Int64)).list.eval((pl.element() <= 0).cast(pl.UInt32)).list.sum()
    chosen = found.list.get(below, null_on_oob=True).cast(pl.Float64)
    size = ((chosen.abs() - _SHIFT) * math.log(_GAMMA)).exp() * 2 / (_GAMMA + 1)
    return pl.when(chosen == 0).then(0.0).otherwise(size * chosen.sign())
