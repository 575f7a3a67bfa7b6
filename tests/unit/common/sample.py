"""Events of every field type for the tests of the expression language, and DuckDB to ask what SQL says of them."""

import atexit
from datetime import UTC, date, datetime, timedelta
from functools import cache

import duckdb
import polars as pl
from hypothesis import strategies as st

from libs.common.twins import batch

FIELDS = {
    "status": "string", "delay": "int", "distance": "long", "gust": "double", "ok": "boolean", "at": "timestamp",
    "day": "date",
}  # fmt: skip
SCHEMA = {
    "status": pl.String, "delay": pl.Int32, "distance": pl.Int64, "gust": pl.Float64, "ok": pl.Boolean,
    "at": pl.Datetime("ms", "UTC"), "day": pl.Date, "__time": pl.Int64, "__partition": pl.Int32, "__offset": pl.Int64,
    "k": pl.Int64,
}  # fmt: skip
"""`k` is a group."""

LONG = 2**63
FIRST_DAY = date(1999, 12, 27)
FIELD_VALUES = (
    st.sampled_from(["departed", "cancelled", "Div_rted%", "", " Ünit 7 ", "it's"]),
    st.integers(-100, 2000) | st.sampled_from([-(2**31), 2**31 - 1, 0]),
    st.integers(-10, 5000) | st.sampled_from([-LONG + 1, LONG - 1, LONG // 3]),
    st.integers(-(2**20), 2**20).map(lambda quarters: quarters / 4)
    | st.sampled_from([float("nan"), float("inf"), -0.0]),
    st.booleans(),
    st.integers(-400_000_000_000, 1_800_000_000_000).map(
        lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    ),
    st.integers(0, 800).map(lambda days: FIRST_DAY + timedelta(days=days)),
)
"""Doubles are quarters, so that their sums are exact in any order."""
ROW = st.tuples(
    *(st.none() | each for each in FIELD_VALUES), st.integers(0, 5), st.integers(0, 1), st.integers(0, 2)
)
ROWS = st.lists(ROW, min_size=1, max_size=30)


Rows = list[tuple[object, ...]]


def frame(rows: Rows) -> pl.DataFrame:
    """Rows of ROW: the fields, time, partition and group. Offsets count up."""
    numbered = [(*row[:-1], offset, row[-1]) for offset, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=SCHEMA, orient="row")


@cache
def connection() -> duckdb.DuckDBPyConnection:
    """One for all tests, away from UTC: results must not depend on the session's zone."""
    found = duckdb.connect(config={"threads": 1})
    found.execute("SET TimeZone = 'America/New_York'")  # given to connect(), it waits for ever
    atexit.register(found.close)  # else the interpreter ends with a page of what leaks
    return found


def ask(sql: str, events: pl.DataFrame) -> list[tuple[object, ...]]:
    """The answer of a query over the table `events`."""
    batch.put(connection(), "events", events)
    return connection().execute(sql).fetchall()


def same(found: object, expected: object) -> bool:
    """Equal, doubles to 1e-9 relative."""
    if isinstance(found, float) and isinstance(expected, float):
        return abs(found - expected) <= 1e-9 * max(abs(found), abs(expected), 1.0)
    return found == expected
