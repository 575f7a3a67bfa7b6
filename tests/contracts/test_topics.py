"""The page of topics tells the truth: about the code, in the services' own pages and in the docs."""

import ast
import re
from pathlib import Path

import pytest

from libs.common import topics
from libs.common.topics import TOPICS, Topic
from local.documents import documents

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
BY_CONSTANT = {name: value for name, value in vars(topics).items() if isinstance(value, Topic)}
SHARED = {
    "libs.common.catalog.follow": {topics.CATALOG},
    "libs.common.references": {topics.REFERENCE},
    "libs.common.stream.StoredLoop": {topics.DEAD},
}
"""What a service reads or writes through a part of the library that it uses."""
NAMED_ONLY = {
    "strategy": {topics.EVENTS, topics.REFERENCE},
    "gateway": {topics.EVENTS},
    "governance": {
        topics.EVENTS, topics.OBSERVATIONS, topics.EXPECTATIONS, topics.SIGNALS, topics.LATE, topics.PARTIALS,
        topics.STATE, topics.MODELS, topics.PARKED,
    },
}  # fmt: skip
"""Strategy registers their schemas, the gateway shows the versions: both name a subject and touch no topic. Governance
says in a receipt by when their records are gone."""


def imports(service: str) -> set[str]:
    """`module` and `module.name` of everything that a service imports."""
    found = set()
    for file in (ROOT / "services" / service).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return found


def used(service: str) -> set[str]:
    """The topics that a service's code names."""
    imported = imports(service)
    own = {BY_CONSTANT[name] for name in BY_CONSTANT if f"libs.common.topics.{name}" in imported}
    own -= NAMED_ONLY.get(service, set())
    return {topic.name for topic in own.union(*(SHARED[part] for part in SHARED.keys() & imported))}


def section(service: str, heading: str) -> set[str]:
    """The topics that a paragraph of a service's README names."""
    text = (ROOT / "services" / service / "README.md").read_text()
    (paragraph,) = re.findall(rf"^\*\*{heading}\.\*\*(.*)$", text, re.MULTILINE)
    names = {
        name.replace("<source>", "{source}").replace(".*", ".{source}")
        for name in re.findall(r"`([^`]+)`", paragraph)
    }
    known = {topic.name for topic in TOPICS}
    return {name for name in names if name in known} | ({"catalog"} if "the catalog" in paragraph else set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_touches_the_topics_that_the_page_says_and_no_others(service: str) -> None:
    assert used(service) == {topic.name for topic in TOPICS if service in topic.producers + topic.consumers}


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_of_a_service_says_what_it_consumes_and_produces(service: str) -> None:
    assert section(service, "Consumes") == {topic.name for topic in TOPICS if service in topic.consumers}
    assert section(service, "Produces") == {topic.name for topic in TOPICS if service in topic.producers}


def test_every_topic_has_a_producer_a_consumer_and_its_place_in_the_list() -> None:
    assert set(BY_CONSTANT.values()) == set(TOPICS)
    for topic in TOPICS:
        assert topic.producers, topic.name
        assert topic.consumers, topic.name
        assert {*topic.producers, *topic.consumers} <= set(SERVICES)


def test_names_are_unique_and_no_topic_keeps_everything_for_ever() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert [
        topic.name for topic in TOPICS if topic.retention is None and not (topic.compacted or topic.trimmed)
    ] == []


@pytest.mark.parametrize(("file", "text"), list(documents()), ids=lambda value: getattr(value, "name", ""))
def test_a_derived_document_is_current(file: Path, text: str) -> None:
    assert file.read_text() == text, "run: make docs"
