"""A definition is drafted from a sample, and what cannot be decided is said."""

import json

from services.ingest.core.infer import draft, typed


def drafted(*records: object, **named: object) -> dict[str, object]:
    return draft([json.dumps(each).encode() for each in records], {"kind": "http", "url": "u"}, dict(named))


def flight(number: int, **more: object) -> dict[str, object]:
    carrier = "UA" if number % 2 else "AA"
    return {
        "carrier": carrier,
        "flight_id": f"f{number}",
        "seen_at": "2026-11-24T10:00:00Z",
        "delay": number,
        **more,
    }


def test_types_nulls_id_time_and_key_are_found() -> None:
    found = drafted(*(flight(n, gust=n / 2 if n else None) for n in range(6)))
    assert found["notes"] == []
    definition = found["definition"]
    assert isinstance(definition, dict)
    assert definition["fields"] == [
        {"name": "carrier", "type": "string"},
        {"name": "flight_id", "type": "string"},
        {"name": "seen_at", "type": "timestamp"},
        {"name": "delay", "type": "long"},
        {"name": "gust", "type": "double", "nullable": True},
    ]
    assert (definition["event_id"], definition["event_time"]) == ("flight_id", "seen_at")
    assert definition["key"] == ["carrier"]


def test_what_the_file_says_goes_before_what_is_likely() -> None:
    found = drafted(*(flight(n) for n in range(4)), id="flights", event_id="delay", owner="fleet")[
        "definition"
    ]
    assert isinstance(found, dict)
    assert (found["id"], found["owner"], found["event_id"]) == ("flights", "fleet", "delay")


def test_what_cannot_be_a_field_is_said() -> None:
    notes = drafted({"a b": 1, "deep": {}, "mixed": 1}, {"a b": 1, "deep": {}, "mixed": "x"}, 7)["notes"]
    assert notes == [
        "1 of 3 records are no JSON objects",
        "'a b' is no name for a field: letters, digits and _ only",
        "deep: an object or a list: fields are flat, so every record with it is refused",
        "mixed: of several types (long, string): taken as string, others are refused",
        "no field of the sample can be the event_id",
        "no field of the sample can be the event_time",
    ]


def test_rows_of_text_are_taken_for_what_they_look_like() -> None:
    row = {
        "id": "007",
        "n": "7",
        "x": "-1.5",
        "ok": "True",
        "at": "2026-11-24 10:00:00",
        "day": "2026-11-24",
        "no": "",
    }
    assert json.loads(typed(json.dumps(row).encode())) == {
        "id": "007", "n": 7, "x": -1.5, "ok": True, "at": "2026-11-24T10:00:00Z", "day": "2026-11-24", "no": None,
    }  # fmt: skip
