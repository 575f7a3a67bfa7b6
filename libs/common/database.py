"""The asyncpg pool, with jsonb in and out as Python values (or in as bytes that are JSON)."""

import json
from typing import Any

import asyncpg

from libs.common.settings import ServiceSettings


def _to_jsonb(value: Any) -> bytes:
    """Version 1 of PostgreSQL's binary jsonb; bytes are JSON already."""
    return b"\x01" + (value if isinstance(value, bytes) else json.dumps(value, default=str).encode())


def _from_jsonb(value: bytes) -> Any:
    return json.loads(value[1:])


async def pool(
    settings: ServiceSettings, service: str, *, role: str | None = None, size: int = 8
) -> asyncpg.Pool:
    """At most `size` connections; with `role`, what that role may and nothing more."""

    async def prepare(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=_to_jsonb, decoder=_from_jsonb, format="binary"
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


def storable(value: Any) -> Any:
    """A text, or JSON-ready value, as PostgreSQL can hold it: the sign for a NUL in its place."""
    match value:
        case str():
            return value.replace("\0", "\N{SYMBOL FOR NULL}")
        case dict():
            return {storable(name): storable(item) for name, item in value.items()}
        case list():
            return [storable(item) for item in value]
        case _:
            return value
