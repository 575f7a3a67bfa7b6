"""The SQL dialects that compiled trees are written in."""

from sqlglot import expressions as exp

from libs.common.expressions.flink import FlinkWriter
from libs.common.expressions.sql import DuckDbWriter

WRITERS: dict[str, DuckDbWriter] = {"duckdb": DuckDbWriter(), "flink": FlinkWriter()}


def write(tree: exp.Expr, dialect: str) -> str:
    """A compiled tree in the SQL of `dialect`, one of WRITERS. DefinitionError if the dialect cannot express it."""
    return WRITERS[dialect].write(tree)
