"""The house rules about files and folders that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__main__.py").exists())
SOURCES = sorted(
    path
    for folder in ("services", "libs", "local", "demo", "tests", "bench")
    for path in (ROOT / folder).rglob("*.py")
)
VAGUE = {"utils", "util", "helpers", "helper", "manager", "base", "misc", "common_utils"}


def test_there_are_seven_services() -> None:
    assert SERVICES == ["archive", "detector", "gateway", "governance", "ingest", "quality", "strategy"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_readme_of_at_most_forty_lines(service: str) -> None:
    lines = (ROOT / "services" / service / "README.md").read_text().splitlines()
    assert len(lines) <= 40
    for heading in ("Purpose", "Consumes", "Produces", "Owns", "Settings", "When it fails"):
        assert any(heading in line for line in lines), f"README of {service} says nothing of: {heading}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_manifest_that_starts_it_by_its_import_path(service: str) -> None:
    manifest = (ROOT / "k8s" / "base" / f"{service}.yaml").read_text()
    assert f"services.{service}]" in manifest


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_tests_under_its_name(service: str) -> None:
    assert list((ROOT / "tests" / "unit" / service).glob("test_*.py"))
    assert list((ROOT / "tests" / "integration" / service).glob("test_*.py"))


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_function_is_longer_than_seventy_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 70
    ]
    assert long == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path.relative_to(ROOT)) for path in SOURCES if path.stem in VAGUE] == []


def test_the_root_stays_readable() -> None:
    """A newcomer sees the whole in one screen."""
    ignored = {"bench"}
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - ignored
    built = {"__pycache__", "sextant.egg-info", "build"}
    assert len(visible - built) <= 20
