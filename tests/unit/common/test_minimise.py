"""How a field is minimised goes with its type and with what its source does with it, or is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.catalog import DEFINITION, Source
from libs.common.catalog.check import check
from libs.common.catalog.check_minimise import notes

TEAM = {"kind": "team", "id": "ops", "title": "Ops", "department": "operations"}
PSEUDONYM = {"kind": "pseudonym", "secret": "PEOPLE"}
DROP = {"kind": "drop"}
TOKENISE = {"kind": "tokenise", "secret": "PEOPLE"}


def encrypt(subject: str) -> dict[str, Any]:
    return {"kind": "encrypt", "secret": "PEOPLE", "subject": subject}


def source(minimise: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    types = {
        "id": "string", "at": "timestamp", "name": "string", "email": "string", "born": "date", "age": "int",
        "fare": "double", "away": "boolean",
    }  # fmt: skip
    fields: list[dict[str, Any]] = [
        {"name": name, "type": kind, "nullable": name in ("name", "away"), "classification": "internal"}
        for name, kind in types.items()
    ]
    for field in fields:
        field["minimise"] = minimise.get(field["name"])
    fields[2]["classification"] = fields[3]["classification"] = "personal"
    return {
        "kind": "source", "id": "guests", "title": "Guests", "owner": "ops", "event_id": "id", "event_time": "at",
        "fields": fields, **more,
    }  # fmt: skip


def faults(definition: dict[str, Any]) -> set[tuple[str, str]]:
    definitions = [DEFINITION.validate_python(each) for each in (TEAM, definition)]
    return {(each.path, each.rule) for each in check(definitions)}


@pytest.mark.parametrize(
    "minimise",
    [
        {"name": DROP, "away": DROP, "id": PSEUDONYM, "email": PSEUDONYM | {"length": 16}},
        {"at": {"kind": "truncate", "to": "minute"}, "name": {"kind": "truncate", "to": 3}},
        {"age": {"kind": "generalise", "step": 10}, "fare": {"kind": "generalise", "step": 0.5}},
        {"born": {"kind": "generalise", "to": "year"}, "name": {"kind": "generalise", "prefix": 1}},
        {"email": {"kind": "generalise", "network": {"v4": 16}}},
        {"id": TOKENISE, "email": PSEUDONYM, "name": encrypt("email")},
        {"email": TOKENISE, "name": encrypt("email")},
    ],
)
def test_what_goes_together_is_not_refused(minimise: dict[str, Any]) -> None:
    assert faults(source(minimise)) == set()


REFERENCE: dict[str, Any] = {"reference": True, "event_id": None, "key": ["email"]}
FIRST = {"kind": "truncate", "to": 3}
SQL = {
    "kind": "sql", "address": "postgresql://r@db/x", "table": "guests", "cursor": "at", "tie_breaker": "email",
    "overlap": {"cap": "1h"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("minimise", "more", "path", "rule"),
    [
        ({"email": DROP}, {}, "fields.3.minimise", "drop needs null"),
        ({"age": PSEUDONYM}, {}, "fields.5.minimise", "type"),
        ({"age": FIRST}, {}, "fields.5.minimise", "type"),
        ({"born": {"kind": "truncate", "to": "hour"}}, {}, "fields.4.minimise", "type"),
        ({"email": {"kind": "generalise", "step": 2}}, {}, "fields.3.minimise", "type"),
        ({"age": {"kind": "generalise", "step": 0.5}}, {}, "fields.5.minimise", "type"),
        ({"fare": {"kind": "generalise", "to": "year"}}, {}, "fields.6.minimise", "type"),
        ({"age": {"kind": "generalise", "network": {}}}, {}, "fields.5.minimise", "type"),
        ({"at": {"kind": "generalise", "to": "month"}}, {}, "fields.1.minimise", "event has a time"),
        ({"id": FIRST}, {}, "fields.0.minimise", "event has an id"),
        ({"email": FIRST}, REFERENCE, "fields.3.minimise", "reference has a key"),
        ({"at": {"kind": "truncate", "to": "day"}}, REFERENCE, "fields.1.minimise", "event has a time"),
        ({"age": TOKENISE}, {}, "fields.5.minimise", "type"),
        ({"age": encrypt("email")}, {}, "fields.5.minimise", "type"),
        ({"id": encrypt("email")}, {}, "fields.0.minimise", "event has an id"),
        ({"email": encrypt("mail")}, {}, "fields.3.minimise.subject", "known field"),
        ({"email": encrypt("email")}, {}, "fields.3.minimise.subject", "subject in clear"),
        ({"email": encrypt("fare")}, {}, "fields.3.minimise.subject", "type"),
        ({"email": encrypt("name")}, {}, "fields.3.minimise.subject", "not nullable"),
        ({"email": encrypt("age")}, {}, "fields.3.minimise.subject", "subject can be erased"),
        ({"name": encrypt("email"), "email": FIRST}, {}, "fields.2.minimise.subject", "subject in clear"),
        ({"email": PSEUDONYM}, {"format": "json"}, "fields.3.minimise", "minimised by ingest"),
        ({"email": PSEUDONYM}, {"pull": SQL}, "fields.3.minimise", "cursor in clear"),
    ],
)
def test_what_does_not_is_refused_at_its_field(
    minimise: dict[str, Any], more: dict[str, Any], path: str, rule: str
) -> None:
    assert faults(source(minimise, **more)) == {(path, rule)}


@pytest.mark.parametrize("parts", [{}, {"step": 1, "prefix": 2}])
def test_there_is_exactly_one_way_to_generalise(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of step, to, prefix and network"):
        DEFINITION.validate_python(source({"age": {"kind": "generalise", **parts}}))


def test_a_personal_field_that_is_kept_as_it_comes_is_noted_and_no_fault() -> None:
    definition = DEFINITION.validate_python(source({"name": DROP}))
    assert [(id, path) for id, path, _ in notes([definition])] == [("guests", "fields.3")]


def scanned(
    place: int, scan: str, minimise: dict[str, dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    definition = source(minimise or {}, **more)
    definition["fields"][place]["scan"] = scan
    return definition


@pytest.mark.parametrize(
    ("place", "scan", "minimise", "more", "rule"),
    [
        (5, "redact", {}, {}, "type"),
        (5, "sample", {}, {}, "type"),
        (3, "redact", {"email": PSEUDONYM}, {}, "minimised or scanned"),
        (3, "redact", {}, {"format": "json"}, "minimised by ingest"),
        (0, "redact", {}, {}, "event has an id"),
        (3, "redact", {}, REFERENCE, "reference has a key"),
        (3, "redact", {}, {"pull": SQL}, "cursor in clear"),
    ],
)
def test_what_cannot_be_looked_through_is_refused_at_its_field(
    place: int, scan: str, minimise: dict[str, Any], more: dict[str, Any], rule: str
) -> None:
    assert faults(scanned(place, scan, minimise, **more)) == {(f"fields.{place}.scan", rule)}


def test_text_that_is_neither_classified_nor_minimised_is_sampled_unless_it_says_no() -> None:
    definition = source({})
    definition["fields"] += [
        {"name": name, "type": "string", "nullable": True} for name in ("note", "code", "memo")
    ]
    definition["fields"][-2]["scan"] = "off"
    definition["fields"][-1]["scan"] = "redact"
    definition["fields"][3]["scan"] = "sample"
    found = DEFINITION.validate_python(definition)
    assert isinstance(found, Source)
    assert (found.sampled, found.minimises) == (("email", "note"), True)
