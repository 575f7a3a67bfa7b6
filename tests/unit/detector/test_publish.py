"""The writer of observations gives the very bytes that fastavro gives."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Kpi
from libs.common.events import OBSERVATION_SCHEMA, Observation, parse_series_key, series_key
from libs.common.varints import varint
from libs.common.wire import Codec, split
from services.detector.core.definitions import compile_kpi
from services.detector.core.merge import observations
from services.detector.core.publish import Envelope, common, encode

KPI = Kpi.model_validate(
    {
        "id": "k", "title": "K", "owner": "o", "over": {"a": "x"}, "value": "sum(a)",
        "measures": {"highest": "max(a)"}, "window": {"tumbling": "1m"},
    }
)  # fmt: skip
COMPILED = compile_kpi(KPI, 3, None)
CODEC = Codec(OBSERVATION_SCHEMA)
NAMES = st.text(min_size=1, max_size=4).filter(lambda name: not set(name) & set(",="))
NUMBERS = st.integers(0, 2**40)
SPANS = st.lists(
    st.fixed_dictionaries({"partition": st.integers(0, 63), "first": NUMBERS, "last": NUMBERS}), max_size=3
)
ROWS = st.fixed_dictionaries(
    {
        "series_key": st.dictionaries(NAMES, st.none() | st.text(max_size=4), max_size=2).map(series_key),
        "start": NUMBERS, "stop": NUMBERS, "revision": st.integers(1, 2**31 - 1),
        "status": st.sampled_from(["provisional", "final", "retracted"]), "count": NUMBERS, "assessed": NUMBERS,
        "suspect": NUMBERS, "worst": st.integers(0, 3), "schema_ids": st.lists(st.integers(0, 2**31 - 1), max_size=3),
        "offsets": SPANS, "value": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "measure:highest": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    }
)  # fmt: skip


@given(rows=st.lists(ROWS, max_size=4), watermark=st.none() | NUMBERS, trace=st.none() | st.text(max_size=60))
def test_the_bytes_are_those_of_fastavro(
    rows: list[dict[str, Any]], watermark: int | None, trace: str | None
) -> None:
    due = pl.DataFrame(rows, schema=observations(COMPILED))
    shares = pl.Series([0.5] * len(rows), dtype=pl.Float64)
    shared = common(due, shares, Envelope(watermark, 1_700_000_000_000, trace))
    keys, values = encode(COMPILED, 7, due, shared)
    assert keys == [f"k|{row['series_key']}".encode() for row in rows]
    for row, value in zip(rows, values, strict=True):
        schema_id, body = split(value)
        found = CODEC.record(body)
        assert schema_id == 7
        assert CODEC.encode(7, found) == value
        seen = Observation.model_validate(found)
        assert (seen.series, seen.series_key) == (parse_series_key(row["series_key"]), row["series_key"])
        assert (seen.value, seen.measures) == (row["value"], {"highest": row["measure:highest"]})
        spans = [span.model_dump(include={"partition", "first", "last"}) for span in seen.offsets]
        assert (spans, seen.schema_ids, seen.worst) == (
            row["offsets"], row["schema_ids"], [None, "info", "warning", "critical"][row["worst"]],
        )  # fmt: skip
        assert (seen.count, seen.revision, seen.status) == (row["count"], row["revision"], row["status"])


@pytest.mark.parametrize("number", [0, -1, 1, 63, 64, -65, 2**31, -(2**63), 2**63 - 1])
def test_a_long_is_written_as_fastavro_writes_it(number: int) -> None:
    codec = Codec({"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]})
    assert split(codec.encode(1, {"n": number}))[1] == varint(number)
