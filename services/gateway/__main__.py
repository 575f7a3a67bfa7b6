"""`python -m services.gateway`: builds the real things and runs them."""

import asyncio
import os
import secrets
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
from joserfc.jwk import ECKey

from libs.common import clock
from libs.common.catalog.follow import Follower
from libs.common.database import pool
from libs.common.events import CatalogEntry
from libs.common.http import operations, propagate_trace
from libs.common.kafka import ensure_topics, producer
from libs.common.migrate import READER, lay_ground
from libs.common.registry import Registry
from libs.common.service import Health, run, serve
from libs.common.topics import used_by
from services.gateway.api import VERSION, create_app
from services.gateway.api.auditing import Audit
from services.gateway.api.desk import Desk
from services.gateway.api.hub import Hub
from services.gateway.api.identity import Identity
from services.gateway.api.people import People
from services.gateway.core.sealing import Seal
from services.gateway.handlers import AuditSender, Feeder
from services.gateway.settings import Settings
from services.gateway.store.cache import cache
from services.gateway.store.windows import Windows

OWN_ISSUER = "sextant"


def kept(file: Path, make: bytes) -> bytes:
    """A secret kept in a file for the owner's eyes only; made at the first start. Replicas share the file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(make)
        try:
            os.link(draft, file)  # whoever is first wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return file.read_bytes()


def signing_key(settings: Settings) -> ECKey | None:
    """The key of the own issuer; None if tokens come from another one."""
    if settings.issuer:
        return None
    fresh = ECKey.generate_key("P-256", {"kid": uuid4().hex[:8], "use": "sig"})
    return ECKey.import_key(
        kept(settings.signing_key, fresh.as_pem(private=True)), {"kid": "own", "use": "sig"}
    )


def new_id() -> str:
    return uuid4().hex


async def fan_out(hub: Hub, stopping: asyncio.Event) -> None:
    """Feed the subscriptions; at the end tell every client to come back elsewhere."""
    reading = asyncio.create_task(hub.run())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({reading, stop}, return_when=asyncio.FIRST_COMPLETED)
    hub.drain()
    reading.cancel()
    if reading.done() and not reading.cancelled():
        reading.result()


async def main(settings: Settings) -> None:
    await asyncio.to_thread(lay_ground, settings.database)
    await ensure_topics(settings, used_by("gateway"))
    health = Health()
    connections = await pool(settings, "gateway", role=READER, size=16)
    redis, writer = cache(settings), producer(settings)
    registry = Registry(settings)
    await writer.start()
    follower = Follower(settings, health.part("catalog"))
    secret = kept(settings.pseudonym_key, secrets.token_bytes(32))
    outside = httpx.AsyncClient(timeout=10, trust_env=False)
    inside = httpx.AsyncClient(
        timeout=settings.command_seconds, trust_env=False, event_hooks={"request": [propagate_trace]}
    )
    windows = Windows(redis, settings.prefix, settings.stream_window)
    identity = Identity(
        issuer=settings.issuer or OWN_ISSUER, audience=settings.audience, leeway=settings.token_leeway,
        key=signing_key(settings), client=outside, now=clock.now, new_id=new_id,
    )  # fmt: skip
    desk = Desk(
        settings=settings, catalog=follower.catalog, pool=connections, redis=redis, windows=windows,
        commands=inside, registry=registry, audit=Audit(AuditSender(settings, writer).send, clock.now, new_id),
        identity=identity, people=People(settings.people), seal=Seal(secret), secret=secret, now=clock.now,
        new_id=new_id, build=VERSION, loaded=follower.loaded.is_set,
    )  # fmt: skip

    async def change(entry: CatalogEntry) -> None:
        desk.catalog_changed()

    follower.on_change = change
    app = create_app(desk)
    operations(app, health)
    loops = {
        "catalog": follower.run,
        "feed": Feeder(settings, windows, connections, health.part("feed")).run,
        "fan-out": partial(fan_out, app.state.hub),
    }
    try:
        await serve(settings, app, loops)
    finally:
        await writer.stop()
        await redis.aclose()
        await registry.close()
        await outside.aclose()
        await inside.aclose()
        await connections.close()


if __name__ == "__main__":
    settings = Settings.from_environment()
    run("gateway", settings, partial(main, settings))
