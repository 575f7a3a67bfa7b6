"""The expression language of definitions: SQL, parsed by sqlglot, checked against fields, run by polars.

Scalars: literals, fields, + - * / %, comparisons, AND OR NOT, IN, BETWEEN, LIKE, IS NULL, CASE, COALESCE,
ABS, ROUND, FLOOR, CEIL, LOWER, UPPER, CAST. Aggregates: COUNT(*), COUNT(x), SUM, AVG, MIN, MAX, and
arithmetic over them. Semantics are SQL's: three-valued logic, aggregates skip NULL, the SUM of nothing is
NULL. `/` is always floating point and x / 0 is NULL (where engines differ, `sql()` writes NULLIF so that
they agree). No text is ever evaluated as Python.

An aggregate has a partial state that merges: `partials()` makes it from events, `merge()` from states,
`final()` turns it into the value. Merging in any grouping gives the same value (sums of doubles to rounding).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import polars as pl
import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from libs.common.errors import DefinitionError
from libs.common.scalars import ScalarCompiler, Typed

FieldTypes = Mapping[str, str]
"""Field name → type, one of string int long double boolean timestamp date."""

_AGGREGATES: dict[type[exp.Expr], str] = {
    exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg", exp.Min: "min", exp.Max: "max",
}  # fmt: skip


@dataclass(frozen=True)
class Predicate:
    """A condition on one event."""

    text: str
    columns: frozenset[str]
    expression: pl.Expr
    """Boolean, null where SQL says UNKNOWN."""
    tree: exp.Expr

    def polars(self) -> pl.Expr:
        return self.expression

    def sql(self, dialect: str = "duckdb") -> str:
        return _safe_division(self.tree).sql(dialect=dialect)


@dataclass(frozen=True)
class Partial:
    """One column of an aggregate's state: how it is made from events, and merged."""

    name: str
    kind: str
    """count · sum · min · max: the merge of a count is a sum."""
    argument: pl.Expr | None
    """None for COUNT(*)."""
    dtype: type[pl.DataType]

    def of_events(self) -> pl.Expr:
        if self.argument is None:
            return pl.len().cast(pl.Int64).alias(self.name)
        if self.kind == "count":
            return self.argument.count().cast(pl.Int64).alias(self.name)
        argument = self.argument.cast(self.dtype)
        if self.kind == "sum":
            return _null_when_empty(argument, argument.sum()).alias(self.name)
        return (argument.min() if self.kind == "min" else argument.max()).alias(self.name)

    def of_states(self) -> pl.Expr:
        state = pl.col(self.name)
        if self.kind == "count":
            return state.sum()
        if self.kind == "sum":
            return _null_when_empty(state, state.sum()).alias(self.name)
        return state.min() if self.kind == "min" else state.max()


def _null_when_empty(column: pl.Expr, total: pl.Expr) -> pl.Expr:
    """SQL's SUM of no values is NULL, polars' is 0."""
    return pl.when(column.count() > 0).then(total)


@dataclass(frozen=True)
class Value:
    """An aggregate value over the events of a window."""

    text: str
    columns: frozenset[str]
    states: tuple[Partial, ...]
    result: pl.Expr
    tree: exp.Expr

    def partials(self) -> list[pl.Expr]:
        """For a group-by over events: the state."""
        return [state.of_events() for state in self.states]

    def merge(self) -> list[pl.Expr]:
        """For a group-by over states: the state of all of them."""
        return [state.of_states() for state in self.states]

    def final(self) -> pl.Expr:
        """Over states: the value, Float64; null where SQL says NULL or the result is no finite number."""
        return self.result

    def schema(self) -> dict[str, type[pl.DataType]]:
        """The state's columns and types."""
        return {state.name: state.dtype for state in self.states}

    def sql(self, dialect: str = "duckdb") -> str:
        """For SELECT … GROUP BY."""
        return _safe_division(self.tree).sql(dialect=dialect)


def predicate(sql: str, fields: FieldTypes) -> Predicate:
    """A condition over `fields`; DefinitionError if it does not parse, type-check or decide."""
    tree = _parse(sql)
    if aggregate := tree.find(exp.AggFunc):
        raise DefinitionError("", f"{aggregate.sql()} aggregates: a condition looks at one event", "scalar")
    compiled = ScalarCompiler(fields).compile(tree)
    if compiled.type not in ("boolean", "null"):
        raise DefinitionError("", f"{sql} is {compiled.type}, not a condition", "boolean")
    return Predicate(sql, _columns(tree), compiled.expression, tree)


