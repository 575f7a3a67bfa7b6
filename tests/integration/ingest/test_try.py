"""`sextant source try` and `advise`, against the running mesh."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from libs.cli.main import app
from tests.mesh import Mesh, until


@contextmanager
def endpoint(records: list[Any]) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"items": records}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sextant(mesh: Mesh, *words: str, person: str = "operator") -> Result:
    env = {"SEXTANT_SERVER": mesh.stack.gateway, "SEXTANT_TOKEN": mesh.token(person)}
    return CliRunner().invoke(app, ["source", *words], env=env)


RECORDS = [
    {"id": f"t{n}", "at": "2026-11-24T10:00:00Z", "crew": f"c{n % 3}", "hours": n / 2} for n in range(9)
]


def test_a_pull_alone_is_enough_for_a_draft_that_accepts_its_sample(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "shifts.yaml"
    with endpoint(RECORDS) as url:
        file.write_text(f"id: shifts\npull:\n  url: {url}\n  records: items\n")
        result = sextant(mesh, "try", str(file))
    assert result.exit_code == 0, result.output
    assert "9 records by http" in result.output
    assert "id: shifts\ntitle: Drafted\nowner: unknown\nevent_id: id\nevent_time: at\n" in result.output
    assert "- name: hours\n  type: double\n" in result.output
    assert "the draft accepts 9 of 9 records" in result.output


def test_what_a_definition_would_refuse_is_shown_with_field_value_and_rule(
    mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "shifts.yaml"
    with endpoint([*RECORDS, {"id": "x", "at": "noon", "crew": "c", "hours": 1}]) as url:
        file.write_text(
            "id: shifts\ntitle: Shifts\nowner: fleet\nevent_id: id\nevent_time: at\nfields:\n"
            "  - {name: id, type: string}\n  - {name: at, type: timestamp}\n"
            "  - {name: crew, type: string}\n  - {name: hours, type: double}\n"
            f"pull: {{url: '{url}', records: items}}\n"
        )
        result = sextant(mesh, "try", str(file))
        refused = sextant(mesh, "try", str(file), person="vic")
    assert result.exit_code == 1
    assert "the definition accepts 9 of 10 records" in result.output
    assert "record 9, at = noon: at: Invalid RFC3339 encoded datetime" in result.output
    assert refused.exit_code == 1
    assert "this needs the permission: configure" in refused.output


@pytest.mark.parametrize(
    ("pull", "said"),
    [
        ("url: 'http://127.0.0.1:1/'", "the source cannot be read: ConnectError"),
        ("{kind: websocket, url: 'nowhere'}", "the source cannot be read: InvalidURI"),
        ("{kind: smoke}", "does not match any of the expected tags"),
        ("{kind: files, place: in}", "ingest may read no files: set SEXTANT_FILES"),
        ("{kind: sql, address: 'postgresql://127.0.0.1:1/x', table: t, cursor: c, tie_breaker: c, overlap: {cap: 1}}",
         "the source cannot be read: ConnectionRefusedError"),
    ],
)  # fmt: skip
def test_a_pull_that_cannot_be_read_is_refused_with_the_reason(
    mesh: Mesh, tmp_path: Path, pull: str, said: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(f"pull: {pull if pull.startswith('{') else '{' + pull + '}'}\n")
    result = sextant(mesh, "try", str(file))
    assert result.exit_code == 1
    assert said in result.output


def test_advice_rests_on_how_the_events_came(mesh: Mesh) -> None:
    mesh.define(
        {
            "kind": "source", "id": "advised", "title": "Advised", "owner": "fleet", "event_id": "id",
            "event_time": "at", "key": ["id"], "partitions": 1,
            "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
        }
    )  # fmt: skip
    events = [{"id": f"a{n}", "at": "2026-11-24T10:00:00Z"} for n in range(20)]
    path = "/v1/sources/advised/events"
    assert until(lambda: mesh.service("ingest").post(path, json=events).status_code == 200)
    count = "SELECT count(*) FROM read.events WHERE source = 'advised'"
    assert until(lambda: mesh.query(count) == [(20,)])
    result = sextant(mesh, "advise", "advised", "--json")
    found = json.loads(result.output)
    assert (found["connect"], found["events"], found["deliveries"]) == ("undecided", 20, 1)
    text = sextant(mesh, "advise", "advised").output
    assert "advised: undecided; values within" in text
    assert "1 deliveries are too few to tell" in text
    assert sextant(mesh, "advise", "nowhere").exit_code == 1
