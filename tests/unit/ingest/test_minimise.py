"""What is left of a record is what its source's fields allow, and nothing else of it is kept or said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.errors import BadMessage
from services.ingest.core.minimise import DROPPED, Minimiser, driven
from services.ingest.core.records import MAX_RECORD, Bad, Good, Validator

SECRETS = {"PEOPLE": b"sixteen bytes or more"}
PSEUDONYM = {"kind": "pseudonym", "secret": "PEOPLE"}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "minimise": PSEUDONYM},
    {"name": "at", "type": "timestamp", "minimise": {"kind": "truncate", "to": "hour"}},
    {"name": "email", "type": "string", "nullable": True, "minimise": PSEUDONYM | {"length": 16}},
    {"name": "name", "type": "string", "nullable": True, "minimise": {"kind": "drop"}},
    {"name": "phone", "type": "string", "nullable": True, "minimise": {"kind": "truncate", "to": 4}},
    {"name": "born", "type": "date", "nullable": True, "minimise": {"kind": "generalise", "to": "year"}},
    {"name": "age", "type": "int", "nullable": True, "minimise": {"kind": "generalise", "step": 10}},
    {"name": "fare", "type": "double", "nullable": True, "minimise": {"kind": "generalise", "step": 0.1}},
    {"name": "post", "type": "string", "nullable": True, "minimise": {"kind": "generalise", "prefix": 2}},
    {"name": "ip", "type": "string", "nullable": True, "minimise": {"kind": "generalise", "network": {}}},
    {"name": "gate", "type": "int", "nullable": True},
    {"name": "note", "type": "string", "nullable": True},
]


def source(fields: list[dict[str, Any]] = FIELDS, **more: Any) -> Source:
    definition = DEFINITION.validate_python(
        {
            "kind": "source", "id": "guests", "title": "Guests", "owner": "ops", "event_id": "id",
            "event_time": "at", "key": ["email"], "fields": fields, **more,
        }
    )  # fmt: skip
    assert isinstance(definition, Source)
    return definition


VALIDATOR = Validator(source())
MINIMISER = Minimiser(VALIDATOR, SECRETS)
RECORD = {
    "id": "jane-1", "at": "2026-11-24T10:34:56.789+01:00", "email": "jane@example.org", "name": "Jane Roe",
    "phone": "+4930123456", "born": "1990-05-06", "age": 37, "fare": 0.37, "post": "10115", "ip": "203.0.113.77",
    "gate": 5, "note": "window",
}  # fmt: skip


def of(record: dict[str, Any] | bytes) -> Good | Bad:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return MINIMISER.all([VALIDATOR.single(0, raw)])[0]


def good(record: dict[str, Any]) -> dict[str, Any]:
    found = of(record)
    assert isinstance(found, Good), found.error.reason
    return dict(zip(VALIDATOR.names, found.values, strict=True))


def refused(record: dict[str, Any] | bytes) -> tuple[dict[str, Any] | None, BadMessage]:
    """What is kept, and what is said."""
    found = of(record)
    assert isinstance(found, Bad)
    return json.loads(found.raw) if found.raw else None, found.error


def test_each_value_is_what_its_field_leaves_of_it() -> None:
    found = good(RECORD)
    assert (len(found["id"]), len(found["email"])) == (32, 16)
    assert "jane" not in found["id"] + found["email"]
    assert str(found["at"]) == "2026-11-24 09:00:00+00:00"
    assert (found["name"], found["phone"], str(found["born"])) == (None, "+493", "1990-01-01")
    assert (found["age"], found["fare"], found["post"], found["ip"]) == (30, 0.3, "10*", "203.0.113.0/24")
    assert (found["gate"], found["note"]) == (5, "window")


def test_key_id_and_time_are_made_of_what_is_left() -> None:
    found = of(RECORD)
    assert isinstance(found, Good)
    assert (found.event_id, found.key) == (found.values[0], found.values[2].encode())
    assert (found.event_time, found.raw) == (found.values[1], b"")


def test_the_same_text_has_the_same_pseudonym_in_any_field_of_the_same_secret() -> None:
    one, two = good(RECORD | {"id": "x"}), good(RECORD | {"id": "y", "email": "x"})
    assert one["id"][:16] == two["email"]
    assert one["id"] != two["id"]


def test_null_stays_null() -> None:
    found = good({"id": "1", "at": RECORD["at"]})
    assert {found[name] for name in found if name not in ("id", "at")} == {None}


@pytest.mark.parametrize(
    ("text", "network"),
    [("2001:db8:1:2::7", "2001:db8:1::/48"), ("10.1.2.3", "10.1.2.0/24"), ("::1", "::/48")],
)
def test_an_address_is_its_network(text: str, network: str) -> None:
    assert good(RECORD | {"ip": text})["ip"] == network


def test_what_cannot_be_generalised_is_malformed_and_not_kept() -> None:
    kept, error = refused(RECORD | {"ip": "jane@example.org"})
    assert (error.field, error.code, error.value) == ("ip", "not_minimised", None)
    assert kept is not None
    assert kept["ip"] == {"dropped": "text"}
    assert "jane" not in json.dumps(kept)


def test_of_a_malformed_record_is_kept_what_its_fields_could_hold() -> None:
    kept, error = refused(RECORD | {"gate": "jane@example.org", "jane@example.org": 1, "mail": "jane"})
    assert kept is not None
    assert (kept["gate"], kept["mail"], kept["?"]) == (
        {"dropped": "text"},
        {"dropped": "text"},
        {"dropped": "number"},
    )
    assert (kept["name"], kept["phone"], kept["age"], kept["note"]) == (None, "+493", 30, "window")
    assert kept["at"] == "2026-11-24T09:00:00Z"
    assert "jane" not in json.dumps(kept).lower()
    assert "jane" not in f"{error.reason}{error.rule}{error.field}{error.value}"


def test_the_name_of_an_unknown_field_is_said_only_if_it_is_a_plain_name() -> None:
    assert "e_mail" in refused(RECORD | {"e_mail": 1})[1].reason
    assert "4111" not in refused(RECORD | {"4111111111111111": 1})[1].reason


@pytest.mark.parametrize(
    "raw", [b'{"email": "jane@example.org"', b'["jane@example.org"]', b'"jane"', b"\xffjane", b"x" * (MAX_RECORD + 1)]
)  # fmt: skip
def test_what_is_no_object_is_not_kept_at_all(raw: bytes) -> None:
    found = of(raw)
    assert isinstance(found, Bad)
    assert (found.raw, found.headers[DROPPED], found.event_id) == (b"", str(len(raw)), None)


def test_what_was_kept_is_driven_again_without_being_changed_twice() -> None:
    """As if the field had been added since: what was refused is taken, and its pseudonyms are those of good events."""
    before = of(RECORD | {"seat": "12A"})
    assert isinstance(before, Bad)
    raw = {name: value for name, value in json.loads(before.raw).items() if name != "seat"}
    again = VALIDATOR.single(0, json.dumps(raw).encode())
    assert isinstance(again, Good)
    first, second = MINIMISER.all([driven(again, before.headers)])[0], of(RECORD)
    assert isinstance(first, Good)
    assert isinstance(second, Good)
    assert (first.values, first.event_id, first.key) == (second.values, second.event_id, second.key)


def test_without_its_secret_a_source_says_what_it_lacks() -> None:
    assert Minimiser(VALIDATOR, {}).lacks == ["PEOPLE"]
    assert Minimiser(VALIDATOR, {"PEOPLE": b"short"}).lacks == ["PEOPLE"]
    assert MINIMISER.lacks == []


@given(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1).filter(lambda text: "\0" not in text), "at": st.just(RECORD["at"])},
        optional={
            "age": st.integers(-(2**31), 2**31 - 1),
            "fare": st.floats(allow_nan=False, allow_infinity=False),
            "born": st.dates().map(str),
            "post": st.text().filter(lambda text: "\0" not in text),
            "phone": st.text().filter(lambda text: "\0" not in text),
            "ip": st.ip_addresses().map(str),
        },
    )
)
def test_what_is_left_stays_what_it_is_and_fits_its_source(record: dict[str, Any]) -> None:
    found = of(record)
    assert isinstance(found, Good)
    again = VALIDATOR.values(0, dict(zip(VALIDATOR.names, found.values, strict=True)))
    assert isinstance(again, Good)
    [twice] = MINIMISER.all([driven(again, {"sx-pseudonyms": "id"})])
    assert isinstance(twice, Good)
    assert twice.values == found.values


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just("jane@example.org"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "jane@example.org"]), inner),
)


@given(st.dictionaries(st.sampled_from([*VALIDATOR.names, "other", "jane@example.org"]), ANYTHING))
def test_nothing_but_what_a_field_could_hold_is_kept_of_whatever_comes(record: dict[str, Any]) -> None:
    record.pop("note", None)  # which may hold any text
    [found] = MINIMISER.all([VALIDATOR.single(0, json.dumps(record).encode())])
    said = (
        [found.error.reason, found.error.rule, found.error.value] if isinstance(found, Bad) else found.values
    )
    assert "example" not in f"{said}{found.raw}{found.event_id}"
