"""The checked tree as Flink SQL. What Flink has not, or has otherwise, are functions of the module flink/sextant (sx_…).

What is not here is refused by name: a sketch is no value that Flink could find again.
"""

from collections.abc import Callable
from typing import ClassVar, cast

from sqlglot import expressions as exp

from libs.common.errors import DefinitionError
from libs.common.expressions.aggregates import (
    LARGEST,
    OFFSET,
    PARTITION,
    TIME,
    Aggregate,
    Avg,
    Count,
    Ends,
    Extremes,
    Sum,
    Variances,
)
from libs.common.expressions.functions import (
    Concatenation,
    Curves,
    Extract,
    Function,
    Round,
    Steps,
    Substring,
    Texts,
    Truncate,
)
from libs.common.expressions.sql import OPERATORS, DuckDbWriter
from libs.common.expressions.typed import WHOLE, kind_of

UNKNOWN = "CAST(NULL AS BOOLEAN)"
_WHOLE: dict[type[exp.Expr], str] = {exp.Add: "sx_plus", exp.Sub: "sx_minus", exp.Mul: "sx_times"}


class FlinkWriter(DuckDbWriter):
    types: ClassVar[dict[str, str]] = {
        "string": "STRING", "int": "BIGINT", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP(3)", "date": "DATE",
    }  # fmt: skip

    def name(self, text: str) -> str:
        return "`" + text.replace("`", "``") + "`"

    def finite(self, number: str) -> str:
        return f"sx_finite({number})"

    def timestamp(self, name: str) -> str:
        return name

    def literal(self, node: exp.Literal) -> str:
        if kind_of(node) == "timestamp":
            return f"TIMESTAMP '{node.meta['time']}'"
        return super().literal(node)

    def negative(self, node: exp.Neg) -> str:
        number = self.write(node.this)
        return f"sx_negate(({number}))" if kind_of(node) in WHOLE else f"(-({number}))"

    def arithmetic(self, node: exp.Binary) -> str:
        kinds = kind_of(node.this), kind_of(node.expression)
        kind = "double" if "double" in kinds else "long"
        left, right = (self.as_type(self.write(each), kind) for each in (node.this, node.expression))
        if kind == "double" or kinds == ("int", "int"):
            return f"({left} {OPERATORS[type(node)]} {right})"
        return f"{_WHOLE[type(node)]}({left}, {right})"

    def division(self, node: exp.Div) -> str:
        left, right = (self.as_type(self.write(each), "double") for each in (node.this, node.expression))
        return f"sx_divide({left}, {right})"

    def modulo(self, node: exp.Mod) -> str:
        left, right = (self.as_type(self.write(each), "long") for each in (node.this, node.expression))
        return f"sx_modulo({left}, {right})"

    # --- conditions --------------------------------------------------------------------------------------

    def condition(self, node: exp.Expr) -> str:
        return UNKNOWN if kind_of(node) == "null" else self.write(node)

    def negation(self, node: exp.Not) -> str:
        return f"(NOT {self.condition(node.this)})"

    def binary(self, node: exp.Binary) -> str:
        if isinstance(node, exp.Connector):
            sides = self.condition(node.this), self.condition(node.expression)
            return f"({sides[0]} {OPERATORS[type(node)]} {sides[1]})"
        return self._compared(OPERATORS[type(node)], node.this, node.expression)

    def _compared(self, operator: str, left: exp.Expr, right: exp.Expr) -> str:
        kinds = kind_of(left), kind_of(right)
        if "null" not in kinds:
            return f"({self.write(left)} {operator} {self.write(right)})"
        if not operator.endswith("DISTINCT FROM"):
            return UNKNOWN
        other = right if kinds[0] == "null" else left
        null = "true" if kind_of(other) == "null" else f"{self.write(other)} IS NULL"
        return f"({null})" if "NOT" in operator else f"(NOT ({null}))"

    def membership(self, node: exp.In) -> str:
        return f"({' OR '.join(self._compared('=', node.this, each) for each in node.expressions)})"

    def between(self, node: exp.Between) -> str:
        low, high = (cast(exp.Expr, node.args[name]) for name in ("low", "high"))
        return f"({self._compared('>=', node.this, low)} AND {self._compared('<=', node.this, high)})"

    def like(self, node: exp.Like | exp.ILike) -> str:
        loose = str(isinstance(node, exp.ILike)).upper()
        return f"sx_like({self.write(node.this)}, {self.write(node.expression)}, {loose})"

    def case(self, node: exp.Case) -> str:
        subject, branches = cast(exp.Expr | None, node.this), ""
        for branch in cast(list[exp.If], node.args["ifs"]):
            test = self._compared("=", subject, branch.this) if subject else self.condition(branch.this)
            branches += f" WHEN {test} THEN {self.branch(node, branch.args['true'])}"
        default = cast(exp.Expr | None, node.args.get("default"))
        ending = self.branch(node, default) if default else f"CAST(NULL AS {self.types[kind_of(node)]})"
        return f"(CASE{branches} ELSE {ending} END)"

    def choice(self, node: exp.If) -> str:
        otherwise = cast(exp.Expr | None, node.args.get("false"))
        ending = self.branch(node, otherwise) if otherwise else f"CAST(NULL AS {self.types[kind_of(node)]})"
        return f"(CASE WHEN {self.condition(node.this)} THEN {self.branch(node, node.args['true'])} ELSE {ending} END)"

    def pick(self, node: exp.Func) -> str:
        """Flink's GREATEST and LEAST are NULL where one is: so each NULL is stood in for by another one."""
        parts = [self.branch(node, each) for each in (node.this, *node.expressions)]
        if isinstance(node, exp.Coalesce) or len(parts) == 1:
            return f"COALESCE({', '.join(parts)})"
        turned = [f"COALESCE({', '.join(parts[place:] + parts[:place])})" for place in range(len(parts))]
        return f"{type(node).__name__.upper()}({', '.join(turned)})"

    def cast(self, node: exp.Cast) -> str:
        inside, kind = cast(exp.Expr, node.this), kind_of(node)
        if kind in WHOLE and kind_of(inside) == "double":
            return f"sx_whole({self.write(inside)})"
        return self.as_type(self.write(inside), kind)

    # --- functions and aggregates ------------------------------------------------------------------------

    def function(self, function: Function, node: exp.Expr, kind: str, arguments: list[str]) -> str:
        writers: dict[type[Function], Callable[[], str]] = {
            Steps: lambda: self._step(node, kind, arguments[0]),
            Round: lambda: f"sx_round({self.as_type(arguments[0], 'double')}, {cast(Round, function).digits(node)})",
            Curves: lambda: self._curve(node, [self.as_type(each, "double") for each in arguments]),
            Texts: lambda: self._text(node, self.as_type(arguments[0], "string")),
            Substring: lambda: self._substring(cast(Substring, function), node, self.as_type(arguments[0], "string")),
            Concatenation: lambda: self._concatenated(node, [self.as_type(each, "string") for each in arguments]),
            Extract: lambda: self._extracted(cast(Extract, function).part(node), arguments[0]),
            Truncate: lambda: f"sx_truncate('{node.args['unit'].name.upper()}', {arguments[0]})",
        }  # fmt: skip
        found = writers.get(type(function))
        if found is None:
            raise _refused(node)
        return found()

    def _step(self, node: exp.Expr, kind: str, number: str) -> str:
        if kind not in WHOLE:
            return f"{type(node).__name__.upper()}({self.as_type(number, 'double')})"
        if isinstance(node, exp.Floor | exp.Ceil):
            return number
        if isinstance(node, exp.Sign):
            return f"CAST(SIGN({number}) AS BIGINT)"
        return f"(CASE WHEN {number} < 0 THEN sx_negate({number}) ELSE {number} END)"

    def _curve(self, node: exp.Expr, numbers: list[str]) -> str:
        name = "POWER" if isinstance(node, exp.Pow) else type(node).__name__.upper()
        return self.finite(f"{name}({', '.join(numbers)})")

    def _text(self, node: exp.Expr, text: str) -> str:
        match node:
            case exp.Length():
                return f"CAST(CHAR_LENGTH({text}) AS BIGINT)"
            case exp.Trim():
                return f"TRIM({node.args.get('position') or 'BOTH'} ' ' FROM {text})"
            case _:
                return f"{type(node).__name__.upper()}({text})"

    def _substring(self, function: Substring, node: exp.Expr, text: str) -> str:
        start, length = function.bounds(node)
        return f"SUBSTRING({text} FROM {start}{'' if length is None else f' FOR {length}'})"

    def _concatenated(self, node: exp.Expr, texts: list[str]) -> str:
        if isinstance(node, exp.Concat):
            texts = [f"COALESCE({each}, '')" for each in texts]
        return f"({' || '.join(texts)})"

    def _extracted(self, part: str, time: str) -> str:
        if part == "EPOCH":
            return f"sx_epoch({self.as_type(time, 'timestamp')})"
        return f"sx_part('{part}', {time})"

    def aggregate(self, aggregate: Aggregate, node: exp.Expr, kind: str, argument: str) -> str:
        match aggregate:
            case Count():
                return f"COUNT({argument})"
            case Sum() if kind == "double":
                return f"SUM({argument})"
            case Sum():
                return f"sx_whole(SUM(CAST({argument} AS DECIMAL(38, 0))))"
            case Avg():
                total = argument if kind == "double" else f"CAST({argument} AS DECIMAL(38, 0))"
                return f"sx_divide(CAST(SUM({total}) AS DOUBLE), CAST(COUNT({argument}) AS DOUBLE))"
            case Extremes():
                return f"{'MIN' if isinstance(node, exp.Min) else 'MAX'}({argument})"
            case Variances():
                return self._variance(node, self.as_type(argument, "double"))
            case Ends():
                function = "sx_last" if isinstance(node, exp.Last | exp.LastValue) else "sx_first"
                order = ", ".join(map(self.name, (TIME, PARTITION, OFFSET)))
                return self.as_type(f"{function}({self.as_type(argument, 'string')}, {order})", kind)
            case _:
                raise _refused(node)

    def _variance(self, node: exp.Expr, number: str) -> str:
        less = 0 if isinstance(node, exp.VariancePop | exp.StddevPop) else 1
        count = f"CAST(COUNT(CASE WHEN ABS({number}) <= {LARGEST!r} THEN 1 END) - {less} AS DOUBLE)"
        variance = f"sx_divide(sx_deviations({number}), {count})"
        root = isinstance(node, exp.Stddev | exp.StddevSamp | exp.StddevPop)
        return f"SQRT({variance})" if root else variance


def _refused(node: exp.Expr) -> DefinitionError:
    text = node.sql(dialect="duckdb")
    return DefinitionError("", f"{text} cannot be expressed in Flink SQL", "engine flink")
