"""The frames of the streams: what a client says and what it hears, on WebSocket and SSE alike."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from services.gateway.api.models.common import Answer, example

# --- what the client says --------------------------------------------------------------------------------


class ClientHello(Answer):
    """First frame: who is there. A token, or a one-time ticket. Again later with a fresh token."""

    type: Literal["hello"]
    token: str | None = None
    ticket: str | None = None

    model_config = example(type="hello", token=None, ticket="k3v…")


class Subscribe(Answer):
    """Begin a channel: at a cursor (resume), or from now on."""

    type: Literal["subscribe"]
    channel: str
    cursor: str | None = None
    """Of the last frame that was taken in, or of a REST answer; null begins with what comes next."""
    max_rate: float | None = Field(default=None, gt=0, le=1000)
    """Frames a second at most; what is more is merged to the latest by key."""

    model_config = example(type="subscribe", channel="signals", cursor=None, max_rate=None)


class Unsubscribe(Answer):
    type: Literal["unsubscribe"]
    channel: str

    model_config = example(type="unsubscribe", channel="signals")


class Ping(Answer):
    type: Literal["ping"]

    model_config = example(type="ping")


ClientFrame = Annotated[ClientHello | Subscribe | Unsubscribe | Ping, Field(discriminator="type")]
CLIENT_FRAME: TypeAdapter[ClientFrame] = TypeAdapter(ClientFrame)

# --- what the server says --------------------------------------------------------------------------------


class ServerHello(Answer):
    """The welcome: what holds on this connection."""

    type: Literal["hello"] = "hello"
    subject: str
    build: str
    heartbeat_seconds: float
    """A `pong` comes at least this often when nothing else does."""
    resume_window: int
    """Entries that are kept per channel."""
    max_subscriptions: int
    max_frame_bytes: int
    """Of a frame from the client."""
    expires_at: datetime
    """When the token ends: say `hello` with a fresh one before."""

    model_config = example(
        type="hello", subject="lena", build="0.1.0", heartbeat_seconds=15, resume_window=10000,
        max_subscriptions=64, max_frame_bytes=65536, expires_at="2026-11-24T11:00:00Z",
    )  # fmt: skip


class Subscribed(Answer):
    """The channel flows from `seq` + 1 on."""

    type: Literal["subscribed"] = "subscribed"
    channel: str
    epoch: str
    seq: int
    cursor: str
    resumed: bool

    model_config = example(
        type="subscribed", channel="signals", epoch="01J9", seq=0, cursor="eyJ2IjoxfQ", resumed=False
    )


class Unsubscribed(Answer):
    """The channel has ended; `code` says why if it was not asked for."""

    type: Literal["unsubscribed"] = "unsubscribed"
    channel: str
    code: str | None = None

    model_config = example(type="unsubscribed", channel="signals", code=None)


class Envelope(Answer):
    """A data frame. `seq` counts the frames of this subscription without a hole, whatever was merged."""

    channel: str
    epoch: str
    seq: int
    cursor: str
    """Resume after this frame."""
    ts: datetime
    """When the entry came into the stream."""
    as_of: datetime
    """When the fact was recorded."""
    type: Literal["observation", "signal", "action", "incident", "health"]
    data: dict[str, Any]
    """As the REST resource of the same name shows it."""
    conflated: int = 0
    """Earlier entries of the same key that this frame stands for, because the client was slow or asked for less."""

    model_config = example(
        channel="signals", epoch="01J9", seq=1, cursor="eyJ2IjoxfQ", ts="2026-11-24T10:00:02Z",
        as_of="2026-11-24T10:00:01Z", type="signal", data={"id": "6f1c", "verdict": "sustained"}, conflated=0,
    )  # fmt: skip


class Gap(Answer):
    """The cursor cannot be resumed in full, so nothing of it is: take a new snapshot and its cursor."""

    type: Literal["gap"] = "gap"
    channel: str
    reason: Literal["window", "epoch", "cursor"]
    recover: Literal["snapshot"] = "snapshot"

    model_config = example(type="gap", channel="signals", reason="window", recover="snapshot")


class StreamError(Answer):
    """Something was refused; `code` as in REST problems."""

    type: Literal["error"] = "error"
    code: str
    message: str
    channel: str | None = None

    model_config = example(
        type="error", code="forbidden", message="no such channel", channel="observations/x"
    )


class Reconnect(Answer):
    """The server drains: come back after this time, with the cursors."""

    type: Literal["reconnect"] = "reconnect"
    after_seconds: float

    model_config = example(type="reconnect", after_seconds=1.5)


class Pong(Answer):
    type: Literal["pong"] = "pong"
    at: datetime

    model_config = example(type="pong", at="2026-11-24T10:00:02Z")


CLIENT_FRAMES = (ClientHello, Subscribe, Unsubscribe, Ping)
SERVER_FRAMES = (ServerHello, Subscribed, Unsubscribed, Envelope, Gap, StreamError, Reconnect, Pong)
