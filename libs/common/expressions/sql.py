"""The checked tree as SQL of another engine, with this language's semantics written out.

DuckDB is the engine of the batch twin. What differs there is pinned: columns are widened (32-bit numbers) or narrowed
to finite numbers, decimals are doubles, overflow and division by zero are NULL. Another engine is one subclass.
"""

from collections.abc import Callable
from typing import ClassVar, cast

from sqlglot import expressions as exp

from libs.common.expressions.aggregates import AGGREGATES, Aggregate
from libs.common.expressions.functions import FUNCTIONS, Function
from libs.common.expressions.typed import WHOLE, kind_of

OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM", exp.NullSafeNEQ: "IS DISTINCT FROM",
    exp.And: "AND", exp.Or: "OR", exp.Add: "+", exp.Sub: "-", exp.Mul: "*",
}  # fmt: skip


class DuckDbWriter:
    """Writes trees that a compiler has been over."""

    types: ClassVar[dict[str, str]] = {
        "string": "VARCHAR", "int": "BIGINT", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP", "date": "DATE",
    }  # fmt: skip

    def write(self, node: exp.Expr) -> str:
        methods: list[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[..., str]]] = [
            (exp.Filter, lambda each: self._aggregate(each.this, each.expression.this)),
            (exp.AggFunc, lambda each: self._aggregate(each, None)),
            (exp.Column, self.column),
            (exp.Literal, self.literal),
            (exp.Boolean, lambda each: "true" if each.this else "false"),
            (exp.Null, lambda each: "NULL"),
            (exp.Paren, lambda each: self.write(each.this)),
            (exp.Neg, self.negative),
            ((exp.Add, exp.Sub, exp.Mul), self.arithmetic),
            (exp.Div, self.division),
            (exp.Mod, self.modulo),
            (tuple(OPERATORS), self.binary),
            (exp.Not, self.negation),
            (exp.Is, lambda each: f"({self.write(each.this)} IS {self.write(each.expression)})"),
            (exp.In, self.membership),
            (exp.Between, self.between),
            ((exp.Like, exp.ILike), self.like),
            (exp.Case, self.case),
            (exp.If, self.choice),
            ((exp.Coalesce, exp.Greatest, exp.Least), self.pick),
            (exp.Nullif, lambda each: f"nullif({self.write(each.this)}, {self.write(each.expression)})"),
            (exp.Cast, self.cast),
        ]
        for kind, method in methods:
            if isinstance(node, kind):
                return method(node)
        function = next(each for each in FUNCTIONS if isinstance(node, each.nodes))
        parts = function.arguments(node)
        return self.function(function, node, kind_of(parts[0]), [self.write(each) for each in parts])

    def function(self, function: Function, node: exp.Expr, kind: str, arguments: list[str]) -> str:
        return function.duckdb(node, kind, arguments)

    def aggregate(self, aggregate: Aggregate, node: exp.Expr, kind: str, argument: str) -> str:
        return aggregate.duckdb(node, kind, argument)

    def _aggregate(self, node: exp.Expr, condition: exp.Expr | None) -> str:
        aggregate = next(each for each in AGGREGATES if isinstance(node, each.nodes))
        inside = cast(exp.Expr, node.this)
        star = isinstance(inside, exp.Star)
        argument, kind = ("1", "int") if star else (self.write(inside), kind_of(inside))
        if kind == "double":
            argument = self.finite(argument)
        if condition is not None:
            argument = f"CASE WHEN {self.write(condition)} THEN {argument} END"
        return self.aggregate(aggregate, node, kind, argument)

    def name(self, text: str) -> str:
        return f'"{text}"'

    def finite(self, number: str) -> str:
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    def column(self, node: exp.Column) -> str:
        name = self.name(node.name)
        match kind_of(node):
            case "double":
                return self.finite(f"CAST({name} AS DOUBLE)")
            case "int" | "long":
                return f"CAST({name} AS BIGINT)"
            case "timestamp":
                return self.timestamp(name)
            case _:
                return name

    def timestamp(self, name: str) -> str:
        return f"make_timestamp(epoch_us({name}))"  # whether it has a time zone or not, UTC

    def literal(self, node: exp.Literal) -> str:
        if kind_of(node) in ("timestamp", "date"):
            return f"{self.types[kind_of(node)]} '{node.meta['time']}'"
        if node.is_string:
            return "'" + node.this.replace("'", "''") + "'"
        return (
            f"CAST('{node.this}' AS DOUBLE)" if kind_of(node) == "double" else f"CAST({node.this} AS BIGINT)"
        )

    def as_type(self, text: str, kind: str) -> str:
        return f"CAST({text} AS {self.types[kind]})"

    def whole(self, wide: str) -> str:
        """The result of arithmetic on 128 bits: NULL where 64 do not hold it."""
        return f"TRY_CAST({wide} AS BIGINT)"

    def negative(self, node: exp.Neg) -> str:
        number = self.write(node.this)
        return self.whole(f"-CAST({number} AS HUGEINT)") if kind_of(node) in WHOLE else f"(-{number})"

    def arithmetic(self, node: exp.Binary) -> str:
        double = kind_of(node) == "double"
        dtype = "DOUBLE" if double else "HUGEINT"
        left, right = (f"CAST({self.write(each)} AS {dtype})" for each in (node.this, node.expression))
        text = f"({left} {OPERATORS[type(node)]} {right})"
        return text if double else self.whole(text)

    def division(self, node: exp.Div) -> str:
        left, right = (self.as_type(self.write(each), "double") for each in (node.this, node.expression))
        return f"({left} / nullif({right}, 0))"

    def modulo(self, node: exp.Mod) -> str:
        left, right = self.write(node.this), self.write(node.expression)
        return f"(CASE WHEN {right} = -1 THEN 0 * {left} ELSE {left} % nullif({right}, 0) END)"

    def negation(self, node: exp.Not) -> str:
        return f"(NOT {self.write(node.this)})"

    def binary(self, node: exp.Binary) -> str:
        return f"({self.write(node.this)} {OPERATORS[type(node)]} {self.write(node.expression)})"

    def membership(self, node: exp.In) -> str:
        return f"({self.write(node.this)} IN ({', '.join(self.write(each) for each in node.expressions)}))"

    def between(self, node: exp.Between) -> str:
        low, high = (self.write(cast(exp.Expr, node.args[name])) for name in ("low", "high"))
        return f"({self.write(node.this)} BETWEEN {low} AND {high})"

    def like(self, node: exp.Like | exp.ILike) -> str:
        word = "ILIKE" if isinstance(node, exp.ILike) else "LIKE"
        return f"({self.write(node.this)} {word} {self.write(node.expression)})"

    def case(self, node: exp.Case) -> str:
        subject = f" {self.write(node.this)}" if node.this else ""
        branches = "".join(
            f" WHEN {self.write(branch.this)} THEN {self.branch(node, branch.args['true'])}"
            for branch in cast(list[exp.If], node.args["ifs"])
        )
        default = node.args.get("default")
        ending = f" ELSE {self.branch(node, default)}" if default else ""
        return f"(CASE{subject}{branches}{ending} END)"

    def branch(self, whole: exp.Expr, node: exp.Expr) -> str:
        text, kind = self.write(node), kind_of(whole)
        return text if kind == "null" else self.as_type(text, kind)

    def choice(self, node: exp.If) -> str:
        otherwise = node.args.get("false")
        ending = f" ELSE {self.branch(node, otherwise)}" if otherwise else ""
        return f"(CASE WHEN {self.write(node.this)} THEN {self.branch(node, node.args['true'])}{ending} END)"

    def pick(self, node: exp.Func) -> str:
        name = type(node).__name__.lower()
        return f"{name}({', '.join(self.branch(node, each) for each in (node.this, *node.expressions))})"

    def cast(self, node: exp.Cast) -> str:
        return f"TRY_CAST({self.write(node.this)} AS {self.types[kind_of(node)]})"
