"""The streams' windows in Redis: one Redis stream per channel, fed from Kafka by every gateway.

A feeder offers the records of a partition in order, with the offset that its run of records began at. One
script takes those whose offset is the next for that partition, so that any number of feeders, restarted at any
moment, add each record once and in one order. If the run began beyond what is in the window, the script takes
nothing and says where to go on from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.gateway.core.delivery import START, Window

_ADD = """
local epoch = redis.call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {-2} end
local held = tonumber(redis.call('HGET', KEYS[2], ARGV[2]))
if held == nil then return {-2} end
local from, through = tonumber(ARGV[3]), tonumber(ARGV[4])
if from > held then return {-1, held} end
local added = 0
for i = 6, #ARGV, 4 do
  local offset = tonumber(ARGV[i])
  if offset >= held then
    redis.call('XADD', ARGV[i + 1], 'MAXLEN', '~', ARGV[5], '*', 'k', ARGV[i + 2], 'd', ARGV[i + 3])
    added = added + 1
  end
end
if through > held then redis.call('HSET', KEYS[2], ARGV[2], through) end
return {added, math.max(through, held)}
"""

_BEGIN = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
  epoch = ARGV[1]
end
for i = 2, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
return epoch
"""


class EpochLost(Exception):
    """Redis has lost its memory, or was begun anew: the windows must be begun again."""


@dataclass(frozen=True)
class Record:
    """One record for a channel: its Kafka offset, the key by which it replaces earlier ones, and its JSON."""

    offset: int
    channel: str
    key: str
    fact: bytes


class Windows:
    """The windows of every channel under one prefix."""

    def __init__(self, redis: Redis, prefix: str, length: int) -> None:
        self._redis, self._prefix, self.length = redis, prefix, length
        self._add = redis.register_script(_ADD)
        self._begin = redis.register_script(_BEGIN)
        self._keys = [f"{prefix}stream:epoch", f"{prefix}stream:offsets"]

    def _name(self, channel: str) -> str:
        return f"{self._prefix}stream:channel:{channel}"

    async def epoch(self) -> str | None:
        found = await self._redis.get(self._keys[0])
        return _text(found) if found is not None else None

    async def begin(
        self, epoch: str, starts: Mapping[tuple[str, int], int]
    ) -> tuple[str, dict[tuple[str, int], int]]:
        """The epoch in force, and the next offset of each partition: ours where there was none before."""
        arguments: list[str | int] = [epoch]
        for (topic, partition), offset in starts.items():
            arguments += [f"{topic}/{partition}", offset]
        if await self._redis.exists(self._keys[0]) == 0:
            await self._forget()
        found = _text(await self._begin(keys=self._keys, args=arguments))
        return found, await self.offsets()

    async def restart(self, held: str) -> None:
        """End an epoch whose offsets Kafka no longer has."""
        if await self.epoch() == held:
            await self._redis.delete(*self._keys)

    async def _forget(self) -> None:
        """Windows of an epoch that is over go before the next begins."""
        async for key in self._redis.scan_iter(match=f"{self._prefix}stream:channel:*", count=500):
            await self._redis.delete(key)

    async def offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → the next offset to be added."""
        found = await self._redis.hgetall(self._keys[1])
        offsets = {}
        for name, offset in found.items():
            topic, _, partition = _text(name).rpartition("/")
            offsets[topic, int(partition)] = int(offset)
        return offsets

    async def add(
        self, epoch: str, topic: str, partition: int, start: int, through: int, records: Sequence[Record]
    ) -> int | None:
        """Offer the records of one partition that lie in [start, through); None: taken (or held already).

        An offset: the run began beyond what is held; offer again from there. Raises EpochLost.
        """
        arguments: list[Any] = [epoch, f"{topic}/{partition}", start, through, self.length]
        for record in records:
            arguments += [record.offset, self._name(record.channel), record.key, record.fact]
        answer = await self._add(keys=self._keys, args=arguments)
        if int(answer[0]) == -2:
            raise EpochLost
        return int(answer[1]) if int(answer[0]) == -1 else None

    async def window(self, channel: str) -> Window:
        """What the channel's window holds now. Raises EpochLost before the first feeder has begun."""
        epoch = await self.epoch()
        if epoch is None:
            raise EpochLost
        try:
            info = await self._redis.xinfo_stream(self._name(channel))
        except ResponseError:
            return Window(epoch, None, START, trimmed=False)
        first = info["first-entry"]
        return Window(
            epoch,
            _text(first[0]) if first else None,
            _text(info["last-generated-id"]),
            trimmed=int(info["entries-added"]) > int(info["length"]),
        )

    async def read(self, channel: str, after: str, count: int) -> list[tuple[str, str, bytes]]:
        """Up to `count` entries beyond `after`: position, key, JSON."""
        found = await self._redis.xrange(self._name(channel), min=f"({after}", max="+", count=count)
        return [_entry(item) for item in found or ()]

    async def read_back(self, channel: str, before: str, count: int) -> list[tuple[str, str, bytes]]:
        """Up to `count` entries at or before `before`, newest first."""
        found = await self._redis.xrevrange(self._name(channel), max=before, min="-", count=count)
        return [_entry(item) for item in found or ()]

    async def follow(
        self, after: Mapping[str, str], block_ms: int, count: int
    ) -> dict[str, list[tuple[str, str, bytes]]]:
        """What came to any of the channels beyond the given positions; waits up to `block_ms`."""
        names = {self._name(channel): channel for channel in after}
        found = await self._redis.xread(
            {self._name(channel): position for channel, position in after.items()},
            count=count,
            block=block_ms,
        )
        pairs = found.items() if isinstance(found, dict) else found or ()
        read: dict[str, list[tuple[str, str, bytes]]] = {}
        for name, entries in pairs:
            # RESP3 answers with a list of lists of entries per stream.
            flat = entries[0] if entries and isinstance(entries[0], list) else entries
            read[names[_text(name)]] = [_entry(item) for item in flat]
        return read


def _entry(item: Any) -> tuple[str, str, bytes]:
    position, fields = item
    plain = {_text(name): value for name, value in fields.items()}
    return _text(position), _text(plain["k"]), plain["d"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
