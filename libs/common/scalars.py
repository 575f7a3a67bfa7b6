"""SQL scalar expressions as polars expressions, with their types. Part of `libs.common.expressions`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from typing import cast

import polars as pl
from sqlglot import expressions as exp

from libs.common.errors import DefinitionError

NUMBERS = ("int", "long", "double")


@dataclass(frozen=True)
class Typed:
    """A polars expression and what it yields: a field type, or `null` for the literal NULL."""

    expression: pl.Expr
    type: str


_COMPARISONS: dict[type[exp.Expr], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
}
_ARITHMETIC: dict[type[exp.Expr], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
}
_CASTS: dict[str, tuple[str, type[pl.DataType]]] = {
    "DOUBLE": ("double", pl.Float64),
    "FLOAT": ("double", pl.Float64),
    "INT": ("long", pl.Int64),
    "BIGINT": ("long", pl.Int64),
}


def fault(node: exp.Expr, message: str, rule: str) -> DefinitionError:
    return DefinitionError("", f"{node.sql()}: {message}", rule)


class ScalarCompiler:
    """Compiles trees over one source's fields."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields

    def compile(self, node: exp.Expr) -> Typed:
        """The polars form of a tree; DefinitionError names what is unknown or of the wrong type."""
        for kind, method in self._methods():
            if isinstance(node, kind):
                return method(node)
        raise fault(node, "is not part of the expression language", "known expression")

    def _methods(
        self,
    ) -> list[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[..., Typed]]]:
        return [
            (exp.Column, self._field),
            (exp.Literal, self._literal),
            (exp.Boolean, lambda node: Typed(pl.lit(bool(node.this)), "boolean")),
            (exp.Null, lambda node: Typed(pl.lit(None), "null")),
            (exp.Paren, lambda node: self.compile(node.this)),
            (exp.Neg, self._negate),
            (tuple(_COMPARISONS), self._compare),
            (tuple(_ARITHMETIC), self._calculate),
            (exp.Div, self._divide),
            (exp.Mod, self._modulo),
            ((exp.And, exp.Or), self._combine),
            (exp.Not, self._not),
            (exp.Is, self._is),
            (exp.In, self._in),
            (exp.Between, self._between),
            (exp.Like, self._like),
            (exp.Case, self._case),
            (exp.If, self._if),
            (exp.Coalesce, self._coalesce),
            ((exp.Abs, exp.Floor, exp.Ceil), self._number_function),
            (exp.Round, self._round),
            ((exp.Lower, exp.Upper), self._text_function),
            (exp.Cast, self._cast),
        ]

    def _field(self, node: exp.Column) -> Typed:
        if node.name not in self.fields:
            close = get_close_matches(node.name, self.fields, n=1)
            known = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(self.fields))}"
            raise DefinitionError("", f"there is no field {node.name}; {known}", "known field")
        return Typed(pl.col(node.name), self.fields[node.name])

    def _literal(self, node: exp.Literal) -> Typed:
        if node.is_string:
            return Typed(pl.lit(node.this), "string")
        if re.fullmatch(r"\d+", node.this):
            return Typed(pl.lit(int(node.this)), "long")
        return Typed(pl.lit(float(node.this)), "double")

    def _number(self, node: exp.Expr) -> Typed:
        typed = self.compile(node)
        if typed.type not in (*NUMBERS, "null"):
            raise fault(node, f"is {typed.type}, not a number", "number")
        return typed

    def _condition(self, node: exp.Expr) -> pl.Expr:
        typed = self.compile(node)
        if typed.type not in ("boolean", "null"):
            raise fault(node, f"is {typed.type}, not a condition", "boolean")
        return typed.expression.cast(pl.Boolean)

    def _negate(self, node: exp.Neg) -> Typed:
        inner = self._number(node.this)
        return Typed(-inner.expression, inner.type)

    def _pair(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> tuple[Typed, Typed]:
        """Both sides of a comparison, of types that compare; text beside a time is read as a time."""
        a, b = self.compile(left), self.compile(right)
        for time in ("timestamp", "date"):
            if a.type == time and b.type == "string":
                b = self._as_time(right, time)
            elif b.type == time and a.type == "string":
                a = self._as_time(left, time)
        if a.type != b.type and "null" not in (a.type, b.type) and not {a.type, b.type} <= set(NUMBERS):
            raise fault(node, f"compares {a.type} with {b.type}", "comparable types")
        return a, b

    def _as_time(self, node: exp.Expr, kind: str) -> Typed:
        if not (isinstance(node, exp.Literal) and node.is_string):
            raise fault(node, f"is text, compared with a {kind}", "comparable types")
        text = pl.lit(node.this)
        if kind == "date":
            return Typed(text.str.to_date(), kind)
        return Typed(text.str.to_datetime(time_unit="ms", time_zone="UTC"), kind)

    def _compare(self, node: exp.Binary) -> Typed:
        a, b = self._pair(node, node.this, node.expression)
        if "null" in (a.type, b.type):
            return Typed(pl.lit(None, dtype=pl.Boolean), "boolean")
        return Typed(_COMPARISONS[type(node)](a.expression, b.expression), "boolean")

    def _calculate(self, node: exp.Binary) -> Typed:
        a, b = self._number(node.this), self._number(node.expression)
        wide = pl.Float64 if "double" in (a.type, b.type) else pl.Int64
        result = _ARITHMETIC[type(node)](a.expression.cast(wide), b.expression.cast(wide))
        return Typed(result, "double" if wide is pl.Float64 else "long")

    def _divide(self, node: exp.Div) -> Typed:
        a, b = self._number(node.this), self._number(node.expression)
        below = b.expression.cast(pl.Float64)
        return Typed(pl.when(below != 0).then(a.expression.cast(pl.Float64) / below), "double")

    def _modulo(self, node: exp.Mod) -> Typed:
        """The sign is the dividend's, as in SQL; polars' follows the divisor."""
        a, b = self._number(node.this), self._number(node.expression)
        if "double" in (a.type, b.type):
            raise fault(node, "% needs whole numbers", "whole numbers")
        above, below = a.expression.cast(pl.Int64), b.expression.cast(pl.Int64)
        rest = above.abs() % below.abs()
        return Typed(pl.when(below != 0).then(pl.when(above < 0).then(-rest).otherwise(rest)), "long")

    def _combine(self, node: exp.Connector) -> Typed:
        a, b = self._condition(node.this), self._condition(node.expression)
        return Typed(a & b if isinstance(node, exp.And) else a | b, "boolean")

    def _not(self, node: exp.Not) -> Typed:
        return Typed(~self._condition(node.this), "boolean")

    def _is(self, node: exp.Is) -> Typed:
        inner = self.compile(node.this).expression
        if isinstance(node.expression, exp.Null):
            return Typed(inner.is_null(), "boolean")
        if isinstance(node.expression, exp.Boolean):
            return Typed(inner.eq_missing(pl.lit(bool(node.expression.this))), "boolean")
        raise fault(node, "IS goes with NULL, TRUE and FALSE", "known expression")

    def _in(self, node: exp.In) -> Typed:
        if not node.expressions:
            raise fault(node, "IN needs a list of values", "known expression")
        tests = [
            self._compare(exp.EQ(this=node.this, expression=each)).expression for each in node.expressions
        ]
        return Typed(reduce(lambda a, b: a | b, tests), "boolean")

    def _between(self, node: exp.Between) -> Typed:
        low = self._compare(exp.GTE(this=node.this, expression=node.args["low"])).expression
        high = self._compare(exp.LTE(this=node.this, expression=node.args["high"])).expression
        return Typed(low & high, "boolean")

    def _like(self, node: exp.Like) -> Typed:
        text, pattern = self.compile(node.this), node.expression
        if text.type != "string" or not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise fault(node, "LIKE compares text with a literal pattern", "text")
        regex = "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in pattern.this)
        return Typed(text.expression.str.contains(f"(?s)^{regex}$"), "boolean")

    def _case(self, node: exp.Case) -> Typed:
        subject = node.this
        branches = []
        for branch in cast(list[exp.If], node.args["ifs"]):
            test = exp.EQ(this=subject, expression=branch.this) if subject else branch.this
            branches.append((self._condition(test), self.compile(branch.args["true"])))
        default = node.args.get("default")
        return self._choose(node, branches, self.compile(default) if default else Typed(pl.lit(None), "null"))

    def _if(self, node: exp.If) -> Typed:
        otherwise = node.args.get("false")
        default = self.compile(otherwise) if otherwise else Typed(pl.lit(None), "null")
        return self._choose(node, [(self._condition(node.this), self.compile(node.args["true"]))], default)

    def _choose(self, node: exp.Expr, branches: list[tuple[pl.Expr, Typed]], default: Typed) -> Typed:
        kind = self._common(node, [typed for _, typed in branches] + [default])
        result = _widen(default, kind)
        for test, typed in reversed(branches):
            result = pl.when(test).then(_widen(typed, kind)).otherwise(result)
        return Typed(result, kind)

    def _coalesce(self, node: exp.Coalesce) -> Typed:
        parts = [self.compile(each) for each in (node.this, *node.expressions)]
        kind = self._common(node, parts)
        return Typed(pl.coalesce([_widen(part, kind) for part in parts]), kind)

    def _common(self, node: exp.Expr, parts: list[Typed]) -> str:
        """The one type of several branches; numbers widen."""
        kinds = {part.type for part in parts} - {"null"}
        if kinds <= set(NUMBERS):
            return "double" if "double" in kinds else "long" if kinds else "null"
        if len(kinds) > 1:
            raise fault(node, f"mixes {' and '.join(sorted(kinds))}", "one type")
        return kinds.pop()

    def _number_function(self, node: exp.Func) -> Typed:
        inner = self._number(node.this)
        if isinstance(node, exp.Abs) or inner.type != "double":
            return Typed(
                inner.expression.abs() if isinstance(node, exp.Abs) else inner.expression, inner.type
            )
        rounded = inner.expression.floor() if isinstance(node, exp.Floor) else inner.expression.ceil()
        return Typed(rounded, "double")

    def _round(self, node: exp.Round) -> Typed:
        inner, digits = self._number(node.this), node.args.get("decimals")
        if digits is not None and not (isinstance(digits, exp.Literal) and digits.is_int):
            raise fault(node, "the number of digits is a literal", "literal")
        rounded = inner.expression.cast(pl.Float64).round(
            int(digits.this) if digits else 0, mode="half_away_from_zero"
        )
        return Typed(rounded, "double")

    def _text_function(self, node: exp.Func) -> Typed:
        inner = self.compile(node.this)
        if inner.type != "string":
            raise fault(node, f"{node.this.sql()} is {inner.type}, not text", "text")
        text = inner.expression.str
        return Typed(text.to_lowercase() if isinstance(node, exp.Lower) else text.to_uppercase(), "string")

    def _cast(self, node: exp.Cast) -> Typed:
        inner, wanted = self.compile(node.this), node.to.this.name
        if wanted not in _CASTS or inner.type not in (*NUMBERS, "boolean", "null"):
            raise fault(node, f"a {inner.type} cannot be cast to {node.to.sql()}", "known cast")
        kind, dtype = _CASTS[wanted]
        expression = inner.expression
        if kind == "long" and inner.type == "double":
            expression = expression.round(0, mode="half_to_even")
        return Typed(expression.cast(dtype, strict=False), kind)


def _widen(typed: Typed, kind: str) -> pl.Expr:
    """All branches of a choice in one type."""
    if kind in NUMBERS:
        return typed.expression.cast(pl.Float64 if kind == "double" else pl.Int64)
    return typed.expression
