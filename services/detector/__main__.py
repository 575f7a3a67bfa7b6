"""`python -m services.detector`: builds the real things and runs them."""

import asyncio
from functools import partial

from libs.common.catalog.follow import Follower
from libs.common.events import OBSERVATION_SCHEMA, CatalogEntry
from libs.common.http import application
from libs.common.kafka import ensure_topics
from libs.common.references import References
from libs.common.registry import Codecs, Registry
from libs.common.service import Health, run, serve
from libs.common.stream import TransactionalLoop, Urgency
from libs.common.topics import EVENTS, OBSERVATIONS, PARTIALS, used_by
from services.detector.api import backfill_routes, routes
from services.detector.handlers.backfill import Backfills
from services.detector.handlers.cluster import Cluster
from services.detector.handlers.combine import Combine
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import Erasures
from services.detector.handlers.flink import Jobs
from services.detector.handlers.merge import Merge
from services.detector.handlers.orders import Orders
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.reading import Reading
from services.detector.handlers.rebuild import Rebuild
from services.detector.handlers.signals import Signals
from services.detector.handlers.sizes import Sizes
from services.detector.handlers.versions import Versions
from services.detector.handlers.withdrawals import Withdrawals
from services.detector.settings import Settings


def cluster_of(settings: Settings) -> Cluster | None:
    """The Flink cluster, where there is one."""
    return (
        Cluster(settings.flink, settings.flink_gateway) if settings.flink and settings.flink_gateway else None
    )


async def main(settings: Settings) -> None:
    await ensure_topics(settings, used_by("detector"))
    registry, health = Registry(settings), Health()
    follower = Follower(settings, health.part("catalog"))
    definitions = Definitions(follower.catalog)
    versions = Versions(settings, definitions)
    await versions.load()
    references = References(settings)
    erasures = Erasures(settings)
    reading = Reading(definitions, Codecs(registry), references, erasures, Withdrawals(settings))
    await reading.load()
    publisher = Publisher(await registry.register(f"{OBSERVATIONS.name}-value", OBSERVATION_SCHEMA))
    published = Codecs(registry, OBSERVATION_SCHEMA)
    merge = Merge(settings, definitions, publisher, erasures, Rebuild(settings, reading, published))

    loop = partial(TransactionalLoop, settings, pause_seconds=settings.pause_seconds, urgency=Urgency())
    combining = loop(
        "detector.combine", Combine(settings, definitions, reading, publisher), health.part("combine")
    )
    merging = loop("detector.merge", merge, health.part("merge"))
    signals = Signals(settings, definitions, published, erasures)
    judging = loop("detector.signals", signals, health.part("signals"))
    merging.follow([PARTIALS.name])
    sizes = Sizes(merge)
    jobs = Jobs(settings, follower.catalog, cluster_of(settings), leads=merge.leads)
    orders = Orders(settings, definitions)
    backfills = Backfills(settings, definitions, reading, publisher, orders, merge)

    async def listen() -> None:
        """Combine the sources that have KPIs, as soon as the catalog says so."""
        sources = [source for id in definitions.by_source if (source := follower.catalog.source(id))]
        topics = [(EVENTS.of(source.id), EVENTS, source.partitions) for source in sources]
        await ensure_topics(settings, topics)
        combining.follow(EVENTS.of(source.id) for source in sources)
        judging.follow([OBSERVATIONS.name] if any(definitions.signals.values()) else [])

    async def change(entry: CatalogEntry) -> None:
        await definitions.on_change(entry)
        if follower.loaded.is_set():
            await listen()

    async def combine(stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await listen()
        await combining.run(stopping)

    async def after_catalog(loop: TransactionalLoop | Jobs | Backfills, stopping: asyncio.Event) -> None:
        await follower.wait(stopping)
        await loop.run(stopping)

    follower.on_change = change
    loops = {
        "catalog": follower.run,
        "versions": versions.run,
        "erasures": erasures.run,
        "withdrawals": reading.withdrawals.run,
        "combine": combine,
        "merge": partial(after_catalog, merging),
        "signals": partial(after_catalog, judging),
        "flink": partial(after_catalog, jobs),
        "sizes": sizes.run,
        "orders": orders.run,
        "backfills": partial(after_catalog, backfills),
    }
    routers = routes(merge, jobs, sizes, references), backfill_routes(orders)
    try:
        await serve(settings, application("detector", health, *routers), loops)
    finally:
        await references.stop()
        await registry.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("detector", settings, partial(main, settings))
