"""Compiling definitions: conditions, derived fields, single values, and values over windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import polars as pl
from sqlglot import expressions as exp

from libs.common.errors import DefinitionError
from libs.common.expressions.aggregates import AGGREGATES, EACH, Aggregate, Argument, DataType, Partial
from libs.common.expressions.dialects import write
from libs.common.expressions.scalars import ScalarCompiler
from libs.common.expressions.typed import DTYPES, NUMBERS, FieldTypes, Typed, columns_of, fault, finite, parse

_HINTS: dict[type[exp.Expr], str] = {
    exp.Median: "approx_quantile(x, 0.5)",
    exp.PercentileCont: "approx_quantile(x, q)",
    exp.PercentileDisc: "approx_quantile(x, q)",
    exp.CountIf: "count(*) FILTER (WHERE …)",
}


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
        return write(self.tree, dialect)


@dataclass(frozen=True)
class Scalar:
    """A value of one event: a derived field, or a number of a KPI for each event."""

    text: str
    columns: frozenset[str]
    type: str
    expression: pl.Expr
    tree: exp.Expr

    def polars(self) -> pl.Expr:
        return self.expression

    def sql(self, dialect: str = "duckdb") -> str:
        return write(self.tree, dialect)


@dataclass(frozen=True)
class Value:
    """An aggregate value over the events of a window."""

    text: str
    columns: frozenset[str]
    states: tuple[Partial, ...]
    result: pl.Expr
    tree: exp.Expr
    aggregates: tuple[Aggregate, ...]
    """Those that it uses, each one once."""

    def partials(self) -> list[pl.Expr]:
        """For a group-by over events: the state."""
        return [state.of_events() for state in self.states]

    def merge(self) -> list[pl.Expr]:
        """For a group-by over states: the state of all of them."""
        return [state.of_states() for state in self.states]

    def final(self) -> pl.Expr:
        """Over states: the value, Float64; null where SQL says NULL or the result is no finite number."""
        return self.result

    def schema(self) -> dict[str, DataType]:
        """The state's columns and types."""
        return {state.name: state.dtype for state in self.states}

    @property
    def ordered(self) -> bool:
        """Whether events must have the columns `__time`, `__partition` and `__offset`."""
        return any(each.ordered for each in self.aggregates)

    @property
    def error(self) -> float:
        """Relative error of the sketches in it, together; 0 if all is exact.

        That of a product or quotient of sketches; a difference of sketches can be further off.
        """
        return sum(each.error for each in self.aggregates)

    def sql(self, dialect: str = "duckdb") -> str:
        """For SELECT … GROUP BY. Sketches are written as exactly what they estimate."""
        return write(self.tree, dialect)


def predicate(sql: str, fields: FieldTypes) -> Predicate:
    """A condition over `fields`; DefinitionError if it does not parse, type-check or decide."""
    tree = _of_one_event(sql, "a condition")
    compiled = ScalarCompiler(fields).compile(tree)
    if compiled.type not in ("boolean", "null"):
        raise DefinitionError("", f"{sql} is {compiled.type}, not a condition", "boolean")
    return Predicate(sql, columns_of(tree), compiled.expression.cast(pl.Boolean), tree)


def scalar(sql: str, fields: FieldTypes) -> Scalar:
    """A number of one event: Float64, finite or null. DefinitionError if it is none."""
    tree = _of_one_event(sql, "a value of each event")
    compiled = ScalarCompiler(fields).compile(tree)
    if compiled.type not in NUMBERS:
        raise DefinitionError("", f"{sql} is {compiled.type}, not a number", "number")
    return Scalar(sql, columns_of(tree), "double", _each(finite(compiled.expression.cast(pl.Float64))), tree)


def derived(sql: str, fields: FieldTypes) -> Scalar:
    """A field made of others, of any type. DefinitionError if it does not parse or type-check."""
    tree = _of_one_event(sql, "a derived field")
    compiled = ScalarCompiler(fields).compile(tree)
    if compiled.type == "null":
        raise DefinitionError("", f"{sql} is always NULL", "known type")
    expression = compiled.expression.cast(DTYPES[compiled.type])
    if compiled.type == "double":
        expression = finite(expression)
    kind = "long" if compiled.type == "int" else compiled.type
    return Scalar(sql, columns_of(tree), kind, _each(expression), tree)


def _each(expression: pl.Expr) -> pl.Expr:
    """One value per row, also where polars (2.1) takes `'a' = coalesce(b, 'a')` over nothing but nulls for one value."""
    return pl.struct(pl.first().alias("row"), expression.alias("value")).struct.field("value")


def derive(let: Mapping[str, str], fields: FieldTypes) -> tuple[list[tuple[str, pl.Expr]], dict[str, str]]:
    """Derived fields, each over the fields and those before it: names and expressions, and the wider field types.

    DefinitionError with path `let.<name>` if one is at fault or is named as a field.
    """
    types, expressions = dict(fields), list[tuple[str, pl.Expr]]()
    for name, sql in let.items():
        if name in types:
            raise DefinitionError(f"let.{name}", f"there is a field {name} already", "new name")
        try:
            compiled = derived(sql, types)
        except DefinitionError as error:
            raise DefinitionError(f"let.{name}", error.message, error.rule) from error
        types[name] = compiled.type
        expressions.append((name, compiled.polars().alias(name)))
    return expressions, types


