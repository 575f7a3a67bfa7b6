"""What a source's encoder writes is, byte for byte, what the Avro library writes."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.wire import Codec
from services.ingest.core.encoder import Encoder

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text() | st.text(min_size=500, max_size=3_000).map(lambda text: text[:1] * 2_000),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
}
FIELDS = [
    {"name": f"{kind}_{null}", "type": kind, "nullable": null} for kind in VALUES for null in (False, True)
]
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "all-kinds", "title": "All", "owner": "ops", "event_id": "string_False",
        "event_time": "timestamp_False", "fields": FIELDS,
    }
)  # fmt: skip


RECORDS = st.fixed_dictionaries(
    {f"{kind}_False": values for kind, values in VALUES.items()}
    | {f"{kind}_True": values | st.none() for kind, values in VALUES.items()}
)


@given(st.lists(RECORDS, max_size=6))
def test_it_writes_what_the_library_writes(records: list[dict[str, Any]]) -> None:
    assert isinstance(SOURCE, Source)
    schema = SOURCE.avro_schema()
    rows = [[record[field.name] for field in SOURCE.fields] for record in records]
    assert Encoder(schema, 7).encode(rows) == [Codec(schema).encode(7, record) for record in records]


def test_an_instant_is_the_same_in_whatever_zone() -> None:
    assert isinstance(SOURCE, Source)
    schema = {"fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
    there = timezone(timedelta(hours=-5))
    encode = Encoder(schema, 1).encode
    assert encode([[datetime(2026, 1, 1, 7, tzinfo=there)]]) == encode(
        [[datetime(2026, 1, 1, 12, tzinfo=UTC)]]
    )
