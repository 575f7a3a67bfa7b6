"""The Redis client."""

from redis.asyncio import Redis

from libs.common.settings import ServiceSettings


def cache(settings: ServiceSettings) -> Redis:
    """Bytes in and out; blocking reads must ask for less than its socket timeout of 15 s."""
    return Redis.from_url(settings.redis, socket_timeout=15, health_check_interval=30)
