"""The published documents are valid, and their examples are what they say. (AsyncAPI's own schema: `local.manifests`.)"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from libs.cli.main import schemas
from libs.common.catalog.models import FOLDERS
from libs.common.catalog.workspace import YAML, plain
from services.gateway.api import VERSION, create_app
from services.gateway.api.asyncapi import asyncapi
from services.gateway.api.problems import TITLES

CATALOG = Path(__file__).parents[2] / "catalog"
OPENAPI = create_app().openapi()
ASYNCAPI = asyncapi(VERSION)


def validator(document: dict[str, Any], pointer: str) -> Draft202012Validator:
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    return Draft202012Validator(
        {"$ref": f"urn:document{pointer}"}, registry=Registry().with_resource("urn:document", resource)
    )


def faults(document: dict[str, Any]) -> list[str]:
    """What is wrong with the examples of a document's schemas."""
    return [
        f"{name}: {error.json_path}: {error.message}"
        for name, schema in document["components"]["schemas"].items()
        for example in schema.get("examples", ())
        for error in validator(document, f"#/components/schemas/{name}").iter_errors(example)
    ]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in OPENAPI["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_openapi_document_is_valid_3_1() -> None:
    assert OPENAPI["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(OPENAPI).iter_errors()) == []


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_example_is_valid_against_its_schema(document: dict[str, Any]) -> None:
    assert faults(document) == []


def test_every_answer_and_every_body_has_an_example() -> None:
    missing = []
    for path, method, operation in operations():
        contents = [("body", operation.get("requestBody", {}).get("content", {}))]
        contents += [
            (status, answer.get("content", {}))
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        ]
        for where, content in contents:
            for kind, media in content.items():
                reference = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
                schema = OPENAPI["components"]["schemas"].get(reference, media.get("schema", {}))
                if not ({"example", "examples"} & media.keys() or "examples" in schema):
                    missing.append(f"{method} {path} {where} {kind}")
    assert missing == []


def test_every_operation_says_what_it_does_and_how_it_refuses() -> None:
    for path, method, operation in operations():
        assert {"summary", "description"} <= operation.keys(), f"{method} {path}"
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert "application/problem+json" in answer["content"], f"{method} {path} {status}"


def test_operations_have_unique_names_for_generated_clients() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_code_of_the_gateway_has_a_title() -> None:
    """A code is what clients branch on: each one is on the list."""
    folder = Path(__file__).parents[2] / "services" / "gateway"
    used = {
        code
        for file in folder.rglob("*.py")
        for code in re.findall(r"Refused\(\s*\d{3},\s*\"([a-z_]+)\"", file.read_text())
    }
    assert used <= TITLES.keys()


def test_every_frame_of_the_streams_is_in_the_document_with_an_example() -> None:
    messages = ASYNCAPI["components"]["messages"]
    assert [name for name, message in messages.items() if not message["examples"]] == []
    heard = ASYNCAPI["operations"]["hear"]["messages"] + ASYNCAPI["operations"]["say"]["messages"]
    assert len(heard) == len(messages) == len(ASYNCAPI["channels"]["stream"]["messages"])


@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_the_schema_for_editors_takes_the_demonstration_and_refuses_a_misspelt_key(kind: str) -> None:
    schema = schemas()[kind]
    Draft202012Validator.check_schema(schema)
    files = sorted((CATALOG / FOLDERS[kind]).glob("*.yaml"))
    assert files
    for file in files:
        content = plain(YAML().load(file))
        assert [error.message for error in Draft202012Validator(schema).iter_errors(content)] == [], file.name
        assert list(Draft202012Validator(schema).iter_errors({**content, "ownr": "x"})), file.name
