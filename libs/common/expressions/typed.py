"""What a tree compiles to, and how it is parsed and refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import polars as pl
import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from libs.common.errors import DefinitionError

FieldTypes = Mapping[str, str]
"""Field name → type, one of string int long double boolean timestamp date."""

WHOLE = ("int", "long")
NUMBERS = (*WHOLE, "double")

DTYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "string": pl.String, "int": pl.Int64, "long": pl.Int64, "double": pl.Float64, "boolean": pl.Boolean,
    "timestamp": pl.Datetime("ms", "UTC"), "date": pl.Date,
}  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """A polars expression and what it yields: a field type, or `null` for the literal NULL.

    `int` is a whole number that fits 32 bits, so that + - * of two of them cannot overflow.
    """

    expression: pl.Expr
    type: str


def kind_of(node: exp.Expr) -> str:
    """The type that compiling found for a node."""
    return cast(str, node.meta["kind"])


def fault(node: exp.Expr, message: str, rule: str) -> DefinitionError:
    return DefinitionError("", f"{node.sql(dialect='duckdb')}: {message}", rule)


def parse(sql: str) -> exp.Expr:
    """One expression; DefinitionError if it is none."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError as error:
        first = str(error).splitlines()[0]
        raise DefinitionError("", f"{sql!r} is not SQL: {first}", "syntax") from error
    if isinstance(tree, exp.Query | exp.DDL | exp.Command):
        raise DefinitionError("", f"{sql!r} is a statement, not an expression", "expression")
    return cast(exp.Expr, tree)


def columns_of(tree: exp.Expr) -> frozenset[str]:
    return frozenset(column.name for column in tree.find_all(exp.Column))


def finite(number: pl.Expr) -> pl.Expr:
    """NaN and infinity are no numbers: NULL."""
    return pl.when(number.is_finite()).then(number)


def widened(typed: Typed, kind: str) -> pl.Expr:
    """In the type `kind`: numbers as Int64 or Float64, so that what is put together is of one dtype."""
    if kind in NUMBERS or typed.type == "null":
        return typed.expression.cast(DTYPES[kind]) if kind != "null" else typed.expression
    return typed.expression
