"""HTTP polling: by a cursor that the answer gives, or that is a field of the records, with an overlap or without."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from libs.common.catalog import Source
from libs.common.catalog.pulls import HttpPull
from services.ingest.core import answers
from services.ingest.core.answers import Unreadable
from services.ingest.core.overlap import following
from services.ingest.core.pages import Page, Standing, text_of
from services.ingest.handlers.connectors.desk import Desk

MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
MOST_EMPTY = 100
"""Pages without a record that are followed at once; then it is the next round's turn, from where the pull stands."""


def http(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    pull = source.pull
    assert isinstance(pull, HttpPull)
    return _overlapping(desk, source, pull, standing) if pull.overlap else _plain(desk, pull, standing)


async def _plain(desk: Desk, pull: HttpPull, standing: Standing) -> AsyncGenerator[Page]:
    """By the cursor or by links. With links the cursor is one of the whole list: it is kept with its last page."""
    cursor, link, empty = standing.cursor, None, 0
    while empty < MOST_EMPTY:
        answer = await _ask(desk.http, pull, {pull.cursor_parameter: cursor}, link, standing.etag)
        if answer is None:
            return
        records = answers.list_at(answer.body, pull.records)
        last = records[-1] if records else None
        place = answer.body if pull.cursor_of == "answer" else last
        after = None if pull.cursor_field is None else answers.text_at(place, pull.cursor_field)
        yield Page(records, None if answer.link and pull.cursor_of == "record" else after)
        standing.etag = None if answer.link else answer.etag
        if answer.link is None and (after is None or after == cursor):
            return
        cursor, link, empty = after or cursor, answer.link, 0 if records else empty + 1


async def _overlapping(
    desk: Desk, source: Source, pull: HttpPull, standing: Standing
) -> AsyncGenerator[Page]:
    """From before the cursor to the end."""
    assert pull.overlap is not None
    assert pull.cursor_field is not None
    times = isinstance(pull.overlap.cap, timedelta)
    round = standing.begin(pull.overlap, times=times, now=desk.now())
    since, link, step, empty = round.since, None, 1_000 if times else 1, 0
    while True:
        asked = {pull.cursor_parameter: None if since is None else text_of(since, times=times)}
        if round.until is not None:
            asked[pull.until_parameter] = text_of(round.until, times=times)
        answer = await _ask(desk.http, pull, asked, link)
        assert answer is not None
        records = answers.list_at(answer.body, pull.records)
        empty = 0 if records else empty + 1
        if empty > MOST_EMPTY:
            raise Unreadable(f"{empty} pages on end have no record, and the last one names another")
        values = [answers.value_at(each, pull.cursor_field, times=times) for each in records]
        known = [value for value in values if value is not None]
        after = following(max(known, default=None), since, step)
        full = pull.page_size_parameter is not None and len(records) >= pull.page_size
        if answer.link is None and after is None and full:
            raise Unreadable(
                f"a whole page of {len(records)} records lies at one {pull.cursor_field}: ask for larger pages"
            )
        ended = answer.link is None and after is None
        yield Page(records, values=values, ordered=link is None and answer.link is None, last=ended)
        if ended:
            return
        since, link = after if answer.link is None else since, answer.link


@dataclass(frozen=True)
class _Answer:
    body: bytes
    link: str | None
    etag: tuple[str, str] | None


async def _ask(
    client: httpx.AsyncClient,
    pull: HttpPull,
    parameters: Mapping[str | None, str | None],
    link: str | None,
    etag: tuple[str, str] | None = None,
) -> _Answer | None:
    """None if the same question had the same answer before."""
    asked: dict[str, Any] = {
        name: value for name, value in parameters.items() if name is not None and value is not None
    }
    if pull.page_size_parameter:
        asked[pull.page_size_parameter] = pull.page_size
    url = httpx.URL(link) if link else httpx.URL(pull.url).copy_merge_params(asked)
    headers = {"If-None-Match": etag[1]} if etag and etag[0] == str(url) else {}
    body = bytearray()
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 304 and headers:
            return None
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise Unreadable(f"the answer has more than {MOST_BYTES:,} bytes: ask for smaller pages")
    found = response.headers.get("ETag")
    return _Answer(bytes(body), _next(url, response), (str(url), found) if found else None)


def _next(url: httpx.URL, response: httpx.Response) -> str | None:
    """`Link: rel=next`; only at the same place, since the credentials go with it."""
    target = response.links.get("next", {}).get("url")
    if target is None:
        return None
    link = url.join(target)
    if (link.scheme, link.host, link.port) != (url.scheme, url.host, url.port):
        raise Unreadable(f"the next page is at another place: {link.scheme}://{link.host}")
    return str(link)
