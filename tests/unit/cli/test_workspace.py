"""`sextant plan` refuses what is inconsistent, with the file, the line and the reason."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from libs.cli.main import app, schemas
from libs.common.catalog.catalog import Catalog
from libs.common.catalog.check import changes, check
from libs.common.catalog.workspace import load

CATALOG = Path(__file__).parents[3] / "catalog"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CATALOG, tmp_path / "catalog"))


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def problems(folder: Path) -> str:
    result = CliRunner().invoke(app, ["plan", str(folder), "--offline"])
    assert result.exit_code == 1
    return result.stderr


def test_the_demonstration_is_consistent() -> None:
    assert CliRunner().invoke(app, ["plan", str(CATALOG), "--offline"]).exit_code == 0


def test_a_field_that_does_not_exist_is_refused_at_its_line_with_a_suggestion(workspace: Path) -> None:
    edit(workspace / "kpis/departure_delay.yaml", "avg(dep_delay)", "avg(dep_dealy)")
    assert "departure_delay.yaml:6: there is no field dep_dealy; did you mean dep_delay?" in problems(
        workspace
    )


def test_a_purpose_that_a_field_forbids_is_refused_at_the_line_that_uses_it(workspace: Path) -> None:
    edit(workspace / "kpis/aircraft_duty.yaml", "unit: flights", "unit: flights\npurpose: marketing")
    assert "tailnum may be used for operations, safety, not for marketing (purpose)" in problems(workspace)


def test_a_misspelt_key_is_an_error_and_never_a_default(workspace: Path) -> None:
    edit(workspace / "kpis/wind_gust.yaml", "lateness: 3h", "latenes: 3h")
    assert "wind_gust.yaml:9: latenes: Extra inputs are not permitted" in problems(workspace)


def test_a_file_that_is_no_yaml_is_refused_at_its_line(workspace: Path) -> None:
    (workspace / "teams/broken.yaml").write_text("id: broken\ntitle: [a\n")
    assert "broken.yaml:3:" in problems(workspace)


def test_an_unknown_owner_is_refused(workspace: Path) -> None:
    edit(workspace / "kpis/wind_gust.yaml", "owner: weather-desk", "owner: weather-dsk")
    assert "wind_gust.yaml:3: there is no team weather-dsk; did you mean weather-desk?" in problems(workspace)


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("  - {name: distance, type: int", "  - {name: distance, type: string", "compatibility BACKWARD"),
        ("fields:\n", "fields:\n  - {name: gate, type: string}\n", "compatibility BACKWARD"),
        ("partitions: 4", "partitions: 2", "stable topic"),
    ],
)
def test_a_breaking_change_of_a_source_is_refused(
    workspace: Path, before: str, after: str, rule: str
) -> None:
    previous = Catalog.of(load(CATALOG).definitions)
    edit(workspace / "sources/departures.yaml", before, after)
    assert rule in {problem.rule for problem in check(load(workspace).definitions, previous)}


def test_a_new_nullable_field_is_no_breaking_change(workspace: Path) -> None:
    previous = Catalog.of(load(CATALOG).definitions)
    edit(
        workspace / "sources/departures.yaml",
        "fields:\n",
        "fields:\n  - {name: gate, type: string, nullable: true}\n",
    )
    definitions = load(workspace).definitions
    assert check(definitions, previous) == []
    found = [
        each for each in changes(previous, definitions, remove_missing=True) if each.action != "unchanged"
    ]
    assert [(each.kind, each.id, each.action) for each in found] == [("source", "departures", "update")]


def test_a_removed_file_is_a_removal_only_when_asked_for(workspace: Path) -> None:
    previous = Catalog.of(load(CATALOG).definitions)
    (workspace / "kpis/wind_gust.yaml").unlink()
    definitions = load(workspace).definitions
    assert "remove" not in {each.action for each in changes(previous, definitions, remove_missing=False)}
    assert "remove" in {each.action for each in changes(previous, definitions, remove_missing=True)}


def test_every_kind_has_a_json_schema_for_editors() -> None:
    assert set(schemas()) == {"source", "kpi", "rule", "objective", "playbook", "team", "policy"}


@pytest.mark.parametrize("words", [["source", "try"], ["redrive", "tolls", "--fix"]])
def test_a_command_says_what_is_wrong_with_a_file_and_where(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("day: 2026-13-02\n")
    result = CliRunner().invoke(app, [*words, str(file)])
    assert result.exit_code == 1
    assert "some.yaml:1: month must be in 1..12" in result.stderr
