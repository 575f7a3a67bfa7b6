"""The pages say what is there: dependencies, capabilities, links."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {"services", "libs", "local", "bench", "demo", "tests"}
COMES_WITH = {
    "starlette": "fastapi", "requests": "schemathesis", "referencing": "jsonschema",
    "googleapis-common-protos": "protobuf",  # both fill the namespace `google`
}  # fmt: skip
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/*/README.md")])


def declared(*groups: str) -> set[str]:
    lists = [PROJECT["project"]["dependencies"], *(PROJECT["dependency-groups"][group] for group in groups)]
    return {re.split(r"[\[><=~ ]", each)[0] for one in lists for each in one}


def imported(*folders: str) -> set[str]:
    """The packages whose modules the code of these folders imports."""
    found: set[str] = set()
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    found |= {each.name.partition(".")[0] for each in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    modules = packages_distributions()
    outside = found - OURS - sys.stdlib_module_names
    return {
        re.sub("_", "-", name.lower()) for module in outside for name in modules.get(module, [module])[:1]
    }


@pytest.mark.parametrize(
    ("folders", "groups"),
    [(("services", "libs"), ()), (("local", "demo", "tests"), ("demo", "dev"))],
    ids=["run time", "the rest"],
)
def test_every_package_that_is_imported_is_declared(
    folders: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    needed = {COMES_WITH.get(name, name) for name in imported(*folders)}
    assert needed - declared(*groups) - {"opentelemetry-api"} == set()


def test_every_dependency_has_its_reason_in_the_architecture() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text().partition("Dependencies, and why each is there")[2]
    assert {name for name in declared("demo", "dev") if f"`{name}`" not in page} == set()


def test_what_a_capability_names_is_there() -> None:
    page = (ROOT / "docs" / "capabilities.md").read_text()
    named = re.findall(r"`((?:services|libs|tests|dashboard|demo|local|k8s|catalog)/[^`]*)`", page)
    assert len(named) > 50
    assert [path for path in flat(named) if not (ROOT / path).exists()] == []


def flat(paths: list[str]) -> list[str]:
    """`a/{b,c}.py` as a/b.py and a/c.py."""
    found = []
    for path in paths:
        before, brace, rest = path.partition("{")
        names, _, after = rest.partition("}")
        found += [f"{before}{name}{after}" for name in names.split(",")] if brace else [path]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []
