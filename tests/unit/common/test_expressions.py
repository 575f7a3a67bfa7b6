"""Expressions mean in polars what they mean in DuckDB, also in parts that are merged."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import DefinitionError
from libs.common.expressions import derive, derived, predicate, scalar, value
from tests.examples import examples
from tests.unit.common.sample import FIELDS, ROWS, Rows, ask, frame, same

# --- generated expressions -------------------------------------------------------------------------------

Text = st.SearchStrategy[str]


def apply(form: str, *parts: Text) -> Text:
    return st.tuples(*parts).map(lambda given: form.format(*given))


def numbers(leaves: Text, conditions: Text, depth: int) -> Text:
    """Whole numbers and doubles, by operations that are exact or rounded once."""
    if depth == 0:
        return leaves
    inner = numbers(leaves, conditions, depth - 1)
    forms = ["({} + {})", "({} - {})", "({} * {})", "({} / {})", "coalesce({}, {})", "nullif({}, {})",
             "greatest({}, {})", "least({}, {})"]  # fmt: skip
    return st.one_of(
        leaves,
        *(apply(form, inner, inner) for form in forms),
        *(
            apply(form, inner)
            for form in ("abs({})", "sign({})", "floor({})", "ceil({})", "-({})", "round({}, 2)")
        ),
        apply("case when {} then {} else {} end", conditions, inner, inner),
    )


def texts(depth: int) -> Text:
    leaves = st.sampled_from(["status", "'cancelled'", "' x '", "cast(delay as varchar)", "null"])
    if depth == 0:
        return leaves
    inner = texts(depth - 1)
    forms = ["lower({})", "upper({})", "trim({})", "ltrim({})", "rtrim({})", "substring({} from 2 for 3)",
             "substring({}, 4)"]  # fmt: skip
    return st.one_of(
        leaves,
        *(apply(form, inner) for form in forms),
        *(apply(form, inner, inner) for form in ("({} || {})", "concat({}, {})", "coalesce({}, {})")),
    )


WHOLE = st.sampled_from(["delay", "distance", "7", "-3", "2147483647", "9223372036854775807", "null"])
NUMBERS = st.one_of(
    WHOLE, st.sampled_from(["gust", "0.1", "2.5", "cast(delay as double)", "cast(ok as int)"])
)
TIMES = st.sampled_from(["at", "date_trunc('hour', at)", "date_trunc('month', at)", "date_trunc('week', at)"])
PARTS = [
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "dow",
    "isodow",
    "doy",
    "hour",
    "minute",
    "second",
    "epoch",
]
OF_TIMES = st.one_of(
    *(apply(f"extract({part} from {{}})", TIMES) for part in PARTS),
    *(
        apply(f"extract({part} from {{}})", st.sampled_from(["day", "date_trunc('quarter', day)"]))
        for part in PARTS[:8]
    ),
    apply("length({})", texts(2)),
)
SIMPLE = st.one_of(
    st.sampled_from(["ok", "ok is not true", "status is null", "at >= '2001-01-01T00:00:00+02:00'",
                     "day between '2000-01-01' and '2001-01-01'", "status in ('departed', '')",
                     "status like 'Div_%'", "status ilike 'DEP%'", "status not like '%e_'"]),
    *(apply(form, NUMBERS, NUMBERS) for form in
      ("{} < {}", "{} = {}", "{} >= {}", "{} <> {}", "{} is distinct from {}", "{} in (1, {})", "{} between 0 and {}")),
)  # fmt: skip
CONDITIONS = st.one_of(
    SIMPLE,
    apply("not ({})", SIMPLE),
    apply("({}) and ({})", SIMPLE, SIMPLE),
    apply("({}) or ({})", SIMPLE, SIMPLE),
    apply("{} = {}", texts(2), texts(1)),
    apply("{} < {}", TIMES, TIMES),
)
SCALARS = st.one_of(
    numbers(st.one_of(NUMBERS, OF_TIMES), CONDITIONS, 2), apply("{} % {}", WHOLE, WHOLE), texts(2), CONDITIONS
)
CURVES = apply(
    "sqrt(abs({}) + 1) + ln({}) - exp(least({}, 5.0)) / power(2.0, {} % 5)", NUMBERS, NUMBERS, NUMBERS, WHOLE
)


def plain(answer: object) -> object:
    """Numbers as doubles, as every value is published."""
    return answer if isinstance(answer, str | bool | None) else float(str(answer))


def test_a_literal_beside_a_column_of_nulls_has_a_value_for_each_row() -> None:
    compiled = derived("'c' = coalesce(status, 'c')", FIELDS)
    frame = pl.DataFrame({"status": [None, None]}, schema={"status": pl.String})
    assert frame.with_columns(compiled.polars().alias("same"))["same"].to_list() == [True, True]


@examples(250)
@given(text=SCALARS | CURVES, rows=ROWS)
def test_a_scalar_is_of_each_event_what_it_is_in_sql(text: str, rows: Rows) -> None:
    try:
        compiled = derived(text, FIELDS)
    except DefinitionError:
        return  # such as a comparison of a number with a text, or what is always NULL
    events = frame(rows)
    found = events.with_columns(compiled.polars().alias("answer"))["answer"].to_list()
    number = compiled.type == "double"
    sql = f"CASE WHEN isfinite({compiled.sql()}) THEN {compiled.sql()} END" if number else compiled.sql()
    expected = [row[0] for row in ask(f"SELECT {sql} FROM events ORDER BY __offset", events)]
    pairs = zip(map(plain, found), map(plain, expected), strict=True)
    assert all(same(*pair) for pair in pairs), compiled.sql()


FUNCTIONS = ["count({})", "sum({})", "avg({})", "min({})", "max({})"]
AGGREGATES = st.one_of(
    st.just("count(*)"),
    apply("count(*) filter (where {})", SIMPLE.filter(lambda text: any(name in text for name in FIELDS))),
    *(apply(form, numbers(st.sampled_from(["delay", "gust"]), SIMPLE, 1)) for form in FUNCTIONS),
    *(apply(form, st.sampled_from(["distance", "delay * distance"])) for form in FUNCTIONS[1:3]),
)
VALUES = numbers(AGGREGATES, apply("{} > {}", st.just("count(*)"), st.just("2")), 2)


@examples(150)
@given(text=VALUES, rows=ROWS, seed=st.integers(0, 2**32))
def test_a_value_merged_from_parts_is_that_of_the_whole_in_sql(text: str, rows: Rows, seed: int) -> None:
    compiled, events, dice = value(text, FIELDS), frame(rows), random.Random(seed)
    parts = events.with_columns(pl.Series("b", [dice.randrange(4) for _ in rows])).partition_by("b")
    states = [part.group_by("k").agg(compiled.partials()) for part in parts]
    while len(states) > 1:
        dice.shuffle(states)
        states.append(pl.concat([states.pop(), states.pop()]).group_by("k").agg(compiled.merge()))
    found = states[0].sort("k").select(compiled.final().alias("answer"))["answer"].to_list()
    number = f"CAST({compiled.sql()} AS DOUBLE)"
    sql = f"SELECT CASE WHEN isfinite({number}) THEN {number} END FROM events GROUP BY k ORDER BY k"
    expected = [row[0] for row in ask(sql, events)]
    assert all(same(*pair) for pair in zip(found, expected, strict=True)), compiled.sql()


# --- stated semantics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 / 0", None), ("7 % 0", None), ("7 / 2", 3.5), ("-7 % 3", -1), ("7 % -3", 1),
        ("9223372036854775807 + 1", None), ("-9223372036854775807 - 2", None), ("4611686018427387904 * 2", None),
        ("-(-9223372036854775807 - 1)", None), ("abs(-9223372036854775807 - 1)", None),
        ("2147483647 * 2147483647", 4611686014132420609.0), ("cast(1e300 as bigint)", None), ("1e308 * 10", None),
        ("sqrt(-1)", None), ("ln(0)", None), ("exp(1000)", None), ("power(-8, 0.5)", None), ("power(2, 10)", 1024),
        ("round(2.5)", 3), ("round(-2.5)", -3), ("cast(2.5 as int)", 2), ("cast(3.5 as int)", 4),
        ("greatest(1, null, 3)", 3), ("length(concat('a', null, 'b'))", 2), ("length('a' || null)", None),
        ("length('Ü\u00df')", 2), ("nullif(3, 3)", None), ("coalesce(null, 4)", 4), ("case when null then 1 end", None),
        ("extract(hour from timestamp '2026-03-29T01:30:00+02:00')", 23), ("extract(dow from date '2026-03-29')", 0),
        ("epoch(date_trunc('week', timestamp '2026-03-29 01:00:00'))", 1774224000),
    ],
)  # fmt: skip
def test_semantics_are_as_stated_in_both_executions(text: str, answer: float | None) -> None:
    events = frame([(None,) * 7 + (0, 0, 0)])
    compiled = scalar(text, FIELDS)
    assert events.select(compiled.polars())[:, 0].to_list() == [answer if answer is None else float(answer)]
    number = f"CAST({compiled.sql()} AS DOUBLE)"
    assert ask(f"SELECT CASE WHEN isfinite({number}) THEN {number} END FROM events", events) == [(answer,)]


def test_a_sum_of_whole_numbers_counts_only_in_the_end() -> None:
    big = 2**62
    states = [
        pl.DataFrame({"distance": [each]}).select(value("sum(distance)", FIELDS).partials())
        for each in (big, big, big, -big, -big)
    ]
    compiled = value("sum(distance)", FIELDS)

    def total(parts: list[pl.DataFrame]) -> float | None:
        return pl.concat(parts).select(compiled.merge()).select(compiled.final())[:, 0].to_list()[0]

    assert total(states) == big
    assert total(states[:3]) is None


def test_aggregates_that_share_a_state_share_its_column() -> None:
    states = value("avg(delay) + sum(delay) / count(delay)", FIELDS).states
    assert [state.name for state in states] == ["sum(delay)", "count(delay)"]
    filtered = value("count(*) FILTER (where  delay>15)", FIELDS).states
    assert [state.name for state in filtered] == ["count(*) FILTER (WHERE delay > 15)"]


def test_derived_fields_build_on_those_before() -> None:
    expressions, types = derive({"late": "delay > 15", "cost": "if(late, gust * 2, 0)"}, FIELDS)
    assert (types["late"], types["cost"]) == ("boolean", "double")
    events = frame([("a", 20, 1, 1.5, None, None, None, 0, 0, 0)])
    for _, expression in expressions:
        events = events.with_columns(expression)
    assert events["cost"].to_list() == [3.0]


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("avg(dealy)", "known field"),
        ("delay", "aggregate"),
        ("delay + count(*)", "aggregate"),
        ("1 + 1", "aggregate"),
        ("sum(status)", "number"),
        ("sum(1)", "field"),
        ("sum(*)", "field"),
        ("max(ok)", "type"),
        ("max(status)", "number"),
        ("count(distinct delay)", "known aggregate"),
        ("median(delay)", "known aggregate"),
        ("sum(max(delay))", "no nesting"),
        ("sum(delay) filter (where max(delay) > 1)", "scalar"),
        ("approx_quantile(delay, 95)", "literal"),
        ("first(delay order by gust)", "known aggregate"),
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


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("delay = 'late'", "comparable types"),
        ("at > 'yesterday'", "ISO 8601"),
        ("lower(delay) = 'x'", "text"),
        ("extract(hour from day) = 1", "known part"),
        ("date_trunc('fortnight', at) = at", "known unit"),
        ("substring(status, delay) = 'x'", "literal"),
        ("gust % 2 = 0", "whole numbers"),
        ("delay", "boolean"),
        ("99999999999999999999 > delay", "64 bits"),
        ("case when ok then 1 else 'a' end = 1", "one type"),
    ],
)
def test_what_is_no_condition_is_refused_by_rule(sql: str, rule: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        predicate(sql, FIELDS)
    assert caught.value.rule == rule


def test_a_message_names_expression_type_and_what_helps() -> None:
    with pytest.raises(DefinitionError, match="did you mean delay"):
        predicate("dealy > 1", FIELDS)
    with pytest.raises(DefinitionError, match="compares int with string"):
        predicate("delay = 'late'", FIELDS)
    with pytest.raises(DefinitionError, match="approx_count_distinct"):
        value("count(distinct delay)", FIELDS)
    with pytest.raises(DefinitionError, match=r"approx_quantile\(x, 0.5\)"):
        value("median(delay)", FIELDS)
