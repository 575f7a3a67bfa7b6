"""The examples are run as they are shown, and their events are published."""

import base64
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.mesh import Mesh, until

SECRET = "whsec_" + base64.b64encode(b"a secret of the examples").decode()
FIELDS = [
    {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "day", "type": "date"},
    {"name": "litres", "type": "double"}, {"name": "wheels", "type": "int", "nullable": True},
    {"name": "it_rained", "type": "boolean"},
]  # fmt: skip


def source(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "source", "id": id, "title": id, "owner": "fleet", "event_id": "id", "event_time": "at", "key": ["id"],
        "partitions": 1, "fields": FIELDS, **more,
    }  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    mesh.define(source("fuelling"), source("fuelling_signed", webhook={"secret": "TESTS_EXAMPLES"}))
    until(lambda: mesh.service("ingest").post("/v1/sources/fuelling/events", content="[]").status_code == 200)
    path = "/v1/sources/fuelling_signed/events"
    until(lambda: mesh.service("ingest").post(path, content="[]").status_code == 401)


def run(mesh: Mesh, language: str, program: str) -> None:
    command = ["sh", "-c", program] if language == "curl" else [sys.executable, "-c", program]
    env = {
        **os.environ,
        "SEXTANT_TOKEN": mesh.token("operator"),
        "SEXTANT_WEBHOOK_SECRET": SECRET,
        "no_proxy": "*",
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def archived(mesh: Mesh, source: str, id: str) -> bool:
    statement = "SELECT count(*) FROM read.events WHERE source = %s AND event_id = %s"
    return mesh.query(statement, source, id) == [(1,)]


@pytest.mark.parametrize("id", ["fuelling", "fuelling_signed"])
@pytest.mark.parametrize("language", ["curl", "python"])
def test_an_example_sends_its_event_and_it_is_published(mesh: Mesh, id: str, language: str) -> None:
    shown = mesh.as_("stew").get(f"/v1/sources/{id}/examples").json()
    name = f"{language} of {id}"
    program = shown[language].replace(shown["event"]["id"], name)
    run(mesh, language, program)
    until(lambda: archived(mesh, id, name))


def test_a_source_that_there_is_not_has_no_examples(mesh: Mesh) -> None:
    answer = mesh.as_("stew").get("/v1/sources/nowhere/examples")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
