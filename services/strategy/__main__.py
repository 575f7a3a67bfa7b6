"""`python -m services.strategy`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.events import CatalogEntry
from libs.common.http import application
from libs.common.kafka import ensure_topics
from libs.common.migrate import migrate
from libs.common.outbox import Publisher
from libs.common.registry import Registry
from libs.common.service import Health, run, serve
from libs.common.stream import StoredLoop
from libs.common.topics import OBSERVATIONS, SIGNALS, used_by
from services.strategy.api import routes
from services.strategy.handlers.catalog import CatalogKeeper
from services.strategy.handlers.commands import Commands
from services.strategy.handlers.objectives import ObjectiveKeeper
from services.strategy.handlers.signals import SignalKeeper
from services.strategy.handlers.timers import Timers
from services.strategy.settings import Settings


async def main(settings: Settings) -> None:
    await asyncio.to_thread(migrate, settings.database, "strategy")
    await ensure_topics(settings, used_by("strategy"))
    health, registry = Health(), Registry(settings)
    connections = await pool(settings, "strategy")
    follower = Follower(settings, health.part("catalog"))
    objectives = ObjectiveKeeper(connections, follower.catalog, registry)
    signals = StoredLoop(
        settings, "strategy.signals", connections, SignalKeeper(follower.catalog).keep, health.part("signals")
    )
    windows = StoredLoop(
        settings, "strategy.observations", connections, objectives.keep, health.part("observations")
    )
    signals.follow([SIGNALS.name])
    windows.follow([OBSERVATIONS.name])

    async def change(entry: CatalogEntry) -> None:
        if entry.kind in ("objective", "kpi"):
            objectives.refresh()

    async def after_catalog(loop: StoredLoop | ObjectiveKeeper, stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await loop.run(stopping)

    follower.on_change = change
    loops = {
        "catalog": follower.run,
        "signals": partial(after_catalog, signals),
        "observations": partial(after_catalog, windows),
        "objectives": partial(after_catalog, objectives),
        "timers": Timers(settings, connections).run,
        "outbox": Publisher(settings, "strategy", connections, health.part("outbox")).run,
    }
    app = application("strategy", health, routes(CatalogKeeper(connections, registry), Commands(connections)))
    try:
        await serve(settings, app, loops)
    finally:
        await registry.close()
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("strategy", settings, partial(main, settings))
