"""`python -m services.archive`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.events import CatalogEntry
from libs.common.http import application
from libs.common.kafka import ensure_topics, producer
from libs.common.migrate import migrate
from libs.common.registry import Codecs, Registry
from libs.common.service import Health, run, serve
from libs.common.stream import StoredLoop
from libs.common.topics import (
    BACKFILLS,
    DEAD,
    DISPOSALS,
    EVENTS,
    EXPECTATIONS,
    LATE,
    LEDGER,
    OBSERVATIONS,
    REFERENCE,
    SIGNALS,
    SUBJECTS,
    VERSIONS,
    WITHDRAWALS,
    used_by,
)
from services.archive.handlers.erasing import Eraser
from services.archive.handlers.keepers import Keepers
from services.archive.handlers.withdrawing import Withdrawer
from services.archive.settings import Settings

FACTS = (DEAD, LEDGER, EXPECTATIONS, LATE, SIGNALS, DISPOSALS, VERSIONS, SUBJECTS, BACKFILLS, WITHDRAWALS)
"""The JSON topics."""


async def main(settings: Settings) -> None:
    await asyncio.to_thread(migrate, settings.database, "archive")
    await ensure_topics(settings, used_by("archive"))
    health, registry = Health(), Registry(settings)
    connections = await pool(settings, "archive", size=12)
    answers = producer(settings)
    await answers.start()
    follower = Follower(settings, health.part("catalog"))
    keepers = Keepers(settings, follower.catalog, Codecs(registry), answers)
    events = StoredLoop(
        settings,
        "archive.events",
        connections,
        keepers.events,
        health.part("events"),
        at_rest=partial(keepers.rested, connections),
    )
    observations = StoredLoop(
        settings, "archive.observations", connections, keepers.observations, health.part("observations")
    )
    facts = StoredLoop(settings, "archive.facts", connections, keepers.facts, health.part("facts"))
    keepers.end_of = events.end_of
    observations.follow([OBSERVATIONS.name])
    facts.follow(topic.name for topic in FACTS)

    async def listen() -> None:
        sources = [source for source in follower.catalog.sources if follower.catalog.schema_id(source.id)]
        topics = [
            (REFERENCE.of(source.id), REFERENCE, 1)
            if source.reference
            else (EVENTS.of(source.id), EVENTS, source.partitions)
            for source in sources
        ]
        await ensure_topics(settings, topics)
        events.follow(name for name, _, _ in topics)

    async def change(entry: CatalogEntry) -> None:
        if entry.kind == "source" and follower.loaded.is_set():
            await listen()

    async def keep_events(stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await listen()
        await events.run(stopping)

    follower.on_change = change
    loops = {
        "catalog": follower.run,
        "events": keep_events,
        "observations": observations.run,
        "facts": facts.run,
        "erasing": Eraser(settings, connections, answers).run,
        "withdrawing": Withdrawer(settings, connections).run,
    }
    try:
        await serve(settings, application("archive", health), loops)
    finally:
        await answers.stop()
        await registry.close()
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("archive", settings, partial(main, settings))
