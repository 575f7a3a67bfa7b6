"""The aggregates. A new one is one class and one entry of AGGREGATES: the compiler, the SQL and the tests follow.

Each says what states it keeps, how they are made from events and merged, and what they come to. States are columns
with canonical names, `sum(dep_delay)` or `count(*)`, so that whoever needs the same state shares the column. All of
them skip NULL; `FILTER (WHERE …)` makes the argument NULL where the condition is not true.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import polars as pl
from sqlglot import expressions as exp

from libs.common.expressions import sketches
from libs.common.expressions.typed import DTYPES, NUMBERS, Typed, fault, finite

DataType = pl.DataType | type[pl.DataType]

TIME, PARTITION, OFFSET = "__time", "__partition", "__offset"
"""Columns that FIRST and LAST need of events: event time (ms), Kafka partition and offset."""

OFFSETS = 2**48
"""More than a partition has: partition * OFFSETS + offset is a position in the topic."""

EACH = pl.len()
"""The argument of COUNT(*)."""

LARGEST = 1e150
"""Variances take numbers of at most this size: the squares of larger ones are infinite."""


@dataclass(frozen=True)
class Partial:
    """One column of an aggregate's state: how it is made from events, and merged."""

    name: str
    dtype: DataType
    events: pl.Expr
    """For a group-by over events."""
    states: pl.Expr
    """For a group-by over states; reads the columns of the aggregate's whole state."""

    def of_events(self) -> pl.Expr:
        return self._typed(self.events)

    def of_states(self) -> pl.Expr:
        return self._typed(self.states)

    def _typed(self, column: pl.Expr) -> pl.Expr:
        lists = isinstance(self.dtype, pl.List)
        return (column.implode() if lists else column.cast(self.dtype)).alias(self.name)


@dataclass(frozen=True)
class Argument:
    """What is aggregated: the compiled expression, NULL where a FILTER leaves the event out."""

    text: str
    """Canonical: `dep_delay`, with ` FILTER (WHERE …)` behind the name's closing bracket as `filter`."""
    filter: str
    typed: Typed

    def name(self, function: str) -> str:
        return f"{function}({self.text}){self.filter}"

    @property
    def values(self) -> pl.Expr:
        """Infinite and NaN results count as NULL; whole numbers are Int64."""
        if self.typed.type == "double":
            return finite(self.typed.expression.cast(pl.Float64))
        return self.typed.expression.cast(DTYPES[self.typed.type])


@dataclass(frozen=True)
class Aggregated:
    """An aggregate of one argument: its states, and what they come to (over merged states)."""

    states: tuple[Partial, ...]
    result: Typed


class Aggregate(ABC):
    """One aggregate function, or several over the same state."""

    nodes: ClassVar[tuple[type[exp.Expr], ...]]
    takes: ClassVar[tuple[str, ...]] = NUMBERS
    forms: ClassVar[tuple[str, ...]]
    """Each function over a field x, as people write it; the shared suite tests them."""
    error: ClassVar[float] = 0.0
    """Relative error of the result; 0: exact, sums of doubles to rounding."""
    ordered: ClassVar[bool] = False
    """Needs TIME, PARTITION and OFFSET beside the fields."""

    @abstractmethod
    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        """DefinitionError if a parameter is wrong; the argument's type has been checked."""

    @abstractmethod
    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        """The same in DuckDB's SQL, over rows; of a sketch, exactly what it estimates."""


def _count(argument: Argument) -> Partial:
    name = argument.name("count")
    found = EACH if argument.typed.expression is EACH else argument.values.count()
    return Partial(name, pl.Int64, found, pl.col(name).sum())


def _null_when_empty(column: pl.Expr, total: pl.Expr) -> pl.Expr:
    """SQL's SUM of no values is NULL, polars' is 0."""
    return pl.when(column.count() > 0).then(total)


