"""One client of the streams, WebSocket or SSE: commands in, frames out, in one order.

The connection is a generator of frames. Its transport takes one frame at a time and takes the next when the
last is through, so that a slow client slows nobody but itself.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from services.gateway.api.asking import Asker
from services.gateway.api.hub import GapFound, Hub, Subscription
from services.gateway.api.models.common import Answer
from services.gateway.api.models.streams import (
    Gap,
    Pong,
    Reconnect,
    StreamError,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from services.gateway.api.problems import Refused
from services.gateway.api.showing import may_subscribe, type_of
from services.gateway.core.access import Principal
from services.gateway.core.sealing import BadToken, Cursor
from services.gateway.store.windows import EpochLost

_DATA_BATCH = 64
"""Frames of one subscription before the next one has its turn."""


@dataclass(frozen=True)
class Frame:
    """What goes out: JSON, and for SSE its event name and id."""

    text: str
    event: str
    cursor: str | None = None


class Connection:
    """The state of one client."""

    def __init__(self, hub: Hub, asker: Asker) -> None:
        self._hub = hub
        self._asker = asker
        self._desk = asker.desk
        self._policy = self._desk.policy_version
        self._control: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._subscriptions: dict[str, Subscription] = {}
        self._closed = False

    # --- commands --------------------------------------------------------------------------------------

    def say(self, answer: Answer) -> None:
        """Send a frame of the protocol itself."""
        kind = str(getattr(answer, "type", "message"))
        self._control.append(Frame(answer.model_dump_json(), kind, getattr(answer, "cursor", None)))
        self._wake.set()

    def renew(self, principal: Principal) -> None:
        """A fresh token of the same person."""
        if principal.subject != self._asker.principal.subject:
            self.say(StreamError(code="forbidden", message="a connection belongs to one person"))
            return
        self._asker = Asker(self._desk, principal)
        self._policy = -1
        self._wake.set()

    async def subscribe(self, wanted: Subscribe) -> bool:
        """Begin a channel. False: it was refused, and the client was told why."""
        channel = wanted.channel
        if not may_subscribe(self._desk, self._asker.rights, channel):
            self._refuse("not_found", "there is no such channel, or it is not for you", channel)
            return False
        if len(self._subscriptions) >= self._desk.settings.stream_max_subscriptions:
            self._refuse("too_many_subscriptions", "unsubscribe from another channel first", channel)
            return False
        if channel in self._subscriptions:
            self._refuse("already_subscribed", "this channel flows already", channel)
            return False
        cursor = Cursor(channel, "", "0-0", 0)
        if wanted.cursor is not None:
            try:
                cursor = self._desk.seal.open_cursor(wanted.cursor)
            except BadToken:
                self.say(Gap(channel=channel, reason="cursor"))
                return False
            if cursor.channel != channel:
                self.say(Gap(channel=channel, reason="cursor"))
                return False
        return await self._join(wanted, cursor)

    async def _join(self, wanted: Subscribe, cursor: Cursor) -> bool:
        subscription = Subscription(
            wanted.channel, cursor.epoch, cursor.position, cursor.seq, self._wake.set,
            self._desk.settings.stream_buffer_bytes, wanted.max_rate,
        )  # fmt: skip
        resumed = wanted.cursor is not None
        try:
            reason = await self._hub.subscribe(subscription, resumed)
        except EpochLost:
            self._refuse("unavailable", "the streams are not being fed yet", wanted.channel)
            return False
        if reason == "epoch" or reason == "window":
            self.say(Gap(channel=wanted.channel, reason=reason))
            return False
        start = Cursor(wanted.channel, subscription.epoch, subscription.position, subscription.seq)
        self.say(
            Subscribed(
                channel=wanted.channel, epoch=subscription.epoch, seq=subscription.seq,
                cursor=self._desk.seal.cursor(start), resumed=resumed,
            )
        )  # fmt: skip
        self._subscriptions[wanted.channel] = subscription
        return True

    def _refuse(self, code: str, message: str, channel: str | None = None) -> None:
        self.say(StreamError(code=code, message=message, channel=channel))

    def unsubscribe(self, channel: str, code: str | None = None) -> None:
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            self._hub.leave(subscription)
        self.say(Unsubscribed(channel=channel, code=code))

    def pong(self) -> None:
        self.say(Pong(at=self._desk.now()))

    def close(self) -> None:
        """Leave every channel; the generator of frames ends."""
        self._closed = True
        for subscription in self._subscriptions.values():
            self._hub.leave(subscription)
        self._subscriptions.clear()
        self._wake.set()

    # --- frames ----------------------------------------------------------------------------------------

    async def frames(self) -> AsyncIterator[Frame]:
        """Everything the client is told, until it or the server goes."""
        while not self._closed:
            self._wake.clear()
            while self._control:
                yield self._control.popleft()
            if self._hub.draining.is_set():
                # Jitter: not all of them at once.
                yield _frame(Reconnect(after_seconds=round(random.uniform(0.2, 3.0), 2)))
                return
            if self._desk.now() >= self._asker.principal.expires_at + self._desk.identity.leeway:
                yield _frame(StreamError(code="unauthenticated", message="the token has ended"))
                return
            self._reauthorise()
            told = False
            for subscription in list(self._subscriptions.values()):
                async for frame in self._tell(subscription):
                    told = True
                    yield frame
            if not told and not self._control and not await self._rest():
                yield _frame(Pong(at=self._desk.now()))

    async def _rest(self) -> bool:
        """Wait until there is something to do; False: the heartbeat is due."""
        left = self._asker.principal.expires_at + self._desk.identity.leeway - self._desk.now()
        heartbeat = self._desk.settings.stream_heartbeat_seconds
        clock = asyncio.get_running_loop().time
        waits = [heartbeat, max((left + timedelta(milliseconds=20)).total_seconds(), 0.01)]
        waits += [
            max(one.ready_at - clock(), 0.001)
            for one in self._subscriptions.values()
            if one.ready_at > clock()
        ]
        shortest = min(waits)
        try:
            async with asyncio.timeout(shortest):
                await self._wake.wait()
        except TimeoutError:
            return shortest < heartbeat
        return True

    def _reauthorise(self) -> None:
        """After a change of the catalog, or a fresh token: rights again, and out of what is no longer allowed."""
        if self._policy == self._desk.policy_version:
            return
        self._policy = self._desk.policy_version
        self._asker = Asker(self._desk, self._asker.principal)
        for channel in list(self._subscriptions):
            if not may_subscribe(self._desk, self._asker.rights, channel):
                self.unsubscribe(channel, "forbidden")

    async def _tell(self, subscription: Subscription) -> AsyncIterator[Frame]:
        """What is due on one subscription."""
        clock = asyncio.get_running_loop().time
        if subscription.ready_at > clock():
            return
        try:
            due = await self._hub.due(subscription)
        except (GapFound, EpochLost) as error:
            self._subscriptions.pop(subscription.channel, None)
            self._hub.leave(subscription)
            reason = "window" if isinstance(error, GapFound) and error.reason == "window" else "epoch"
            yield _frame(Gap(channel=subscription.channel, reason=reason))
            return
        sent = 0
        for delivery in due:
            # A batch is long: rights may change under it, and the client may have left the channel.
            self._reauthorise()
            if self._subscriptions.get(subscription.channel) is not subscription:
                return
            made = self._hub.frame(subscription, self._asker.rights, delivery)
            if made is None:
                continue
            text, cursor, shown = made
            if not shown.classes <= subscription.recorded:
                await self._record(subscription, shown.classes)
            sent += 1
            yield Frame(text, type_of(subscription.channel), cursor)
            if self._control or sent % _DATA_BATCH == 0:
                while self._control:
                    yield self._control.popleft()
        if subscription.max_rate:
            subscription.ready_at = clock() + sent / subscription.max_rate
        if subscription.behind:
            self._wake.set()

    async def _record(self, subscription: Subscription, classes: frozenset[str]) -> None:
        """The first frame that shows a class of data in clear is on record before it goes out."""
        self._asker.veil.shown |= classes
        try:
            await self._asker.record("stream", subscription.channel)
        except Refused:
            self.unsubscribe(subscription.channel, "audit_unavailable")
            raise
        subscription.recorded |= classes


def _frame(answer: Answer) -> Frame:
    return Frame(answer.model_dump_json(), str(getattr(answer, "type", "message")))
