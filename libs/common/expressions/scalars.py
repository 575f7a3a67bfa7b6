"""SQL scalar expressions as polars expressions, with their types: fields, literals, operators, choices."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import reduce
from typing import cast

import polars as pl
from sqlglot import expressions as exp

from libs.common.errors import DefinitionError
from libs.common.expressions.functions import FUNCTIONS
from libs.common.expressions.typed import DTYPES, NUMBERS, WHOLE, FieldTypes, Typed, fault, finite, widened

_COMPARISONS: dict[type[exp.Expr], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
    exp.NullSafeEQ: lambda a, b: a.eq_missing(b),
    exp.NullSafeNEQ: lambda a, b: a.ne_missing(b),
}
_ARITHMETIC: dict[type[exp.Expr], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
}
_CASTS: dict[str, str] = {
    "DOUBLE": "double", "FLOAT": "double", "INT": "long", "BIGINT": "long",
    "TEXT": "string", "VARCHAR": "string", "DATE": "date",
    "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamp", "TIMESTAMPNTZ": "timestamp",
}  # fmt: skip
_LONG = 2**63


class ScalarCompiler:
    """Compiles trees over one source's fields."""

    def __init__(self, fields: FieldTypes) -> None:
        self.fields = fields

    def compile(self, node: exp.Expr) -> Typed:
        """The polars form of a tree; DefinitionError names what is unknown or of the wrong type.

        The type found stays at the node (`kind_of`), for those who write the tree as SQL.
        """
        typed = self._compile(node)
        node.meta["kind"] = typed.type
        return typed

    def _compile(self, node: exp.Expr) -> Typed:
        for kind, method in self._methods():
            if isinstance(node, kind):
                return method(node)
        for function in FUNCTIONS:
            if isinstance(node, function.nodes):
                parts = [(part, self.compile(part)) for part in function.arguments(node)]
                return function.compile(node, parts)
        raise fault(node, "is not part of the expression language", "known expression")

    def _methods(self) -> list[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[..., Typed]]]:
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
            (exp.Not, lambda node: Typed(~self.condition(node.this), "boolean")),
            (exp.Is, self._is),
            (exp.In, self._in),
            (exp.Between, self._between),
            ((exp.Like, exp.ILike), self._like),
            (exp.Case, self._case),
            (exp.If, self._if),
            ((exp.Coalesce, exp.Greatest, exp.Least), self._pick),
            (exp.Nullif, self._null_if),
            (exp.Cast, self._cast),
        ]

    def _field(self, node: exp.Column) -> Typed:
        if node.name not in self.fields:
            close = get_close_matches(node.name, self.fields, n=1)
            known = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(self.fields))}"
            raise DefinitionError("", f"there is no field {node.name}; {known}", "known field")
        kind = self.fields[node.name]
        column = pl.col(node.name)
        return Typed(finite(column) if kind == "double" else column, kind)

    def _literal(self, node: exp.Literal) -> Typed:
        if node.is_string:
            return Typed(pl.lit(node.this), "string")
        if re.fullmatch(r"\d+", node.this):
            number = int(node.this)
            if number >= _LONG:
                raise fault(node, "does not fit 64 bits; write it with a decimal point", "64 bits")
            return Typed(pl.lit(number, dtype=pl.Int64), "int" if number < 2**31 else "long")
        return Typed(finite(pl.lit(float(node.this))), "double")

    def _number(self, node: exp.Expr) -> Typed:
        typed = self.compile(node)
        if typed.type not in (*NUMBERS, "null"):
            raise fault(node, f"is {typed.type}, not a number", "number")
        return typed

    def condition(self, node: exp.Expr) -> pl.Expr:
        """A boolean, null where SQL says UNKNOWN."""
        typed = self.compile(node)
        if typed.type not in ("boolean", "null"):
            raise fault(node, f"is {typed.type}, not a condition", "boolean")
        return typed.expression.cast(pl.Boolean)

    def _negate(self, node: exp.Neg) -> Typed:
        inner = self._number(node.this)
        if inner.type in WHOLE:
            whole = inner.expression.cast(pl.Int64)
            return Typed(pl.when(whole > -_LONG).then(-whole), inner.type)
        return Typed(-inner.expression, inner.type)

    def _pair(self, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> tuple[Typed, Typed]:
        """Both sides of a comparison, of types that compare; text beside a time is read as a time."""
        a, b = self.compile(left), self.compile(right)
        for time in ("timestamp", "date"):
            if a.type == time and b.type == "string":
                b = _time_of(right, time)
            elif b.type == time and a.type == "string":
                a = _time_of(left, time)
        if a.type != b.type and "null" not in (a.type, b.type) and not {a.type, b.type} <= set(NUMBERS):
            raise fault(node, f"compares {a.type} with {b.type}", "comparable types")
        return a, b

    def _compare(self, node: exp.Binary) -> Typed:
        a, b = self._pair(node, node.this, node.expression)
        if "null" in (a.type, b.type) and not isinstance(node, exp.NullSafeEQ | exp.NullSafeNEQ):
            return Typed(pl.lit(None, dtype=pl.Boolean), "boolean")
        return Typed(_COMPARISONS[type(node)](a.expression, b.expression), "boolean")

    def _calculate(self, node: exp.Binary) -> Typed:
        a, b = self._number(node.this), self._number(node.expression)
        operate = _ARITHMETIC[type(node)]
        if "double" in (a.type, b.type):
            return Typed(operate(a.expression.cast(pl.Float64), b.expression.cast(pl.Float64)), "double")
        if (a.type, b.type) == ("int", "int"):
            return Typed(operate(a.expression.cast(pl.Int64), b.expression.cast(pl.Int64)), "long")
        exact = operate(a.expression.cast(pl.Int128), b.expression.cast(pl.Int128))
        return Typed(exact.cast(pl.Int64, strict=False), "long")

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
        rest = above % below
        mended = pl.when((rest != 0) & ((rest < 0) != (above < 0))).then(rest - below).otherwise(rest)
        return Typed(pl.when(below == -1).then(above * 0).when(below != 0).then(mended), "long")

    def _combine(self, node: exp.Connector) -> Typed:
        a, b = self.condition(node.this), self.condition(node.expression)
        return Typed(a & b if isinstance(node, exp.And) else a | b, "boolean")

    def _is(self, node: exp.Is) -> Typed:
        inner = self.compile(node.this)
        if isinstance(node.expression, exp.Null):
            return Typed(inner.expression.is_null(), "boolean")
        if isinstance(node.expression, exp.Boolean):
            self.condition(node.this)
            return Typed(inner.expression.eq_missing(pl.lit(bool(node.expression.this))), "boolean")
        raise fault(node, "IS goes with NULL, TRUE and FALSE", "known expression")

    def _in(self, node: exp.In) -> Typed:
        if not node.expressions:
            raise fault(node, "IN needs a list of values", "known expression")
        tests = [self._test(exp.EQ, node.this, each) for each in node.expressions]
        return Typed(reduce(lambda a, b: a | b, tests), "boolean")

    def _between(self, node: exp.Between) -> Typed:
        low, high = cast(exp.Expr, node.args["low"]), cast(exp.Expr, node.args["high"])
        return Typed(self._test(exp.GTE, node.this, low) & self._test(exp.LTE, node.this, high), "boolean")

    def _test(self, operator: type[exp.Expr], left: exp.Expr, right: exp.Expr) -> pl.Expr:
        a, b = self._pair(left, left, right)
        if "null" in (a.type, b.type):
            return pl.lit(None, dtype=pl.Boolean)
        return _COMPARISONS[operator](a.expression, b.expression)

    def _like(self, node: exp.Like | exp.ILike) -> Typed:
        text, pattern = self.compile(node.this), node.expression
        if text.type != "string" or not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise fault(node, "LIKE compares text with a literal pattern", "text")
        self.compile(pattern)
        regex = "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in pattern.this)
        flags = "(?si)" if isinstance(node, exp.ILike) else "(?s)"
        return Typed(text.expression.str.contains(f"{flags}^{regex}$"), "boolean")

    def _case(self, node: exp.Case) -> Typed:
        subject = node.this
        branches = []
        for branch in cast(list[exp.If], node.args["ifs"]):
            test = self._test(exp.EQ, subject, branch.this) if subject else self.condition(branch.this)
            branches.append((test, self.compile(branch.args["true"])))
        default = node.args.get("default")
        return self._choose(node, branches, self.compile(default) if default else Typed(pl.lit(None), "null"))

    def _if(self, node: exp.If) -> Typed:
        otherwise = node.args.get("false")
        default = self.compile(otherwise) if otherwise else Typed(pl.lit(None), "null")
        return self._choose(node, [(self.condition(node.this), self.compile(node.args["true"]))], default)

    def _choose(self, node: exp.Expr, branches: list[tuple[pl.Expr, Typed]], default: Typed) -> Typed:
        kind = _common(node, [typed for _, typed in branches] + [default])
        result = widened(default, kind)
        for test, typed in reversed(branches):
            result = pl.when(test).then(widened(typed, kind)).otherwise(result)
        return Typed(result, kind)

    def _pick(self, node: exp.Func) -> Typed:
        """COALESCE, and GREATEST and LEAST, which skip NULL as in PostgreSQL."""
        parts = [self.compile(each) for each in (node.this, *node.expressions)]
        kind = _common(node, parts)
        if kind in ("boolean", "null") and not isinstance(node, exp.Coalesce):
            raise fault(node, f"there is no order in {kind}", "ordered type")
        pick = {"Coalesce": pl.coalesce, "Greatest": pl.max_horizontal, "Least": pl.min_horizontal}
        return Typed(pick[type(node).__name__]([widened(part, kind) for part in parts]), kind)

    def _null_if(self, node: exp.Nullif) -> Typed:
        a, b = self._pair(node, node.this, node.expression)
        if "null" in (a.type, b.type):
            return a
        return Typed(pl.when((a.expression != b.expression).fill_null(True)).then(a.expression), a.type)

    def _cast(self, node: exp.Cast) -> Typed:
        wanted = _CASTS.get(node.to.this.name)
        if wanted in ("date", "timestamp") and isinstance(node.this, exp.Literal) and node.this.is_string:
            self.compile(node.this)
            return _time_of(node.this, wanted)
        inner = self.compile(node.this)
        allowed = {
            "double": (*NUMBERS, "boolean"), "long": (*NUMBERS, "boolean"), "string": ("string", *WHOLE),
            "date": ("date", "timestamp"), "timestamp": ("date", "timestamp"),
        }  # fmt: skip
        if wanted is None or inner.type not in (*allowed[wanted], "null"):
            raise fault(node, f"a {inner.type} cannot be cast to {node.to.sql()}", "known cast")
        expression = inner.expression
        if wanted == "long" and inner.type == "double":
            expression = expression.round(0, mode="half_to_even")
        kind = "int" if wanted == "long" and inner.type in ("int", "boolean") else wanted
        return Typed(expression.cast(DTYPES[wanted], strict=False), kind)


def _common(node: exp.Expr, parts: list[Typed]) -> str:
    """The one type of several branches; numbers widen."""
    kinds = {part.type for part in parts} - {"null"}
    if kinds <= set(NUMBERS):
        return next((kind for kind in ("double", "long", "int") if kind in kinds), "null")
    if len(kinds) > 1:
        raise fault(node, f"mixes {' and '.join(sorted(kinds))}", "one type")
    return kinds.pop()


def _time_of(node: exp.Expr, kind: str) -> Typed:
    """A literal text as the time that it names; without a zone it is UTC."""
    if not (isinstance(node, exp.Literal) and node.is_string):
        raise fault(node, f"is text, compared with a {kind}", "comparable types")
    node.meta["kind"] = kind
    try:
        if kind == "date":
            day = date.fromisoformat(node.this)
            node.meta["time"] = day.isoformat()
            return Typed(pl.lit(day), kind)
        instant = datetime.fromisoformat(node.this)
    except ValueError as error:
        raise fault(
            node, f"is no {kind} such as 2026-01-31{'T12:00:00Z' * (kind != 'date')}", "ISO 8601"
        ) from error
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    node.meta["time"] = instant.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return Typed(pl.lit(instant, dtype=DTYPES["timestamp"]), kind)
