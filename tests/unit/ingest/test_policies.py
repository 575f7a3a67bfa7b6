"""What a source declares is compiled into its validator: unknown fields, defaults, zones of times without an offset."""

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.records import Bad, Good, Validator
from services.ingest.core.rows import row, texts
from services.ingest.core.zones import in_utc
from tests.evolution import source

BERLIN = ZoneInfo("Europe/Berlin")
LOCAL: list[dict[str, Any]] = [{"name": "seen", "type": "timestamp", "zone": "Europe/Berlin"}]


def judged(fields: list[dict[str, Any]], values: dict[str, Any], **more: Any) -> Good | Bad:
    record = {"id": "1", "at": "2026-11-24T10:00:00Z", **values}
    return Validator(source(fields, **more)).single(0, json.dumps(record).encode())


def values(found: Good | Bad) -> tuple[Any, ...]:
    assert isinstance(found, Good), found
    return found.values[2:]


def error(found: Good | Bad) -> tuple[str, str | None]:
    assert isinstance(found, Bad)
    return found.error.code, found.error.field


def test_unknown_fields_are_refused_unless_the_source_drops_them() -> None:
    n = [{"name": "n", "type": "int"}]
    assert error(judged(n, {"n": 1, "more": 2})) == ("unknown_field", "more")
    assert values(judged(n, {"n": 1, "more": 2}, unknown_fields="drop")) == (1,)
    dropping = Validator(source(n, unknown_fields="drop"))
    assert isinstance(
        dropping.values(0, {"id": "1", "at": datetime(2026, 1, 1, tzinfo=UTC), "n": 1, "more": 2}), Good
    )


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ("string", "none", "none"), ("int", -1, -1), ("double", 2, 2.0), ("boolean", False, False),
        ("timestamp", "2026-01-01T01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("date", "2026-01-01", date(2026, 1, 1)),
    ],
)  # fmt: skip
def test_a_field_that_lacks_has_its_default_and_null_is_still_wrong(
    kind: str, default: Any, value: Any
) -> None:
    field = [{"name": "f", "type": kind, "default": default}]
    assert values(judged(field, {})) == (value,)
    assert error(judged(field, {"f": None})) == ("wrong_type", "f")


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        ("2026-07-01T12:00:00", "2026-07-01T10:00:00"),
        ("2026-01-01T12:00:00", "2026-01-01T11:00:00"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00"),  # shown twice: the first
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00"),  # who says an offset means it
    ],
)
def test_a_time_without_an_offset_is_one_of_the_zone(given: str, utc: str) -> None:
    assert values(judged(LOCAL, {"seen": given})) == (datetime.fromisoformat(utc + "+00:00"),)


def test_a_time_that_clocks_skip_is_malformed_and_without_a_zone_every_one_without_an_offset() -> None:
    assert error(judged(LOCAL, {"seen": "2026-03-29T02:30:00"})) == ("not_a_time", "seen")
    assert error(judged([{"name": "seen", "type": "timestamp"}], {"seen": "2026-07-01T12:00:00"})) == (
        "not_a_time",
        "seen",
    )
    assert error(judged(LOCAL, {"seen": "0001-01-01T00:00:00"})) == ("not_a_time", "seen")


@given(st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2037-01-01")))
def test_a_local_time_is_what_clocks_there_show_or_no_time_at_all(local: datetime) -> None:
    try:
        utc = in_utc(local, BERLIN)
    except ValueError:
        assert not any(
            local.replace(tzinfo=BERLIN, fold=fold).astimezone(UTC).astimezone(BERLIN).replace(tzinfo=None)
            == local
            for fold in (0, 1)
        )
    else:
        assert utc.astimezone(BERLIN).replace(tzinfo=None) == local
        assert utc <= local.replace(tzinfo=BERLIN, fold=1).astimezone(UTC)


def test_rows_of_tables_and_files_leave_the_zone_to_the_field() -> None:
    defined = source([*LOCAL, {"name": "n", "type": "int"}])
    seen, at = datetime.fromisoformat("2026-07-01T12:00:00"), datetime.fromisoformat("2026-11-24T10:00:00")
    for found in (
        row(defined, {"id": "1", "at": at, "seen": seen, "n": 3, "other": 1}),
        texts(defined, {"id": "1", "at": str(at), "seen": str(seen), "n": "3"}),
    ):
        read = Validator(defined).single(0, found)
        assert values(read) == (datetime(2026, 7, 1, 10, tzinfo=UTC), 3)
        assert isinstance(read, Good)
        assert read.event_time == at.replace(tzinfo=UTC)
