"""The asyncpg pool, with json in and out as Python values."""

import json

import asyncpg

from libs.common.settings import ServiceSettings


async def pool(
    settings: ServiceSettings, service: str, *, role: str | None = None, size: int = 8
) -> asyncpg.Pool:
    """At most `size` connections; with `role`, what that role may and nothing more."""

    async def prepare(connection: asyncpg.Connection) -> None:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(
                name,
                schema="pg_catalog",
                encoder=lambda value: json.dumps(value, default=str),
                decoder=json.loads,
            )

    async def enter(connection: asyncpg.Connection) -> None:
        if role:
            await connection.execute(f'SET ROLE "{role}"')

    return await asyncpg.create_pool(
        settings.database,
        min_size=1,
        max_size=size,
        init=prepare,
        setup=enter,
        command_timeout=60,
        server_settings={"application_name": f"sextant {service}", "timezone": "UTC"},
    )