def value(sql: str, fields: FieldTypes) -> Value:
    """An aggregate over `fields`; DefinitionError if it does not parse, type-check or aggregate."""
    tree = parse(sql)
    compiler = _AggregateCompiler(fields)
    compiled = compiler.compile(tree)
    if not compiler.states:
        raise DefinitionError("", f"{sql} aggregates nothing: use {_known()}", "aggregate")
    if compiled.type not in NUMBERS:
        raise DefinitionError("", f"{sql} is {compiled.type}, not a number", "number")
    result = finite(compiled.expression.cast(pl.Float64))
    states, used = tuple(compiler.states.values()), tuple(compiler.used)
    return Value(sql, columns_of(tree), states, result, tree, used)


def _known() -> str:
    return ", ".join(["count(*)", *(form for each in AGGREGATES for form in each.forms)])


def _of_one_event(sql: str, what: str) -> exp.Expr:
    tree = parse(sql)
    if aggregate := tree.find(exp.AggFunc):
        text = aggregate.sql(dialect="duckdb")
        raise DefinitionError("", f"{text} aggregates: {what} looks at one event", "scalar")
    return tree


class _AggregateCompiler(ScalarCompiler):
    """Arithmetic over aggregates: each aggregate becomes an expression over its state's columns."""

    def __init__(self, fields: FieldTypes) -> None:
        super().__init__(fields)
        self.states: dict[str, Partial] = {}
        self.used: dict[Aggregate, None] = {}

    def _compile(self, node: exp.Expr) -> Typed:
        if isinstance(node, exp.Filter):
            return self._aggregate(node.this, node.expression.this)
        if isinstance(node, exp.AggFunc):
            return self._aggregate(node, None)
        if isinstance(node, exp.Column):
            raise DefinitionError("", f"{node.sql()} stands outside an aggregate", "aggregate")
        return super()._compile(node)

    def _aggregate(self, node: exp.Expr, condition: exp.Expr | None) -> Typed:
        aggregate = next((each for each in AGGREGATES if isinstance(node, each.nodes)), None)
        if aggregate is None:
            hint = next((f"; {hint} is" for kind, hint in _HINTS.items() if isinstance(node, kind)), "")
            raise fault(
                node,
                f"is no aggregate with a state that merges{hint}; there are {_known()}",
                "known aggregate",
            )
        argument = self._argument(aggregate, node, condition)
        found = aggregate.over(node, argument)
        self.used[aggregate] = None
        self.states |= {state.name: state for state in found.states}
        node.meta["kind"] = found.result.type
        return found.result

    def _argument(self, aggregate: Aggregate, node: exp.Expr, condition: exp.Expr | None) -> Argument:
        inside = _single(node)
        scalars = ScalarCompiler(self.fields)
        star = isinstance(inside, exp.Star)
        if star and not isinstance(node, exp.Count):
            raise fault(node, "only count takes *", "field")
        text = "*" if star else inside.sql(dialect="duckdb")
        typed = Typed(pl.lit(1), "int") if star else scalars.compile(inside)
        if typed.type not in aggregate.takes:
            number = aggregate.takes == NUMBERS
            allowed = "a number" if number else f"one of {', '.join(aggregate.takes)}"
            raise fault(node, f"{text} is {typed.type}, not {allowed}", "number" if number else "type")
        if condition is None:
            if not star and not columns_of(inside):
                raise fault(node, f"{text} reads no field; to count events write count(*)", "field")
            return Argument(text, "", Typed(EACH, "int") if star else typed)
        if nested := condition.find(exp.AggFunc):
            raise fault(condition, f"{nested.sql()} aggregates: FILTER looks at one event", "scalar")
        if not columns_of(condition):
            raise fault(condition, "reads no field", "field")
        kept = Typed(pl.when(scalars.condition(condition)).then(typed.expression), typed.type)
        return Argument(text, f" FILTER (WHERE {condition.sql(dialect='duckdb')})", kept)


def _single(node: exp.Expr) -> exp.Expr:
    """The one argument of an aggregate; DefinitionError if it is of another shape."""
    inside = cast(exp.Expr | None, node.this)
    if isinstance(inside, exp.Distinct):
        hint = (
            "; approx_count_distinct(x) has one, with an error of 1.6 %"
            if isinstance(node, exp.Count)
            else ""
        )
        raise fault(node, f"DISTINCT has no small state that merges exactly{hint}", "known aggregate")
    if inside is None or node.args.get("expressions"):
        raise fault(node, "takes one argument", "one argument")
    if isinstance(inside, exp.Order | exp.IgnoreNulls | exp.RespectNulls):
        raise fault(node, "takes no order: first and last go by event time", "known aggregate")
    if nested := inside.find(exp.AggFunc):
        raise fault(node, f"{nested.sql()} stands inside another aggregate", "no nesting")
    return inside
