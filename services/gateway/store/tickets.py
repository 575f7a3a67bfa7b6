"""Short-lived things in Redis: stream tickets, and counts of failed sign-ins."""

import json
from dataclasses import asdict
from datetime import datetime

from redis.asyncio import Redis

from services.gateway.core.access import Principal
from services.gateway.settings import Settings

TICKET_SECONDS = 30
ATTEMPTS = 5
"""Failed sign-ins of one name, or ten times as many from one address, within the period."""
ATTEMPT_SECONDS = 300


async def keep(redis: Redis, settings: Settings, ticket: str, principal: Principal) -> None:
    """Remember whose ticket it is, for `TICKET_SECONDS`."""
    fields = asdict(principal) | {"expires_at": principal.expires_at.isoformat()}
    await redis.set(f"{settings.prefix}ticket:{ticket}", json.dumps(fields), ex=TICKET_SECONDS)


async def redeem(redis: Redis, settings: Settings, ticket: str) -> Principal | None:
    """Whose ticket it is; it is gone with this."""
    kept = await redis.getdel(f"{settings.prefix}ticket:{ticket}")
    if kept is None:
        return None
    fields = json.loads(kept)
    return Principal(
        subject=fields["subject"],
        name=fields["name"],
        roles=tuple(fields["roles"]),
        department=fields["department"],
        expires_at=datetime.fromisoformat(fields["expires_at"]),
    )


def _limits(settings: Settings, name: str, address: str) -> list[tuple[str, int]]:
    return [
        (f"{settings.prefix}failed:name:{name}", ATTEMPTS),
        (f"{settings.prefix}failed:address:{address}", ATTEMPTS * 10),
    ]


async def attempts_left(redis: Redis, settings: Settings, name: str, address: str) -> int:
    """Seconds until another sign-in may be tried; 0 is now."""
    for key, most in _limits(settings, name, address):
        if int(await redis.get(key) or 0) >= most:
            return max(int(await redis.ttl(key)), 1)
    return 0


async def count_failure(redis: Redis, settings: Settings, name: str, address: str) -> None:
    for key, _ in _limits(settings, name, address):
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.set(key, 0, ex=ATTEMPT_SECONDS, nx=True)
            pipeline.incr(key)
            await pipeline.execute()


async def forgive(redis: Redis, settings: Settings, name: str) -> None:
    """A right password clears the name's count."""
    await redis.delete(f"{settings.prefix}failed:name:{name}")
