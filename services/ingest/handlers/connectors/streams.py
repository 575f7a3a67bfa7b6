"""Connections that stay open: server-sent events and WebSockets. A round lasts until the other side ends it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

from libs.common.catalog import Source
from libs.common.catalog.pulls import HeaderKey, SsePull, WebSocketPull
from services.ingest.core import answers
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Page, Standing
from services.ingest.core.records import MAX_RECORD
from services.ingest.handlers.connectors.desk import Desk

PAGE = 1_000
"""Records that are handed in together, at most; as many wait, and then the other side has to."""
T = TypeVar("T")


async def sse(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    """The cursor is the last event's id, sent as Last-Event-ID."""
    pull = source.pull
    assert isinstance(pull, SsePull)
    headers = {"Last-Event-ID": standing.cursor.encode()} if standing.cursor else {}
    timeout = httpx.Timeout(30, read=pull.silence.total_seconds())

    async def events() -> AsyncGenerator[tuple[bytes, str]]:
        async with aconnect_sse(desk.http, "GET", pull.url, headers=headers, timeout=timeout) as stream:
            stream.response.raise_for_status()
            async for event in stream.aiter_sse():
                if event.data and pull.event in (None, event.event):
                    yield event.data.encode(), event.id

    async with aclosing(_together(events())) as together:
        async for some in together:
            yield Page([data for data, _ in some], some[-1][1] or None)


async def websocket(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    """The cursor, if messages have one, is a query parameter, or stands in what is said first."""
    pull = source.pull
    assert isinstance(pull, WebSocketPull)
    headers: dict[str, str] = {}
    if isinstance(pull.auth, HeaderKey):
        headers[pull.auth.header] = desk.secret(pull.auth.secret)
    elif pull.auth is not None:
        headers["Authorization"] = f"Bearer {desk.secret(pull.auth.secret)}"
    url, cursor = pull.url, standing.cursor
    if pull.cursor_parameter and cursor is not None:
        parts = urlsplit(url)
        query = urlencode([*parse_qsl(parts.query), (pull.cursor_parameter, cursor)])
        url = urlunsplit(parts._replace(query=query))

    async def messages() -> AsyncGenerator[bytes]:
        async with connect(url, additional_headers=headers, max_size=MAX_RECORD, proxy=None) as connection:
            for text in pull.say:
                await connection.send(text.replace("{cursor}", cursor or ""))
            while True:
                async with asyncio.timeout(pull.silence.total_seconds()):
                    message = await connection.recv()
                yield message.encode() if isinstance(message, str) else message

    async with aclosing(_together(messages())) as together:
        async for some in together:
            yield Page(some, _cursor(some[-1], pull.cursor_field) if pull.cursor_field else None)


def _cursor(message: bytes, field: str) -> str | None:
    try:
        return answers.text_at(message, field)
    except Unreadable:  # a dead letter like any other
        return None


async def _together(items: AsyncGenerator[T]) -> AsyncGenerator[list[T]]:
    """What has come while the page before was being accepted."""
    queue: asyncio.Queue[T] = asyncio.Queue(PAGE)

    async def read() -> None:
        async with aclosing(items):
            async for item in items:
                await queue.put(item)

    reading, take = asyncio.create_task(read()), None
    try:
        while not (reading.done() and queue.empty()):
            take = asyncio.create_task(queue.get())
            await asyncio.wait({take, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not take.done():
                take.cancel()
                continue
            some = [take.result()]
            while len(some) < PAGE and not queue.empty():
                some.append(queue.get_nowait())
            yield some
        await reading
    finally:  # when this has ended the connection is closed
        waited = {reading} if take is None else {reading, take}
        for each in waited:
            each.cancel()
        await asyncio.wait(waited)
