"""Endpoints that page by links, that answer “not modified” and that want to know who asks, over real HTTP."""

import asyncio
import json
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlparse

import httpx
import pytest

from libs.common.catalog import Source
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors.auth import Credentials
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.http import http
from tests.ingests import settings

Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Endpoint:
    url: str = ""
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)


@contextmanager
def endpoint(answer: Callable[[str, Mapping[str, str], bytes], Answer]) -> Generator[Endpoint]:
    """Answers with what `answer` makes of path, headers and body."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.asked.append((self.path, dict(self.headers)))
            status, headers, content = answer(self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def source(**pull: Any) -> Source:
    fields = [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]
    return Source.model_validate(
        {
            "id": "polled", "title": "Polled", "owner": "fleet", "event_id": "id", "event_time": "at",
            "fields": fields, "pull": pull,
        }
    )  # fmt: skip


async def round_of(definition: Source, standing: Standing) -> list[Any]:
    """The records of one round, all of them accepted."""
    records = []
    auth = Credentials(getattr(definition.pull, "auth", None), settings().secrets)
    async with httpx.AsyncClient(trust_env=False, auth=auth) as opened:
        pages: AsyncIterator[Page] = http(
            Desk(settings=settings(), pool=cast(Any, None), http=opened), definition, standing
        )
        async for page in pages:
            records += [json.loads(record) for record in page.records]
            standing.settle(page, ["published"] * len(standing.unknown(page)), ids=True)
    return records


async def test_links_are_followed_to_the_last_page() -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        page = int(parse_qs(urlparse(path).query).get("page", ["1"])[0])
        link = {"Link": f'</list?page={page + 1}>; rel="next"'} if page < 4 else {}
        return 200, link, json.dumps([{"id": f"{page}"}]).encode()

    with endpoint(answer) as found:
        records = await round_of(source(url=f"{found.url}/list"), Standing())
    assert [record["id"] for record in records] == ["1", "2", "3", "4"]


async def test_a_link_to_another_place_is_refused_since_credentials_would_go_with_it() -> None:
    link = {"Link": '<http://elsewhere.example/list>; rel="next"'}
    elsewhere = pytest.raises(Unreadable, match=r"another place: http://elsewhere\.example")
    with endpoint(lambda *_: (200, link, b"[]")) as found, elsewhere:
        await round_of(source(url=f"{found.url}/list"), Standing())


async def test_what_was_not_modified_is_not_read_again_after_a_restart() -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("If-None-Match") == '"v1"':
            return 304, {}, b""
        return 200, {"ETag": '"v1"'}, b'[{"id": "a"}]'

    with endpoint(answer) as found:
        definition, standing = source(url=f"{found.url}/list"), Standing()
        assert len(await round_of(definition, standing)) == 1
        restarted = Standing.of(standing.cursor, json.loads(json.dumps(standing.state())))
        assert await round_of(definition, restarted) == []
        assert [headers.get("If-None-Match") for _, headers in found.asked] == [None, '"v1"']


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "header", "header": "X-Crew", "secret": "CREW"}, "X-Crew", "s3cret"),
        ({"kind": "bearer", "secret": "CREW"}, "Authorization", "Bearer s3cret"),
    ],
)
async def test_a_secret_is_sent_by_its_name(
    monkeypatch: pytest.MonkeyPatch, auth: dict[str, str], header: str, value: str
) -> None:
    monkeypatch.setenv("SEXTANT_SECRET_CREW", "s3cret")
    with endpoint(lambda *_: (200, {}, b"[]")) as found:
        await round_of(source(url=found.url, auth=auth), Standing())
        assert found.asked[0][1][header] == value


async def test_a_secret_that_is_not_there_is_said_by_its_name() -> None:
    with pytest.raises(Unreadable, match="lacks SEXTANT_SECRET_NOWHERE"):
        await round_of(
            source(url="http://127.0.0.1:1", auth={"kind": "bearer", "secret": "NOWHERE"}), Standing()
        )


async def test_a_token_is_kept_and_fetched_anew_once_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEXTANT_SECRET_CREW", "s3cret&")
    issued, revoked = 0, False

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        nonlocal issued
        if path == "/token":
            issued += 1
            assert b64decode(headers["Authorization"].split()[1]) == b"ingest:s3cret%26"
            assert parse_qs(body.decode()) == {"grant_type": ["client_credentials"], "scope": ["read"]}
            return 200, {}, json.dumps({"access_token": f"t{issued}", "expires_in": 3600}).encode()
        good = headers["Authorization"] == f"Bearer t{issued}" and not (revoked and issued == 1)
        return (200, {}, b"[]") if good else (401, {}, b"")

    with endpoint(answer) as found:
        auth = {
            "kind": "oauth2", "token_url": f"{found.url}/token", "client_id": "ingest", "secret": "CREW",
            "scope": "read",
        }  # fmt: skip
        definition = source(url=f"{found.url}/list", auth=auth)
        credentials = Credentials(cast(Any, definition.pull).auth, settings().secrets)
        async with httpx.AsyncClient(trust_env=False, auth=credentials) as client:
            desk = Desk(settings=settings(), pool=cast(Any, None), http=client)
            for _ in range(3):
                assert [page.records async for page in http(desk, definition, Standing())] == [[]]
            assert issued == 1
            revoked = True
            assert [page.records async for page in http(desk, definition, Standing())] == [[]]
            assert issued == 2


async def test_a_page_that_cannot_be_passed_is_said_and_not_skipped() -> None:
    body = json.dumps([{"id": str(number), "at": "2026-11-24T10:00:00Z"} for number in range(5)]).encode()
    with endpoint(lambda *_: (200, {}, body)) as found:
        definition = source(
            url=found.url, cursor_parameter="from", cursor_field="at", cursor_of="record", page_size=5,
            page_size_parameter="limit", overlap={"cap": "1h"},
        )  # fmt: skip
        with pytest.raises(Unreadable, match="lies at one at: ask for larger pages"):
            await round_of(definition, Standing(cursor=None))


async def test_links_that_lead_from_one_empty_page_to_another_are_not_followed_for_ever() -> None:
    asked = 0

    def answer(*_: object) -> Answer:
        nonlocal asked
        asked += 1
        return 200, {"Link": f'</list?page={asked}>; rel="next"'}, b"[]"

    with endpoint(answer) as found:
        definition = source(
            url=found.url,
            cursor_parameter="from",
            cursor_field="at",
            cursor_of="record",
            overlap={"cap": "1h"},
        )
        async with asyncio.timeout(60):
            with pytest.raises(Unreadable, match="101 pages on end have no record"):
                await round_of(definition, Standing())
    assert asked == 101
