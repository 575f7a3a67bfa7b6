"""Fan-out: one reader of Redis per gateway, shared by all its subscriptions."""

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from libs.common import telemetry
from services.gateway.api.desk import Desk
from services.gateway.api.showing import Shown, show
from services.gateway.core.access import Rights
from services.gateway.core.delivery import START, Delivery, Entry, conflate, order
from services.gateway.core.sealing import Cursor

log = logging.getLogger(__name__)

_BLOCK_MS = 200
"""A channel that is new to this gateway is read after at most this long."""
_READ = 500
_BEHIND_READ = 2000
_RENDERED = 4096
"""Facts whose renderings are remembered; subscriptions that read at different speeds share them."""


class GapFound(Exception):
    """A subscription can no longer be told in full; `reason` as in the gap frame."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class Subscription:
    """One channel of one connection. `position` and `seq` are those of the last entry dealt with."""

    channel: str
    epoch: str
    position: str
    seq: int
    wake: Callable[[], None]
    buffer_bytes: int
    max_rate: float | None = None
    behind: bool = True
    """Reads the window by itself, until it has caught up with the shared reader."""
    slow: bool = False
    """Was stepped down: what it reads is merged until it has caught up."""
    pending: deque[tuple[Entry, int]] = field(default_factory=deque)
    pending_bytes: int = 0
    read_to: str = START
    """The last entry that was read or offered: the shared reader may be behind what was read here."""
    ready_at: float = 0.0
    recorded: set[str] = field(default_factory=set)
    """Classes of data in clear that the audit knows of already."""

    def offer(self, entry: Entry, size: int) -> None:
        """Take an entry of the shared reader, or step down: nothing is queued beyond the budget."""
        if self.behind or order(entry.position) <= order(self.read_to):
            return
        self.read_to = entry.position
        self.pending.append((entry, size))
        self.pending_bytes += size
        if self.pending_bytes > self.buffer_bytes:
            self.pending.clear()
            self.pending_bytes = 0
            self.behind = self.slow = True

    def take(self) -> list[Delivery]:
        """What is pending, merged where a rate is wanted."""
        entries = [entry for entry, _ in self.pending]
        self.pending.clear()
        self.pending_bytes = 0
        return conflate(entries) if self.max_rate else [Delivery(entry) for entry in entries]


@dataclass
class _Channel:
    epoch: str
    tail: str
    subscriptions: set[Subscription] = field(default_factory=set)


class Hub:
    """Subscriptions by channel, and the loop that feeds them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._channels: dict[str, _Channel] = {}
        self._any = asyncio.Event()
        self._rendered: OrderedDict[tuple[str, str, Rights, int], Shown | None] = OrderedDict()
        self._policy = desk.policy_version
        self.draining = asyncio.Event()
        self.connections = 0

    @contextmanager
    def connected(self) -> Generator[None]:
        """Count a client in until left."""
        self.connections += 1
        telemetry.STREAM_CLIENTS.inc()
        try:
            yield
        finally:
            self.connections -= 1
            telemetry.STREAM_CLIENTS.dec()

    # --- subscriptions ---------------------------------------------------------------------------------

    async def subscribe(self, subscription: Subscription, resumed: bool) -> str | None:
        """Join a channel; the reason if its position can no longer be resumed in full."""
        window = await self._desk.windows.window(subscription.channel)
        if resumed:
            reason = window.refuses(subscription.epoch, subscription.position)
            if reason is not None:
                return reason
        else:
            subscription.epoch, subscription.position = window.epoch, window.last
        channel = self._channels.get(subscription.channel)
        if channel is None or channel.epoch != window.epoch:
            # Those of an older epoch find their gap when they next look at the window.
            channel = self._channels[subscription.channel] = _Channel(window.epoch, window.last)
        channel.subscriptions.add(subscription)
        self._any.set()
        return None

    def leave(self, subscription: Subscription) -> None:
        channel = self._channels.get(subscription.channel)
        if channel is None or subscription not in channel.subscriptions:
            return
        channel.subscriptions.discard(subscription)
        if not channel.subscriptions:
            del self._channels[subscription.channel]
        if not self._channels:
            self._any.clear()

    async def due(self, subscription: Subscription) -> list[Delivery]:
        """What is to be delivered now; empty: nothing. Raises GapFound."""
        if not subscription.behind:
            return subscription.take()
        read = await self._desk.windows.read(subscription.channel, subscription.position, _BEHIND_READ)
        window = await self._desk.windows.window(subscription.channel)
        reason = window.refuses(subscription.epoch, subscription.position)
        if reason is not None:
            raise GapFound(reason)
        entries = [_entry(item) for item in read]
        merged = subscription.slow or subscription.max_rate is not None
        last = entries[-1].position if entries else subscription.position
        subscription.read_to = last
        channel = self._channels.get(subscription.channel)
        # No await from here on: the shared reader cannot move the tail in between.
        if channel is not None and order(channel.tail) <= order(last):
            subscription.behind = subscription.slow = False
        return conflate(entries) if merged else [Delivery(entry) for entry in entries]

    def frame(
        self, subscription: Subscription, rights: Rights, delivery: Delivery
    ) -> tuple[str, str, Shown] | None:
        """The data frame, numbered, with its cursor; None where the fact is not visible. Both move the position on."""
        entry = delivery.entry
        shown = self._show(subscription.channel, rights, entry)
        subscription.position = entry.position
        if shown is None:
            return None
        subscription.seq += 1
        telemetry.STREAM_FRAMES.labels(subscription.channel.partition("/")[0]).inc()
        cursor = self._desk.seal.cursor(
            Cursor(subscription.channel, subscription.epoch, entry.position, subscription.seq)
        )
        return (
            (
                f'{{"channel":{json.dumps(subscription.channel)},"epoch":"{subscription.epoch}",'
                f'"seq":{subscription.seq},"cursor":"{cursor}","conflated":{delivery.conflated},{shown.rest}'
            ),
            cursor,
            shown,
        )

    def _show(self, channel: str, rights: Rights, entry: Entry) -> Shown | None:
        name = (channel, entry.position, rights, self._desk.policy_version)
        if name in self._rendered:
            return self._rendered[name]
        shown = show(self._desk, rights, channel, entry)
        self._rendered[name] = shown
        if len(self._rendered) > _RENDERED:
            self._rendered.popitem(last=False)
        return shown

    # --- the shared reader -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Read what comes to the channels that somebody listens to, until cancelled."""
        while True:
            await self._any.wait()
            try:
                await self._round()
            except RedisError as error:
                log.warning("the streams cannot be read", extra={"fields": {"error": repr(error)}})
                await asyncio.sleep(0.5)

    async def _round(self) -> None:
        tails = {name: channel.tail for name, channel in self._channels.items()}
        found = await self._desk.windows.follow(tails, _BLOCK_MS, _READ)
        for name, items in found.items():
            channel = self._channels.get(name)
            if channel is None or channel.tail != tails[name]:
                continue
            sized = [(_entry(item), len(item[2])) for item in items]
            channel.tail = sized[-1][0].position
            for subscription in channel.subscriptions:
                for entry, size in sized:
                    subscription.offer(entry, size)
                subscription.wake()
        if self._policy != self._desk.policy_version:
            self._policy = self._desk.policy_version
            self._wake_all()
        await self._watch_epoch()

    async def _watch_epoch(self) -> None:
        """A new epoch: every subscription of the old one looks at the window, and finds its gap."""
        epoch = await self._desk.windows.epoch()
        for channel in self._channels.values():
            for subscription in channel.subscriptions:
                if subscription.epoch != epoch:
                    subscription.behind = True
                    subscription.pending.clear()
                    subscription.wake()

    def _wake_all(self) -> None:
        for channel in self._channels.values():
            for subscription in channel.subscriptions:
                subscription.wake()

    def drain(self) -> None:
        """Tell every connection to come back later, elsewhere."""
        self.draining.set()
        self._wake_all()


def _entry(item: tuple[str, str, bytes]) -> Entry:
    position, key, fact = item
    return Entry(position, key, json.loads(fact))
