"""Plan and apply against a running mesh, with the registry's word on schemas."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from libs.cli.main import app
from tests.mesh import Mesh, until

ROOT = Path(__file__).parents[3]

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


@pytest.mark.parametrize(
    ("file", "before", "after", "finding"),
    [
        (
            "sources/departures.yaml", "name: distance, type: int", "name: distance, type: string",
            r"departures\.yaml:28: distance changes from int to string, against version \d+ \(compatibility BACKWARD\)",
        ),
        (
            "kpis/departure_delay.yaml", "avg(dep_delay)", "avg(dep_dealy)",
            r"departure_delay\.yaml:6: there is no field dep_dealy; did you mean dep_delay\?",
        ),
        (
            "kpis/aircraft_duty.yaml", "unit: flights", "unit: flights\npurpose: marketing",
            r"aircraft_duty\.yaml:\d+: tailnum may be used for operations, safety, not for marketing \(purpose\)",
        ),
    ],
    ids=["schema", "field", "purpose"],
)  # fmt: skip
def test_plan_refuses_with_file_line_and_reason_and_changes_nothing(
    mesh: Mesh, tmp_path: Path, file: str, before: str, after: str, finding: str
) -> None:
    folder = Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    versions = mesh.query("SELECT count(*) FROM read.catalog")
    for verb in ("plan", "apply"):
        result = CliRunner().invoke(
            app,
            [verb, str(folder), "--server", mesh.stack.gateway],
            env={"SEXTANT_TOKEN": mesh.token("operator")},
        )
        assert result.exit_code == 1
        assert re.search(finding, result.stderr), result.stderr
    assert mesh.query("SELECT count(*) FROM read.catalog") == versions
