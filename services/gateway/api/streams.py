"""The streams' two doors: WebSocket `/v1/stream` and SSE `/v1/stream/{channel}`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from services.gateway.api.asking import Asker, signed_in
from services.gateway.api.connection import Connection
from services.gateway.api.desk import Desk
from services.gateway.api.hub import Hub
from services.gateway.api.models.streams import (
    CLIENT_FRAME,
    ClientHello,
    ServerHello,
    StreamError,
    Subscribe,
    Unsubscribe,
)
from services.gateway.api.problems import RESPONSES, Refused, not_found
from services.gateway.api.showing import may_subscribe
from services.gateway.core.access import Principal
from services.gateway.core.tokens import BadCredential
from services.gateway.store import tickets

router = APIRouter(tags=["streams"])

MAX_FRAME_BYTES = 65_536
_HELLO_SECONDS = 10
_UNAUTHENTICATED = 4401
_FULL = 4429
_bearer = HTTPBearer(auto_error=False)


async def _principal(desk: Desk, hello: ClientHello) -> Principal | None:
    """Who says hello: by token, or by a ticket that is used up with it."""
    if hello.token is not None:
        try:
            return await desk.identity.principal(hello.token)
        except BadCredential:
            return None
    if hello.ticket is not None:
        return await tickets.redeem(desk.redis, desk.settings, hello.ticket)
    return None


@router.websocket("/v1/stream")
async def websocket_stream(socket: WebSocket) -> None:
    """The protocol is `/asyncapi.json`."""
    desk: Desk = socket.app.state.desk
    hub: Hub = socket.app.state.hub
    await socket.accept()
    if hub.connections >= desk.settings.stream_max_connections:
        await socket.close(_FULL, "too many connections")
        return
    with hub.connected(), suppress(WebSocketDisconnect):
        await _serve(socket, desk, hub)


async def _serve(socket: WebSocket, desk: Desk, hub: Hub) -> None:
    principal = None
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            hello = CLIENT_FRAME.validate_json(await _text(socket))
            principal = await _principal(desk, hello) if isinstance(hello, ClientHello) else None
    except (TimeoutError, ValidationError):
        pass
    if principal is None:
        error = StreamError(
            code="unauthenticated", message="the first frame is hello, with a token or a ticket"
        )
        await socket.send_text(error.model_dump_json())
        await socket.close(_UNAUTHENTICATED)
        return
    connection = Connection(hub, Asker(desk, principal))
    connection.say(_welcome(desk, principal))
    speaking = asyncio.create_task(_speak(socket, connection, desk.settings.stream_stall_seconds))
    hearing = asyncio.create_task(_hear(socket, connection, desk))
    try:
        await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        connection.close()
        for task in (speaking, hearing):
            task.cancel()
        # What ended the connection is no fault of the server: a client went, or stalled.
        await asyncio.gather(speaking, hearing, return_exceptions=True)


def _welcome(desk: Desk, principal: Principal) -> ServerHello:
    settings = desk.settings
    return ServerHello(
        subject=principal.subject, build=desk.build, heartbeat_seconds=settings.stream_heartbeat_seconds,
        resume_window=settings.stream_window, max_subscriptions=settings.stream_max_subscriptions,
        max_frame_bytes=MAX_FRAME_BYTES, expires_at=principal.expires_at,
    )  # fmt: skip


async def _text(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    return message.get("text") or ""


async def _speak(socket: WebSocket, connection: Connection, stall_seconds: float) -> None:
    """Send frame by frame; a client that takes none for too long is let go."""
    try:
        async for frame in connection.frames():
            async with asyncio.timeout(stall_seconds):
                await socket.send_text(frame.text)
        await socket.close(1012)
    except TimeoutError:
        await socket.close(1013)


async def _hear(socket: WebSocket, connection: Connection, desk: Desk) -> None:
    while True:
        text = await _text(socket)
        if len(text) > MAX_FRAME_BYTES:
            await socket.close(1009)
            return
        try:
            frame = CLIENT_FRAME.validate_json(text)
        except ValidationError as error:
            connection.say(StreamError(code="invalid", message=str(error.errors()[0]["msg"])))
            continue
        if isinstance(frame, ClientHello):
            principal = await _principal(desk, frame)
            if principal is None:
                connection.say(StreamError(code="unauthenticated", message="the token is not valid"))
            else:
                connection.renew(principal)
        elif isinstance(frame, Subscribe):
            await connection.subscribe(frame)
        elif isinstance(frame, Unsubscribe):
            connection.unsubscribe(frame.channel)
        else:
            connection.pong()


async def _listener(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ticket: Annotated[
        str | None, Query(description="A one-time ticket, for an EventSource, which cannot send a header")
    ] = None,
) -> Asker:
    """By header or ticket. A token in the address is not looked at: addresses are logged."""
    if ticket is not None:
        desk: Desk = request.app.state.desk
        principal = await tickets.redeem(desk.redis, desk.settings, ticket)
        if principal is None:
            raise Refused(401, "unauthenticated", "the ticket was used, or is too old")
        return Asker(desk, principal)
    return await signed_in(request, credentials)


@router.get(
    "/v1/stream/{channel:path}",
    response_class=StreamingResponse,
    responses={
        **RESPONSES,
        200: {
            "description": "Events `subscribed`, `observation`, `signal`, `action`, `incident`, `health`, `gap`, `pong`; "
            "`id` is the cursor, `data` the frame.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'id: eyJ2IjoxfQ\nevent: signal\ndata: {"channel":"signals","epoch":"01J9","seq":1,…}\n\n',
                }
            },
        },
    },
)
async def sse_stream(
    channel: str,
    request: Request,
    asker: Annotated[Asker, Depends(_listener)],
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Resume after this id")
    ] = None,
    cursor: Annotated[
        str | None, Query(description="Resume after this cursor, at the first connection")
    ] = None,
    max_rate: Annotated[float | None, Query(gt=0, le=1000, description="Frames a second at most")] = None,
) -> StreamingResponse:
    """One channel as server-sent events, in the envelope of the WebSocket. Channels: see `/asyncapi.json`."""
    hub: Hub = request.app.state.hub
    if not may_subscribe(asker.desk, asker.rights, channel):
        raise not_found(f"channel {channel}")
    if hub.connections >= asker.desk.settings.stream_max_connections:
        raise Refused(503, "unavailable", "too many streams are open")
    wanted = Subscribe(
        type="subscribe", channel=channel, cursor=last_event_id or cursor or None, max_rate=max_rate
    )
    return StreamingResponse(
        _events(hub, asker, wanted),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(hub: Hub, asker: Asker, wanted: Subscribe) -> AsyncIterator[str]:
    with hub.connected(), closing(Connection(hub, asker)) as connection:
        if not await connection.subscribe(wanted):
            # The refusal is told, and then there is nothing more to say.
            async for frame in connection.frames():
                yield f"event: {frame.event}\ndata: {frame.text}\n\n"
                return
        async for frame in connection.frames():
            id = f"id: {frame.cursor}\n" if frame.cursor else ""
            yield f"{id}event: {frame.event}\ndata: {frame.text}\n\n"
