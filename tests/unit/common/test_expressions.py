"""Expressions mean in polars what they mean in DuckDB, also in parts that are merged."""

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import DefinitionError
from libs.common.expressions import predicate, value

FIELDS = {"status": "string", "delay": "int", "distance": "long", "gust": "double", "ok": "boolean"}
SCHEMA = {
    "status": pl.String,
    "delay": pl.Int32,
    "distance": pl.Int64,
    "gust": pl.Float64,
    "ok": pl.Boolean,
}
ROW = st.tuples(
    st.none() | st.sampled_from(["departed", "cancelled", "Div_rted%", ""]),
    st.none() | st.integers(-100, 2000),
    st.none() | st.integers(-10, 5000),
    st.none() | st.floats(-50, 100, width=32),
    st.none() | st.booleans(),
)
ROWS = st.lists(ROW, max_size=30)

PREDICATES = [
    "status <> 'cancelled'",
    "delay > 15 and not (status = 'cancelled' or ok)",
    "delay between -5 and 15 or distance in (1, 2, 3)",
    "status like 'Div%' or status is null",
    "coalesce(delay, 0) % 7 = 1 and ok is not true",
    "case when delay > 100 then true when delay < 0 then ok end",
    "distance / delay > 2.5",
    "abs(gust) >= floor(gust) + 1 and upper(status) = 'CANCELLED'",
    "delay = null or lower(status) in ('departed', 'x')",
]
VALUES = [
    "count(*)",
    "sum(delay)",
    "avg(case when delay <= 15 then 1.0 else 0.0 end)",
    "max(gust) - min(gust)",
    "sum(distance) / count(delay)",
    "100.0 * count(delay) / count(*)",
    "avg(delay + distance * 2)",
    "coalesce(max(delay), -1) + sum(gust) * 0",
]


def frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def ask(sql: str, table: pl.DataFrame) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE events (status text, delay int, distance bigint, gust double, ok boolean)"
        )
        if table.height:
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", table.rows())
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("sql", PREDICATES)
@settings(max_examples=25, deadline=None)
@given(rows=ROWS)
def test_a_condition_is_true_false_or_unknown_as_in_sql(sql: str, rows: list[tuple[object, ...]]) -> None:
    table = frame(rows)
    compiled = predicate(sql, FIELDS)
    expected = [row[0] for row in ask(f"SELECT {compiled.sql()} FROM events", table)]
    assert table.select(compiled.polars().alias("answer"))["answer"].to_list() == expected


@pytest.mark.parametrize("sql", VALUES)
@settings(max_examples=25, deadline=None)
@given(rows=ROWS.filter(bool), parts=st.integers(1, 5))
def test_a_value_merged_from_parts_is_the_value_of_the_whole(
    sql: str, rows: list[tuple[object, ...]], parts: int
) -> None:
    table = frame(rows)
    compiled = value(sql, FIELDS)
    ((expected,),) = ask(f"SELECT {compiled.sql()} FROM events", table)
    states = pl.concat([table[start::parts].select(compiled.partials()) for start in range(parts)])
    answer = states.select(compiled.merge()).select(compiled.final().alias("answer"))["answer"][0]
    assert answer == (None if expected is None else pytest.approx(float(str(expected)), rel=1e-9, abs=1e-9))


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("avg(dealy)", "known field"),
        ("delay", "aggregate"),
        ("delay + count(*)", "aggregate"),
        ("1 + 1", "aggregate"),
        ("sum(status)", "number"),
        ("count(distinct delay)", "known aggregate"),
        ("median(delay)", "known aggregate"),
        ("sum(max(delay))", "no nesting"),
        ("sum(delay", "syntax"),
        ("select 1", "expression"),
        ("sum(delay) over ()", "known expression"),
        ("sum(read_text('secret'))", "known expression"),
    ],
)
def test_what_is_no_value_is_refused_by_rule(sql: str, rule: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        value(sql, FIELDS)
    assert caught.value.rule == rule


def test_a_misspelt_field_comes_with_a_suggestion() -> None:
    with pytest.raises(DefinitionError, match="did you mean delay"):
        predicate("dealy > 1", FIELDS)


def test_types_that_do_not_compare_are_refused() -> None:
    with pytest.raises(DefinitionError, match="compares int with string"):
        predicate("delay = 'late'", FIELDS)