def value(sql: str, fields: FieldTypes) -> Value:
    """An aggregate over `fields`; DefinitionError if it does not parse, type-check or aggregate."""
    tree = _parse(sql)
    compiler = _AggregateCompiler(fields)
    compiled = compiler.compile(tree)
    if not compiler.states:
        raise DefinitionError("", f"{sql} aggregates nothing: use count, sum, avg, min or max", "aggregate")
    if compiled.type not in ("int", "long", "double"):
        raise DefinitionError("", f"{sql} is {compiled.type}, not a number", "number")
    number = compiled.expression.cast(pl.Float64)
    result = pl.when(number.is_finite()).then(number)
    return Value(sql, _columns(tree), tuple(compiler.states.values()), result, tree)


class _AggregateCompiler(ScalarCompiler):
    """Arithmetic over aggregates: each aggregate becomes an expression over its state's columns."""

    def __init__(self, fields: FieldTypes) -> None:
        super().__init__(fields)
        self.states: dict[tuple[str, str], Partial] = {}

    def compile(self, node: exp.Expr) -> Typed:
        for kind, name in _AGGREGATES.items():
            if isinstance(node, kind):
                return self._aggregate(name, node)
        if isinstance(node, exp.AggFunc):
            allowed = ", ".join(_AGGREGATES.values())
            raise DefinitionError("", f"{node.sql()}: the aggregates are {allowed}", "known aggregate")
        if isinstance(node, exp.Column):
            raise DefinitionError("", f"{node.sql()} stands outside an aggregate", "aggregate")
        return super().compile(node)

    def _aggregate(self, name: str, node: exp.Expr) -> Typed:
        inside = cast(exp.Expr, node.this)
        if isinstance(inside, exp.Star):
            return Typed(self._state("count", "*", None, pl.Int64), "long")
        if isinstance(inside, exp.Distinct) or node.args.get("expressions"):
            raise DefinitionError(
                "", f"{node.sql()}: DISTINCT has no state that merges exactly", "known aggregate"
            )
        if nested := inside.find(exp.AggFunc):
            raise DefinitionError("", f"{nested.sql()} is an aggregate within an aggregate", "no nesting")
        argument = ScalarCompiler(self.fields).compile(inside)
        text = inside.sql()
        if name == "count":
            return Typed(self._state("count", text, argument.expression, pl.Int64), "long")
        if argument.type not in ("int", "long", "double"):
            raise DefinitionError("", f"{node.sql()}: {text} is {argument.type}, not a number", "number")
        dtype = pl.Float64 if argument.type == "double" else pl.Int64
        if name == "avg":
            total = self._state("sum", text, argument.expression, dtype)
            count = self._state("count", text, argument.expression, pl.Int64)
            return Typed(total.cast(pl.Float64) / count, "double")
        result = "double" if dtype is pl.Float64 else "long"
        return Typed(self._state(name, text, argument.expression, dtype), result)

    def _state(self, kind: str, text: str, argument: pl.Expr | None, dtype: type[pl.DataType]) -> pl.Expr:
        """The column of a state; the same aggregate twice is one column."""
        partial = self.states.get((kind, text))
        if partial is None:
            partial = Partial(f"state_{len(self.states)}", kind, argument, dtype)
            self.states[kind, text] = partial
        return pl.col(partial.name)


def _parse(sql: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        first = str(error).splitlines()[0]
        raise DefinitionError("", f"{sql!r} is not SQL: {first}", "syntax") from error
    if isinstance(tree, exp.Query | exp.DDL | exp.Command):
        raise DefinitionError("", f"{sql!r} is a statement, not an expression", "expression")
    return cast(exp.Expr, tree)


def _columns(tree: exp.Expr) -> frozenset[str]:
    return frozenset(column.name for column in tree.find_all(exp.Column))


def _safe_division(tree: exp.Expr) -> exp.Expr:
    def safe(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Div | exp.Mod):
            zero = exp.Literal.number(0)
            node.set("expression", exp.Nullif(this=exp.Paren(this=node.expression), expression=zero))
        return node

    return tree.copy().transform(safe)
