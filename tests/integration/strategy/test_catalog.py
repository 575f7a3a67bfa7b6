"""Plan and apply against a running mesh, with the registry's word on schemas."""

from typing import Any

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "gauge", "title": "Gauge", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1,
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "level", "type": "int"}],
}  # fmt: skip


def plan(mesh: Mesh, *definitions: dict[str, Any]) -> dict[str, Any]:
    return mesh.service("strategy").post("/v1/catalog/plan", json={"definitions": list(definitions)}).json()


def test_applying_the_same_again_changes_nothing(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    again = mesh.define(SOURCE)
    assert [(each["action"], each["version"]) for each in again["changes"]] == [("unchanged", 1)]


def test_a_breaking_schema_is_refused_with_the_reason(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    broken = SOURCE | {"fields": [*SOURCE["fields"][:2], {"name": "level", "type": "string"}]}
    (problem,) = plan(mesh, broken)["problems"]
    assert (problem["path"], problem["rule"]) == ("fields.2", "compatibility BACKWARD")
    refused = mesh.service("strategy").post("/v1/catalog/apply", json={"definitions": [broken]})
    assert (refused.status_code, refused.json()["code"]) == (422, "inconsistent_catalog")


def test_a_change_is_in_force_everywhere_without_a_restart(mesh: Mesh) -> None:
    kpi = {
        "kind": "kpi", "id": "gauge_level", "title": "Level", "owner": "fleet", "source": "gauge", "value": "max(level)",
        "window": {"tumbling": "1m"},
    }  # fmt: skip
    mesh.define(SOURCE, kpi)

    def running() -> set[int]:
        state = mesh.service("detector").get("/v1/state").json()
        return {each["version"] for each in state["kpis"] if each["kpi"] == "gauge_level"}

    assert until(lambda: running() == {1})
    mesh.define(kpi | {"value": "min(level)"})
    assert until(lambda: running() == {2})
    versions = mesh.query(
        "SELECT version FROM read.catalog WHERE kind = 'kpi' AND id = 'gauge_level' ORDER BY version"
    )
    assert versions == [(1,), (2,)]


def test_a_definition_that_is_none_is_a_problem_with_its_path(mesh: Mesh) -> None:
    (problem,) = plan(mesh, {"kind": "team", "id": "Not An Id", "title": "x", "department": "y"})["problems"]
    assert (problem["kind"], problem["path"]) == ("team", "id")
