"""Pulling events: an endpoint that pages, repeats, refuses and breaks is taken in whole, once; nothing of it is lost."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from tests.mesh import Mesh, until

EVENTS = [{"id": f"p{number}", "at": "2026-11-24T10:00:00Z"} for number in range(57)]


@contextmanager
def endpoint() -> Generator[str]:
    """Pages of ten with an overlap of two, one empty, some with a malformed record; every third answer is a failure."""
    asked, emptied = 0, False

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked, emptied
            asked += 1
            start = int(parse_qs(urlparse(self.path).query).get("after", ["0"])[0])
            body, status, headers = b"", 200, {}
            if asked % 3 == 2:
                status, headers = (429, {"Retry-After": "0"}) if asked % 2 else (500, {})
            elif asked % 7 == 0:
                body = b"<html>"
            else:
                page = [] if start == 20 and not emptied else EVENTS[max(0, start - 2) : start + 10]
                if start == 20 and not emptied:
                    emptied, start = True, start - 9
                if 30 <= start < 40:
                    page = [*page, {"id": "bad", "at": "no time"}]
                body = json.dumps({"items": page, "next": str(min(len(EVENTS), start + 10))}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/events"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_event_of_a_difficult_endpoint_lands_once(mesh: Mesh) -> None:
    with endpoint() as url:
        mesh.define(
            {
                "kind": "source", "id": "polled", "title": "Polled", "owner": "fleet", "event_id": "id",
                "event_time": "at", "key": ["id"], "partitions": 1,
                "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
                "pull": {
                    "url": url, "every": "1s", "records": "items", "cursor_parameter": "after", "cursor_field": "next",
                },
            }
        )  # fmt: skip
        count = "SELECT count(*), count(DISTINCT event_id) FROM read.events WHERE source = 'polled'"
        assert until(lambda: mesh.query(count) == [(57, 57)])
        state = mesh.service("ingest").get("/v1/sources/polled").json()["pull"]
        assert state["cursor"] == "57"
        letters = "SELECT count(*) FROM read.dead_letters WHERE source = 'polled'"
        assert until(lambda: mesh.query(letters)[0][0] >= 1), "nobody is there to refuse it to"


@contextmanager
def growing(rows: list[dict[str, str]]) -> Generator[str]:
    """Gives the rows from a time on, twenty at most."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = parse_qs(urlparse(self.path).query).get("from", [""])[0]
            found = sorted((row for row in rows if row["at"] >= start), key=lambda row: row["at"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found[:20]).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/rows"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_committed_behind_the_cursor_is_found_counted_and_shown(mesh: Mesh) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=20)  # noqa: TID251 - as the endpoint's clock

    def row(number: int) -> dict[str, str]:
        at = begin + timedelta(seconds=number)
        return {"id": f"o{number}", "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    rows = [row(number) for number in range(0, 100, 2)]
    with growing(rows) as url:
        mesh.define(
            {
                "kind": "source", "id": "overlapped", "title": "Overlapped", "owner": "fleet", "event_id": "id",
                "event_time": "at", "key": ["id"], "partitions": 1,
                "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
                "pull": {
                    "url": url, "every": "1s", "cursor_parameter": "from", "cursor_field": "at",
                    "cursor_of": "record", "overlap": {"cap": "10m"},
                },
            }
        )  # fmt: skip
        count = "SELECT count(*), count(DISTINCT event_id) FROM read.events WHERE source = 'overlapped'"
        assert until(lambda: mesh.query(count) == [(50, 50)])
        rows += [row(number) for number in range(1, 99, 2)]
        assert until(lambda: mesh.query(count) == [(99, 99)])

        def state() -> dict[str, Any]:
            return mesh.service("ingest").get("/v1/sources/overlapped").json()["pull"]

        assert until(lambda: state()["overlap"]["late"] == 49)
        assert state()["cursor"] == rows[49]["at"]
        assert state()["overlap"]["longest"] == 97_000_000
        assert (
            'sextant_pull_late_rows_total{source="overlapped"} 49.0'
            in mesh.service("ingest").get("/metrics").text
        )
