"""`python -m services.governance`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.http import application
from libs.common.kafka import ensure_topics
from libs.common.migrate import migrate
from libs.common.outbox import Publisher
from libs.common.service import Health, run, serve
from libs.common.stream import StoredLoop
from libs.common.topics import AUDIT, DISPOSALS, used_by
from services.governance.api import routes
from services.governance.handlers.audit import Anchors, AuditKeeper
from services.governance.handlers.erasure import Erasure
from services.governance.handlers.retention import Retention
from services.governance.settings import Settings


async def main(settings: Settings) -> None:
    await asyncio.to_thread(migrate, settings.database, "governance")
    await ensure_topics(settings, used_by("governance"))
    health = Health()
    connections = await pool(settings, "governance", size=6)
    follower = Follower(settings, health.part("catalog"))
    anchors = Anchors(connections, settings.anchors, settings.anchor_seconds)
    retention = Retention(connections, follower.catalog, settings.retention_seconds)
    erasure = Erasure(settings, connections, follower.catalog)
    chain = StoredLoop(settings, "governance.audit", connections, AuditKeeper().keep, health.part("audit"))
    receipts = StoredLoop(
        settings, "governance.disposals", connections, retention.keep, health.part("disposals")
    )
    chain.follow([AUDIT.name])
    receipts.follow([DISPOSALS.name])

    async def retain(stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await retention.run(stopping)

    loops = {
        "catalog": follower.run,
        "audit": chain.run,
        "disposals": receipts.run,
        "anchors": anchors.run,
        "retention": retain,
        "erasure": erasure.run,
        "outbox": Publisher(settings, "governance", connections, health.part("outbox")).run,
    }
    try:
        await serve(settings, application("governance", health, routes(anchors, retention, erasure)), loops)
    finally:
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("governance", settings, partial(main, settings))
