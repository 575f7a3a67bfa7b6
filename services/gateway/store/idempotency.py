"""Idempotency keys in Redis: who has done what already (draft-ietf-httpapi-idempotency-key-header)."""

import hashlib
import json
from typing import Any

from redis.asyncio import Redis

from services.gateway.settings import Settings

IN_FLIGHT_SECONDS = 120
"""A gateway that dies in the middle frees the key after this."""
KEPT_SECONDS = 86_400


class Claim:
    """One key of one person."""

    def __init__(self, redis: Redis, settings: Settings, subject: str, key: str, what: str) -> None:
        name = hashlib.sha256(f"{subject}\0{key}".encode()).hexdigest()
        self._redis, self._name, self._what = redis, f"{settings.prefix}idempotency:{name}", what

    async def take(self) -> dict[str, Any] | None:
        """None: the key is ours now. Else what came with it: `what`, `status` (None while running), `answer`."""
        mine = json.dumps({"what": self._what, "status": None, "answer": None})
        if await self._redis.set(self._name, mine, nx=True, ex=IN_FLIGHT_SECONDS):
            return None
        kept = await self._redis.get(self._name)
        if kept is None:
            return await self.take()
        before: dict[str, Any] = json.loads(kept)
        return before

    async def keep(self, status: int, answer: dict[str, Any]) -> None:
        """The answer that every repetition gets for a day."""
        done = json.dumps({"what": self._what, "status": status, "answer": answer})
        await self._redis.set(self._name, done, ex=KEPT_SECONDS)

    async def drop(self) -> None:
        """Nothing was done: the key may be used again."""
        await self._redis.delete(self._name)
