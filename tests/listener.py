"""A client of the gateway's streams, as a dashboard is one: WebSocket or server-sent events, resumed by cursor."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.mesh import Mesh

Frame = dict[str, Any]


@asynccontextmanager
async def websocket(mesh: Mesh, person: str, *, token: str | None = None) -> AsyncGenerator[ClientConnection]:
    """An open WebSocket, signed in; it is cut without a goodbye at the end."""
    url = mesh.stack.gateway.replace("http", "ws", 1) + "/v1/stream"
    socket = await connect(url, proxy=None, ping_interval=None, close_timeout=0)
    try:
        await say(socket, type="hello", token=token or mesh.token(person))
        assert (await hear(socket))["type"] == "hello"
        yield socket
    finally:
        socket.transport.abort()


async def say(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame))


async def hear(socket: ClientConnection, seconds: float = 30.0) -> Frame:
    """The next frame that is no heartbeat."""
    async with asyncio.timeout(seconds):
        while True:
            frame = json.loads(await socket.recv())
            if frame["type"] != "pong":
                return frame


async def subscribe(socket: ClientConnection, channel: str, cursor: str | None = None, **more: Any) -> Frame:
    """The answer: subscribed, gap or error."""
    await say(socket, type="subscribe", channel=channel, cursor=cursor, **more)
    return await hear(socket)


@asynccontextmanager
async def sse(
    client: httpx.AsyncClient, mesh: Mesh, channel: str, token: str, cursor: str | None = None
) -> AsyncGenerator[AsyncIterator[tuple[str, str, Frame]]]:
    """(id, event, frame) of every server-sent event but heartbeats; it is cut at the end."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": cursor} if cursor else {})
    url = f"{mesh.stack.gateway}/v1/stream/{channel}"
    async with client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Frame]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            if fields["event"] != "pong":
                yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}
