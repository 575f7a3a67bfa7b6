"""`python -m services.quality`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.events import CatalogEntry
from libs.common.http import application
from libs.common.kafka import ensure_topics
from libs.common.migrate import migrate
from libs.common.outbox import Publisher
from libs.common.references import References
from libs.common.registry import Codecs, Registry
from libs.common.service import Health, run, serve
from libs.common.stream import StoredLoop
from libs.common.topics import EVENTS, used_by
from services.quality.api import routes
from services.quality.handlers.books import Books
from services.quality.handlers.health import HealthLoop
from services.quality.handlers.incidents import IncidentCommands
from services.quality.handlers.judge import Judge
from services.quality.handlers.parity import Parity
from services.quality.handlers.rhythm import Rhythm
from services.quality.settings import Settings


async def main(settings: Settings) -> None:
    await asyncio.to_thread(migrate, settings.database, "quality")
    await ensure_topics(settings, used_by("quality"))
    health, registry, references = Health(), Registry(settings), References(settings)
    connections = await pool(settings, "quality")
    follower = Follower(settings, health.part("catalog"))
    judge = Judge(settings, connections, follower.catalog, Codecs(registry), references)
    events = StoredLoop(settings, "quality.events", connections, judge.keep, health.part("events"))

    async def listen() -> None:
        sources = [each for each in follower.catalog.sources if not each.reference]
        await ensure_topics(settings, [(EVENTS.of(each.id), EVENTS, each.partitions) for each in sources])
        events.follow(EVENTS.of(each.id) for each in sources)

    async def change(entry: CatalogEntry) -> None:
        await judge.redefine(entry)
        if entry.kind == "source" and follower.loaded.is_set():
            await listen()

    async def judging(stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await listen()
        await events.run(stopping)

    async def after_catalog(loop: Parity | Books | Rhythm, stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await loop.run(stopping)

    follower.on_change = change
    loops = {
        "catalog": follower.run,
        "events": judging,
        "health": HealthLoop(connections, follower.catalog).run,
        "parity": partial(after_catalog, Parity(connections, follower.catalog)),
        "books": partial(after_catalog, Books(settings, connections, follower.catalog)),
        "rhythm": partial(after_catalog, Rhythm(connections, follower.catalog)),
        "outbox": Publisher(settings, "quality", connections, health.part("outbox")).run,
    }
    try:
        await serve(settings, application("quality", health, routes(IncidentCommands(connections))), loops)
    finally:
        await references.stop()
        await registry.close()
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("quality", settings, partial(main, settings))
