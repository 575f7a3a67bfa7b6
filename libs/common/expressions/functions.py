"""The scalar functions: each one a class with its argument types, its polars form and its SQL."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import polars as pl
from sqlglot import expressions as exp

from libs.common.expressions.typed import DTYPES, NUMBERS, WHOLE, Typed, fault, finite

Parts = Sequence[tuple[exp.Expr, Typed]]
"""The arguments: tree and compiled form."""


class Function(ABC):
    """One function, or several alike."""

    nodes: ClassVar[tuple[type[exp.Expr], ...]]

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this, *node.expressions]

    @abstractmethod
    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        """DefinitionError if an argument is of the wrong type."""

    @abstractmethod
    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        """The same in DuckDB's SQL; `kind` is the first argument's type."""


def _number(node: exp.Expr, typed: Typed) -> pl.Expr:
    if typed.type not in (*NUMBERS, "null"):
        raise fault(node, f"is {typed.type}, not a number", "number")
    return typed.expression


def _text(node: exp.Expr, typed: Typed) -> pl.Expr:
    if typed.type not in ("string", "null"):
        raise fault(node, f"is {typed.type}, not text", "text")
    return typed.expression.cast(pl.String)


def _whole_literal(node: exp.Expr, part: Any, name: str, least: int) -> int:
    sign = 1
    if isinstance(part, exp.Neg):
        part, sign = part.this, -1
    if not (isinstance(part, exp.Literal) and part.is_int) or sign * int(part.this) < least:
        raise fault(node, f"{name} is a whole literal from {least}", "literal")
    return sign * int(part.this)


class Steps(Function):
    """ABS, FLOOR, CEIL, SIGN: of the type of their argument."""

    nodes = (exp.Abs, exp.Floor, exp.Ceil, exp.Sign)

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        number = _number(inside, typed)
        if typed.type in WHOLE:
            whole = number.cast(pl.Int64)
            if isinstance(node, exp.Abs):
                return Typed(pl.when(whole > -(2**63)).then(whole.abs()), typed.type)
            return Typed(whole.sign() if isinstance(node, exp.Sign) else whole, typed.type)
        operate: dict[type[exp.Expr], Callable[[pl.Expr], pl.Expr]] = {
            exp.Abs: pl.Expr.abs, exp.Floor: pl.Expr.floor, exp.Ceil: pl.Expr.ceil, exp.Sign: pl.Expr.sign,
        }  # fmt: skip
        return Typed(operate[type(node)](number.cast(pl.Float64)), "double")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        if kind in WHOLE and isinstance(node, exp.Floor | exp.Ceil):
            return arguments[0]
        wide, dtype = ("HUGEINT", "BIGINT") if kind in WHOLE else ("DOUBLE", "DOUBLE")
        return f"TRY_CAST({type(node).__name__.lower()}(CAST({arguments[0]} AS {wide})) AS {dtype})"


class Round(Function):
    """ROUND(x), ROUND(x, digits): half away from zero."""

    nodes = (exp.Round,)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this]

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        number = _number(inside, typed).cast(pl.Float64)
        return Typed(number.round(self.digits(node), mode="half_away_from_zero"), "double")

    def digits(self, node: exp.Expr) -> int:
        digits = node.args.get("decimals")
        return 0 if digits is None else _whole_literal(node, digits, "the number of digits", 0)

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        return f"round(CAST({arguments[0]} AS DOUBLE), {self.digits(node)})"


class Curves(Function):
    """SQRT, LN, EXP, POWER: double; NULL where there is no finite real result."""

    nodes = (exp.Sqrt, exp.Ln, exp.Exp, exp.Pow)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this, node.expression] if isinstance(node, exp.Pow) else [node.this]

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        x, *others = [_number(inside, typed).cast(pl.Float64) for inside, typed in parts]
        match node:
            case exp.Sqrt():
                result = x.sqrt()
            case exp.Ln():
                result = x.log()
            case exp.Exp():
                result = x.exp()
            case _:
                result = x.pow(others[0])
        return Typed(finite(result), "double")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        x, *others = [f"CAST({each} AS DOUBLE)" for each in arguments]
        match node:
            case exp.Sqrt():
                return f"CASE WHEN {x} >= 0 THEN sqrt({x}) END"
            case exp.Ln():
                return f"CASE WHEN {x} > 0 THEN ln({x}) END"
            case exp.Exp():
                return f"CASE WHEN isfinite(exp({x})) THEN exp({x}) END"
            case _:
                power = f"pow({x}, {others[0]})"
                return f"CASE WHEN isfinite({power}) THEN {power} END"


class Texts(Function):
    """LOWER, UPPER, TRIM (of spaces), LENGTH (in characters)."""

    nodes = (exp.Lower, exp.Upper, exp.Trim, exp.Length)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        if node.args.get("expression") is not None:
            raise fault(node, "TRIM takes off spaces only", "known expression")
        return [node.this]

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        text = _text(inside, typed).str
        match node:
            case exp.Lower():
                return Typed(text.to_lowercase(), "string")
            case exp.Upper():
                return Typed(text.to_uppercase(), "string")
            case exp.Length():
                return Typed(text.len_chars().cast(pl.Int64), "int")
            case _:
                strip = {"LEADING": text.strip_chars_start, "TRAILING": text.strip_chars_end}
                return Typed(strip.get(node.args.get("position") or "", text.strip_chars)(" "), "string")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        match node:
            case exp.Lower():
                return f"lower({arguments[0]})"
            case exp.Upper():
                return f"upper({arguments[0]})"
            case exp.Length():
                return f"CAST(length({arguments[0]}) AS BIGINT)"
            case _:
                name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(node.args.get("position") or "", "trim")
                return f"{name}({arguments[0]}, ' ')"


class Substring(Function):
    """SUBSTRING(text FROM start FOR length): characters from 1; start and length are literals."""

    nodes = (exp.Substring,)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this]

    def bounds(self, node: exp.Expr) -> tuple[int, int | None]:
        length = node.args.get("length")
        return (
            _whole_literal(node, node.args.get("start"), "the start", 1),
            None if length is None else _whole_literal(node, length, "the length", 0),
        )

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        start, length = self.bounds(node)
        return Typed(_text(inside, typed).str.slice(start - 1, length), "string")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        start, length = self.bounds(node)
        return f"substring({arguments[0]}, {start}{'' if length is None else f', {length}'})"


class Concatenation(Function):
    """`||`, which is NULL if a part is, and CONCAT, which skips NULL as in PostgreSQL. Text and whole numbers."""

    nodes = (exp.DPipe, exp.Concat)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this, node.expression] if isinstance(node, exp.DPipe) else list(node.expressions)

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        for inside, typed in parts:
            if typed.type not in ("string", *WHOLE, "null"):
                raise fault(inside, f"is {typed.type}, not text or a whole number", "text")
        texts = [typed.expression.cast(pl.String) for _, typed in parts]
        return Typed(pl.concat_str(texts, ignore_nulls=isinstance(node, exp.Concat)), "string")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        texts = [f"CAST({each} AS VARCHAR)" for each in arguments]
        return f"({' || '.join(texts)})" if isinstance(node, exp.DPipe) else f"concat({', '.join(texts)})"


_PARTS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "YEAR": lambda time: time.dt.year(),
    "QUARTER": lambda time: time.dt.quarter(),
    "MONTH": lambda time: time.dt.month(),
    "WEEK": lambda time: time.dt.week(),
    "DAY": lambda time: time.dt.day(),
    "DOY": lambda time: time.dt.ordinal_day(),
    "DOW": lambda time: time.dt.weekday() % 7,
    "ISODOW": lambda time: time.dt.weekday(),
    "HOUR": lambda time: time.dt.hour(),
    "MINUTE": lambda time: time.dt.minute(),
    "SECOND": lambda time: time.dt.second(),
}
_ALIASES = {"DAYOFWEEK": "DOW", "DAYOFYEAR": "DOY", "WEEKDAY": "DOW"}
_OF_DAY = ("HOUR", "MINUTE", "SECOND")
_PART_NODES: dict[type, str] = {
    exp.Year: "YEAR", exp.Quarter: "QUARTER", exp.Month: "MONTH", exp.Day: "DAY", exp.Hour: "HOUR",
    exp.Minute: "MINUTE", exp.DayOfWeek: "DOW", exp.DayOfWeekIso: "ISODOW",
}  # fmt: skip


class Extract(Function):
    """EXTRACT(part FROM time) and HOUR(time) …, in UTC: whole numbers; EPOCH: seconds as a double. DOW: Sunday is 0."""

    nodes = (exp.Extract, exp.TimeToUnix, *_PART_NODES)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.expression if isinstance(node, exp.Extract) else node.this]

    def part(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Extract):
            name = str(node.this.name).upper()
            return _ALIASES.get(name, name)
        return _PART_NODES.get(type(node), "EPOCH")

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        part = self.part(node)
        if typed.type not in ("timestamp", "date"):
            raise fault(inside, f"is {typed.type}, not a timestamp or date", "time")
        if part == "EPOCH":
            milliseconds = typed.expression.cast(DTYPES["timestamp"]).dt.epoch("ms")
            return Typed(milliseconds.cast(pl.Float64) / 1000.0, "double")
        if part not in _PARTS or (typed.type == "date" and part in _OF_DAY):
            known = ", ".join(
                name for name in (*_PARTS, "EPOCH") if typed.type != "date" or name not in _OF_DAY
            )
            raise fault(node, f"the parts of a {typed.type} are {known}", "known part")
        return Typed(_PARTS[part](typed.expression).cast(pl.Int64), "int")

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        part = self.part(node)
        if part == "EPOCH":
            return f"(epoch_ms(CAST({arguments[0]} AS TIMESTAMP)) / 1000.0::DOUBLE)"
        return f"CAST(extract({part} FROM {arguments[0]}) AS BIGINT)"


_UNITS = {
    "SECOND": "1s", "MINUTE": "1m", "HOUR": "1h", "DAY": "1d", "WEEK": "1w", "MONTH": "1mo",
    "QUARTER": "1q", "YEAR": "1y",
}  # fmt: skip


class Truncate(Function):
    """DATE_TRUNC('hour', time), in UTC; weeks begin on Monday."""

    nodes = (exp.TimestampTrunc, exp.DateTrunc)

    def arguments(self, node: exp.Expr) -> list[exp.Expr]:
        return [node.this]

    def compile(self, node: exp.Expr, parts: Parts) -> Typed:
        ((inside, typed),) = parts
        if typed.type not in ("timestamp", "date"):
            raise fault(inside, f"is {typed.type}, not a timestamp or date", "time")
        unit = node.args["unit"].name.upper()
        if unit not in _UNITS or (typed.type == "date" and unit in _OF_DAY):
            known = ", ".join(name for name in _UNITS if typed.type != "date" or name not in _OF_DAY)
            raise fault(node, f"the units of a {typed.type} are {known}", "known unit")
        return Typed(typed.expression.dt.truncate(_UNITS[unit]), typed.type)

    def duckdb(self, node: exp.Expr, kind: str, arguments: Sequence[str]) -> str:
        dtype = "DATE" if kind == "date" else "TIMESTAMP"
        return f"CAST(date_trunc('{node.args['unit'].name.lower()}', {arguments[0]}) AS {dtype})"


FUNCTIONS: tuple[Function, ...] = (
    Steps(), Round(), Curves(), Texts(), Substring(), Concatenation(), Extract(), Truncate(),
)  # fmt: skip