def _sums(argument: Argument) -> tuple[tuple[Partial, ...], pl.Expr]:
    """States, and the exact sum of whole numbers as Int128, or that of doubles.

    64-bit numbers are summed in two halves, so that no order of merging overflows on the way.
    """

    def column(name: str, values: pl.Expr, dtype: DataType) -> Partial:
        state = pl.col(name)
        return Partial(
            name, dtype, _null_when_empty(values, values.sum()), _null_when_empty(state, state.sum())
        )

    name, values = argument.name("sum"), argument.values
    if argument.typed.type == "long":
        half = 2**32
        low = column(f"{name}:low", values % half, pl.Int64)
        high = column(f"{name}:high", values // half, pl.Int64)
        total = pl.col(high.name).cast(pl.Int128) * half + pl.col(low.name).cast(pl.Int128)
        return (low, high), total
    state = column(name, values, DTYPES[argument.typed.type])
    return (state,), pl.col(name)


class Count(Aggregate):
    """COUNT(*), COUNT(x)."""

    nodes, forms, takes = (exp.Count,), ("count(x)",), tuple(DTYPES)

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        state = _count(argument)
        return Aggregated((state,), Typed(pl.col(state.name), "long"))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        return f"count({argument})"


class Sum(Aggregate):
    """SUM: of whole numbers exact, NULL beyond 64 bits."""

    nodes, forms = (exp.Sum,), ("sum(x)",)

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        states, total = _sums(argument)
        if argument.typed.type == "double":
            return Aggregated(states, Typed(total, "double"))
        return Aggregated(states, Typed(total.cast(pl.Int64, strict=False), "long"))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        return f"sum({argument})" if kind == "double" else f"TRY_CAST(sum({argument}) AS BIGINT)"


class Avg(Aggregate):
    """AVG: the sum over the count, as a double."""

    nodes, forms = (exp.Avg,), ("avg(x)",)

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        (states, total), count = _sums(argument), _count(argument)
        return Aggregated((*states, count), Typed(total.cast(pl.Float64) / pl.col(count.name), "double"))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        return f"(CAST(sum({argument}) AS DOUBLE) / nullif(count({argument}), 0))"


class Extremes(Aggregate):
    """MIN, MAX: of everything that has an order."""

    nodes, forms = (exp.Min, exp.Max), ("min(x)", "max(x)")
    takes = (*NUMBERS, "string", "timestamp", "date")

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        function = "min" if isinstance(node, exp.Min) else "max"
        pick = pl.Expr.min if isinstance(node, exp.Min) else pl.Expr.max
        name, kind = argument.name(function), argument.typed.type
        state = Partial(name, DTYPES[kind], pick(argument.values), pick(pl.col(name)))
        return Aggregated((state,), Typed(pl.col(name), kind))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        return f"{'min' if isinstance(node, exp.Min) else 'max'}({argument})"


class Variances(Aggregate):
    """VAR_SAMP, VAR_POP, STDDEV_SAMP, STDDEV_POP, by count, mean and sum of squared deviations.

    Merged as in Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances (1979).
    """

    nodes = (exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevSamp, exp.StddevPop)
    forms = ("var_samp(x)", "var_pop(x)", "stddev_samp(x)", "stddev_pop(x)")

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        number = argument.values.cast(pl.Float64)
        values = pl.when(number.abs() <= LARGEST).then(number)
        names = [argument.name(f"var_{part}") for part in ("count", "mean", "m2")]
        count, mean, m2 = (pl.col(name) for name in names)
        middle = (count * mean).sum() / count.sum()
        apart = mean - middle
        states = (
            Partial(names[0], pl.Int64, values.count(), count.sum()),
            Partial(names[1], pl.Float64, values.mean(), pl.when(count.sum() > 0).then(middle)),
            Partial(
                names[2], pl.Float64, _null_when_empty(values, values.var(ddof=0) * values.count()),
                _null_when_empty(m2, m2.sum() + (count * apart * apart).sum()),
            ),
        )  # fmt: skip
        population = isinstance(node, exp.VariancePop | exp.StddevPop)
        degrees = count if population else count - 1
        variance = pl.when(degrees > 0).then(m2 / degrees)
        if isinstance(node, exp.Stddev | exp.StddevSamp | exp.StddevPop):
            variance = variance.sqrt()
        return Aggregated(states, Typed(variance, "double"))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        root = isinstance(node, exp.Stddev | exp.StddevSamp | exp.StddevPop)
        population = isinstance(node, exp.VariancePop | exp.StddevPop)
        name = f"{'stddev' if root else 'var'}_{'pop' if population else 'samp'}"
        number = f"CAST({argument} AS DOUBLE)"
        return f"{name}(CASE WHEN abs({number}) <= {LARGEST} THEN {number} END)"


class Ends(Aggregate):
    """FIRST, LAST: the value of the earliest or latest event that has one; of equal times by partition, then offset."""

    nodes, forms = (exp.First, exp.Last, exp.FirstValue, exp.LastValue), ("first(x)", "last(x)")
    takes, ordered = tuple(DTYPES), True

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        last = isinstance(node, exp.Last | exp.LastValue)
        name, kind = argument.name("last" if last else "first"), argument.typed.type
        pick = pl.Expr.max_by if last else pl.Expr.min_by

        def states_of(value: pl.Expr, time: pl.Expr, position: pl.Expr) -> list[pl.Expr]:
            order = pl.when(value.is_not_null()).then(time.cast(pl.Int128) * 2**64 + position)
            return [pick(each, order) for each in (value, time, position)]

        names = [name, f"{name}:time", f"{name}:position"]
        position = pl.col(PARTITION).cast(pl.Int64) * OFFSETS + pl.col(OFFSET)
        made = states_of(argument.values, pl.col(TIME), position)
        merged = states_of(*(pl.col(each) for each in names))
        dtypes = (DTYPES[kind], pl.Int64, pl.Int64)
        states = tuple(map(Partial, names, dtypes, made, merged))
        return Aggregated(states, Typed(pl.col(name), kind))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        function = "arg_max" if isinstance(node, exp.Last | exp.LastValue) else "arg_min"
        return f'{function}({argument}, row("{TIME}", "{PARTITION}", "{OFFSET}"))'


class Distinct(Aggregate):
    """APPROX_COUNT_DISTINCT: HyperLogLog of 4,096 registers, kept sparse; standard error 1.6 %."""

    nodes, forms, takes = (exp.ApproxDistinct,), ("approx_count_distinct(x)",), tuple(DTYPES)
    error = sketches.DISTINCT_ERROR

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        name = argument.name("approx_count_distinct")
        found = sketches.coupons(Typed(argument.values, argument.typed.type))
        state = Partial(
            name, pl.List(pl.Int32), sketches.highest(found), sketches.highest(pl.col(name).explode())
        )
        return Aggregated((state,), Typed(sketches.distinct(pl.col(name)), "long"))

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        return f"count(DISTINCT {argument})"


class Quantile(Aggregate):
    """APPROX_QUANTILE(x, q): the value at rank floor(q (n - 1)) by DDSketch; relative error at most 1 %."""

    nodes, forms = (exp.ApproxQuantile,), ("approx_quantile(x, 0.5)", "approx_quantile(x, 0.95)")
    error = sketches.QUANTILE_ERROR

    def over(self, node: exp.Expr, argument: Argument) -> Aggregated:
        name = argument.name("approx_quantile")
        places, numbers = f"{name}:buckets", f"{name}:counts"
        found = sketches.bucket(argument.values.cast(pl.Float64))
        states = (
            Partial(
                places, pl.List(pl.Int32), sketches.buckets(found), sketches.buckets(pl.col(places).explode())
            ),
            Partial(
                numbers,
                pl.List(pl.Int64),
                sketches.counts(found),
                sketches.summed(pl.col(places), pl.col(numbers)),
            ),
        )
        share = self._share(node)
        return Aggregated(states, Typed(sketches.quantile(pl.col(places), pl.col(numbers), share), "double"))

    def _share(self, node: exp.Expr) -> float:
        share = node.args.get("quantile")
        if not (isinstance(share, exp.Literal) and not share.is_string and 0 <= float(share.this) <= 1):
            raise fault(
                node, "the quantile is a literal from 0 to 1, such as approx_quantile(x, 0.95)", "literal"
            )
        return float(share.this)

    def duckdb(self, node: exp.Expr, kind: str, argument: str) -> str:
        ordered = f"list_sort(list(CAST({argument} AS DOUBLE)) FILTER (WHERE {argument} IS NOT NULL))"
        return f"{ordered}[CAST(floor({self._share(node)} * (count({argument}) - 1)) AS BIGINT) + 1]"


AGGREGATES: tuple[Aggregate, ...] = (
    Count(), Sum(), Avg(), Extremes(), Variances(), Ends(), Distinct(), Quantile(),
)  # fmt: skip
