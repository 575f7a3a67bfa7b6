"""Who reads a field is known from the definitions: expressions, filters, groups, enrichments, rules, KPIs over KPIs."""

from typing import Any

from libs.common.catalog import DEFINITION, Catalog
from libs.common.catalog.readers import readers


def catalog(*definitions: dict[str, Any]) -> Catalog:
    return Catalog.of([DEFINITION.validate_python(each) for each in definitions])


def source(id: str, fields: dict[str, str], **more: Any) -> dict[str, Any]:
    listed = [{"name": name, "type": kind} for name, kind in fields.items()]
    return {"kind": "source", "id": id, "title": id, "owner": "ops", "fields": listed, **more}


def kpi(id: str, **fields: Any) -> dict[str, Any]:
    said = {"kind": "kpi", "id": id, "title": id, "owner": "ops", "window": {"tumbling": "1h"}}
    return {**said, **fields}


FLIGHTS = source(
    "flights", {"id": "string", "at": "timestamp", "tail": "string", "delay": "int", "dest": "string", "gate": "int"},
    event_id="id", event_time="at",
)  # fmt: skip
PLANES = source("planes", {"tail": "string", "seats": "int", "maker": "string"}, reference=True, key=["tail"])
SEATS = kpi(
    "seats", source="flights", value="sum(p_seats)", where="delay > 0", let={"late": "delay / 60"}, by=["dest"],
    enrich=[{"reference": "planes", "on": ["tail"], "prefix": "p"}],
)  # fmt: skip
RATIO = kpi("ratio", over={"a": "seats"}, value="sum(a)")
KNOWN = {
    "kind": "rule", "id": "known", "title": "Known", "owner": "ops", "source": "flights", "where": "gate > 1",
    "check": {"reference": {"field": "tail", "in": "planes"}},
}  # fmt: skip
ALL = catalog(FLIGHTS, PLANES, SEATS, RATIO, KNOWN)


def told(source: str) -> dict[str, set[str]]:
    return {
        name: {f"{each.id} {each.path}" for each in found} for name, found in readers(source, ALL).items()
    }


def test_fields_of_a_source_have_the_kpis_and_rules_that_read_them() -> None:
    assert told("flights") == {
        "delay": {"seats where", "ratio over.a"},
        "dest": {"seats by.0", "ratio over.a"},
        "gate": {"known where"},
        "tail": {"seats enrich.0.on", "ratio over.a", "known check.reference.field"},
    }


def test_fields_of_a_reference_are_read_through_enrichment_and_by_its_key() -> None:
    assert told("planes") == {
        "seats": {"seats value", "ratio over.a"},
        "tail": {"seats enrich.0.on", "ratio over.a", "known check.reference.in"},
    }
