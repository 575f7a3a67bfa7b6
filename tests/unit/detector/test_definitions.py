"""A change of the catalog compiles what it changes, and leaves the rest as it is."""

from typing import Any

from libs.common import clock
from libs.common.catalog import DEFINITION, Catalog
from libs.common.events import CatalogEntry
from services.detector.handlers.definitions import Definitions

PLANES = {
    "kind": "source", "id": "planes", "title": "Planes", "owner": "ops", "reference": True, "key": ["tail"],
    "fields": [{"name": "tail", "type": "string"}, {"name": "seats", "type": "int"}],
}  # fmt: skip


def source(id: str, *more: str) -> dict[str, Any]:
    fields = [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "tail", "type": "string"},
        *({"name": name, "type": "int"} for name in more),
    ]  # fmt: skip
    return {
        "kind": "source", "id": id, "title": id, "owner": "ops", "event_id": "id", "event_time": "at",
        "fields": fields,
    }  # fmt: skip


def kpi(id: str, source: str, value: str = "count(*)", **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "ops", "source": source, "value": value,
        "window": {"tumbling": "1h"}, **more,
    }  # fmt: skip


def rule(id: str, source: str) -> dict[str, Any]:
    return {
        "kind": "rule", "id": id, "title": id, "owner": "ops", "source": source, "severity": "warning",
        "check": {"not_null": {"field": "tail"}},
    }  # fmt: skip


class Changing:
    def __init__(self) -> None:
        self.definitions = Definitions(Catalog())
        self.versions: dict[str, int] = {}

    async def put(self, *definitions: dict[str, Any]) -> Definitions:
        for each in definitions:
            checked = DEFINITION.validate_python(each)
            version = self.versions[checked.id] = self.versions.get(checked.id, 0) + 1
            entry = CatalogEntry.build(
                kind=checked.kind, id=checked.id, definition_version=version, applied_by="test", schema_id=None,
                definition=checked.model_dump(mode="json"), applied_at=clock.now(),
            )  # fmt: skip
            self.definitions.catalog.put(entry)
            await self.definitions.on_change(entry)
        return self.definitions


async def test_what_a_change_does_not_touch_stays_the_very_same() -> None:
    changing = Changing()
    found = await changing.put(
        source("flights"),
        source("gates"),
        kpi("late", "flights"),
        kpi("open", "gates"),
        rule("known", "gates"),
    )
    kpis, rules = dict(found.kpis), found.rules["gates"][0]
    await changing.put(kpi("early", "flights"))
    assert found.kpis["late@1"] is kpis["late@1"]
    await changing.put(source("flights", "delay"))
    assert found.kpis["late@1"] is not kpis["late@1"]
    assert found.kpis["open@1"] is kpis["open@1"]
    assert found.rules["gates"] == [rules]
    assert found.rules["gates"][0] is rules


async def test_a_kpi_that_does_not_compile_is_parked_until_what_it_lacks_is_there() -> None:
    changing = Changing()
    found = await changing.put(source("flights"), kpi("late", "flights", "sum(delay)"))
    assert found.kpis == {}
    assert "delay" in found.parked["late"]
    await changing.put(kpi("early", "flights"))
    assert "delay" in found.parked["late"]
    await changing.put(source("flights", "delay"))
    assert set(found.kpis) == {"late@1", "early@1"}
    assert found.parked == {}


async def test_a_reference_that_changes_compiles_what_is_enriched_with_it() -> None:
    changing = Changing()
    enrich = [{"reference": "planes", "on": ["tail"], "prefix": "plane"}]
    found = await changing.put(
        source("flights"),
        PLANES,
        kpi("seats", "flights", "sum(plane_seats)", enrich=enrich),
        kpi("late", "flights"),
    )
    before = dict(found.kpis)
    await changing.put({**PLANES, "title": "Aeroplanes"})
    assert found.kpis["seats@1"] is not before["seats@1"]
    assert found.kpis["late@1"] is before["late@1"]
