"""`python -m services.ingest`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.events import CatalogEntry
from libs.common.http import application
from libs.common.migrate import migrate
from libs.common.registry import Registry
from libs.common.service import Health, run, serve
from services.ingest.api import push_routes, redrive_routes, source_routes, vault_routes
from services.ingest.handlers.pulls import Pulls
from services.ingest.handlers.redrive import Redrives
from services.ingest.handlers.schemas import Schemas
from services.ingest.handlers.shredding import Shredder
from services.ingest.handlers.vault import Vault
from services.ingest.handlers.writers import Writers
from services.ingest.settings import Settings


async def main(settings: Settings) -> None:
    await asyncio.to_thread(migrate, settings.database, "ingest")
    health = Health()
    connections = await pool(settings, "ingest")
    follower = Follower(settings, health.part("catalog"))
    vault = Vault(connections, settings.keys)
    writers = Writers(settings, follower.catalog, follower.loaded, connections, vault)
    shredder = Shredder(settings, vault, writers)
    registry = Registry(settings)
    pulls = Pulls(connections, follower.catalog, writers)
    redrives = Redrives(connections, writers)

    async def change(entry: CatalogEntry) -> None:
        if entry.kind in ("source", "rule"):
            await writers.redefine()
        if entry.kind == "source":
            await pulls.redefine()

    follower.on_change = change
    app = application(
        "ingest",
        health,
        push_routes(writers, Schemas(registry)),
        source_routes(writers, pulls, connections),
        redrive_routes(redrives),
        vault_routes(vault, follower.catalog),
    )
    try:
        loops = {
            "catalog": follower.run, "writers": writers.run, "pulls": pulls.run, "redrives": redrives.run,
            "erasures": shredder.follow, "answers": shredder.answer,
        }  # fmt: skip
        await serve(settings, app, loops)
    finally:
        await registry.close()
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("ingest", settings, partial(main, settings))
