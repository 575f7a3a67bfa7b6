"""What the loops share that delete: a round every second, and whether the archive has stored what lies before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import asyncpg
from aiokafka import TopicPartition

from libs.common.kafka import has_records
from libs.common.settings import ServiceSettings
from libs.common.stream.stored import Connection
from services.archive import store

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0


async def rounds(name: str, round: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
    """A round again and again; one that the database fails is repeated by the next."""
    while not stopping.is_set():
        try:
            await round()
        except (asyncpg.PostgresConnectionError, asyncpg.DeadlockDetectedError, OSError) as error:
            log.warning("waiting", extra={"fields": {"loop": name, "reason": repr(error)}})
        try:
            await asyncio.wait_for(stopping.wait(), EVERY_SECONDS)
        except TimeoutError:
            continue


async def has_stored(settings: ServiceSettings, connection: Connection, ends: Mapping[str, int]) -> bool:
    """Whether all records before the ends (`topic/partition` → offset) are rows; what is left up to them may be
    transaction markers."""
    offsets = await store.offsets(connection)
    for place, end in ends.items():
        topic, _, number = place.rpartition("/")
        tp = TopicPartition(settings.prefix + topic, int(number))
        if await has_records(settings, tp, offsets.get(place, 0), end):
            return False
    return True
