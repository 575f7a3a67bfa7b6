"""Every aggregate passes every check: the same value in parts as in whole, in SQL, with a filter, of nothing."""

import math
import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.expressions import AGGREGATES, Value, value
from libs.common.expressions.aggregates import Aggregate, Distinct
from tests.examples import examples
from tests.unit.common.sample import FIELDS, ROWS, SCHEMA, Rows, ask, frame, same

CASES = [("count(*)", aggregate) for aggregate in AGGREGATES[:1]]
CASES += [(form, aggregate) for aggregate in AGGREGATES for form in aggregate.forms]
every_aggregate = pytest.mark.parametrize(("form", "aggregate"), CASES, ids=[form for form, _ in CASES])
several = examples(12)


def texts(form: str, takes: tuple[str, ...]) -> list[str]:
    """The aggregate over a field of each type that it takes, made a number where it is none."""
    if form == "count(*)":
        return [form]
    number = {
        "string": "length({})",
        "timestamp": "epoch({})",
        "date": "epoch({})",
        "boolean": "if({}, 1, 0)",
    }
    return [
        (number.get(kind, "{}") if "count" not in form else "{}").format(form.replace("(x", f"({name}"))
        for name, kind in FIELDS.items()
        if kind in takes
    ]


def in_parts(compiled: Value, events: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The final state per group of `k`, from random batches merged in a random tree."""
    dice = random.Random(seed)
    batches = [dice.randrange(4) for _ in range(events.height)]
    states = [
        part.group_by("k").agg(compiled.partials())
        for part in events.with_columns(pl.Series("batch", batches)).partition_by("batch")
    ]
    while len(states) > 1:
        dice.shuffle(states)
        taken = [states.pop() for _ in range(dice.randint(2, len(states)))]
        states.append(pl.concat(taken).group_by("k").agg(compiled.merge()))
    return states[0].sort("k")


def finals(compiled: Value, states: pl.DataFrame) -> list[float | None]:
    return states.select(compiled.final().alias("answer"))["answer"].to_list()


@every_aggregate
@several
@given(rows=ROWS, seed=st.integers(0, 2**32))
def test_merged_from_any_parts_in_any_order_it_is_the_whole(
    form: str, aggregate: Aggregate, rows: Rows, seed: int
) -> None:
    events = frame(rows)
    for text in texts(form, aggregate.takes):
        compiled = value(text, FIELDS)
        whole = events.group_by("k").agg(compiled.partials()).sort("k")
        parts = in_parts(compiled, events, seed)
        assert dict(whole.schema) == dict(parts.schema) == {"k": pl.Int64, **compiled.schema()}
        if aggregate.error:
            assert whole.equals(parts), text
        pairs = zip(finals(compiled, parts), finals(compiled, whole), strict=True)
        assert all(same(*pair) for pair in pairs), text


@every_aggregate
@several
@given(rows=ROWS)
def test_it_is_what_sql_says_within_its_stated_error(form: str, aggregate: Aggregate, rows: Rows) -> None:
    events = frame(rows)
    for text in texts(form, aggregate.takes):
        compiled = value(text, FIELDS)
        states = events.group_by("k").agg(compiled.partials()).sort("k")
        expected = ask(f"SELECT CAST({compiled.sql()} AS DOUBLE) FROM events GROUP BY k ORDER BY k", events)
        for found, (wanted,) in zip(finals(compiled, states), expected, strict=True):
            if found is None or not isinstance(wanted, float):
                assert found is wanted, text
            else:
                allowed = max(aggregate.error * 1.0001, 1e-9) * max(abs(wanted), 1e-9)
                if isinstance(
                    aggregate, Distinct
                ):  # its error is that of many values (tested below): of two, one in 4096 shares a register
                    allowed = max(allowed, 1.0)
                assert abs(found - wanted) <= allowed, text


@pytest.mark.parametrize("many", [300, 3_000, 20_000])
def test_the_error_of_a_distinct_count_is_the_stated_one_and_it_leans_to_no_side(many: int) -> None:
    """The stated error is a standard error: what 60 samples say of it is within a third of it."""
    samples, dice = 60, random.Random(many)
    numbers = [dice.getrandbits(62) for _ in range(samples * many)]
    events = pl.DataFrame({"k": [place // many for place in range(samples * many)], "x": numbers})
    compiled = value("approx_count_distinct(x)", {"x": "long"})
    found = finals(compiled, events.group_by("k").agg(compiled.partials()))
    errors = [(answer or 0.0) / many - 1 for answer in found]
    stated = next(each.error for each in AGGREGATES if isinstance(each, Distinct))
    assert math.sqrt(sum(error**2 for error in errors) / samples) <= stated * 4 / 3
    assert abs(sum(errors) / samples) <= 4 * stated / math.sqrt(samples)


@every_aggregate
@several
@given(rows=ROWS, seed=st.integers(0, 2**32))
def test_a_filter_leaves_out_the_events_on_which_it_is_not_true(
    form: str, aggregate: Aggregate, rows: Rows, seed: int
) -> None:
    events = frame(rows)
    kept = events.filter(pl.col("delay") > 100)
    for text in texts(form, aggregate.takes)[:2]:
        plain = value(text, FIELDS)
        name = form.split("(")[0]
        filtered = value(_with_filter(text, name), FIELDS)
        expected = dict(zip(*_answers(plain, kept), strict=True))
        nothing = finals(plain, events.clear().select(plain.partials()))[0]
        for k, found in zip(*_answers(filtered, events), strict=True):
            assert same(found, expected.get(k, nothing)), text
        asked = ask(f"SELECT CAST({filtered.sql()} AS DOUBLE) FROM events GROUP BY k ORDER BY k", events)
        assert [found is None for found in _answers(filtered, events)[1]] == [row[0] is None for row in asked]


def _with_filter(text: str, name: str) -> str:
    start = text.index(name)
    end = text.index(")", start) + 1
    return f"{text[:end]} filter (where delay > 100){text[end:]}"


def _answers(compiled: Value, events: pl.DataFrame) -> tuple[list[int], list[float | None]]:
    states = events.group_by("k").agg(compiled.partials()).sort("k")
    return states["k"].to_list(), finals(compiled, states)


@every_aggregate
def test_of_nothing_it_is_null_and_a_count_is_zero(form: str, aggregate: Aggregate) -> None:
    nothing = pl.DataFrame([(*[None] * 7, 0, 0, 0, 0)] * 3, schema=SCHEMA, orient="row")
    for text in texts(form, aggregate.takes):
        compiled = value(text, FIELDS)
        states = nothing.group_by("k").agg(compiled.partials())
        merged = pl.concat([states, states]).group_by("k").agg(compiled.merge())
        wanted = {"count(*)": 6.0}.get(form, 0.0 if "count" in form or text.startswith("if") else None)
        assert finals(compiled, merged) == [wanted], text


@every_aggregate
def test_the_columns_of_its_state_have_canonical_names(form: str, aggregate: Aggregate) -> None:
    text = next(iter(texts(form, aggregate.takes)))
    one, other = value(text, FIELDS), value(text.replace("(", "( ").upper().replace("DELAY", "delay")
                     .replace("STATUS", "status"), FIELDS)  # fmt: skip
    assert [state.name for state in one.states] == [state.name for state in other.states]
    assert value(f"{text} + {text}", FIELDS).schema() == one.schema()
