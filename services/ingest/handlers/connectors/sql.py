"""Polling a table or a query of PostgreSQL: pages by (cursor, tie breaker), from before the cursor to the end."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from libs.common.catalog import Source
from libs.common.catalog.pulls import OutboxPull, SqlPull
from libs.common.clock import EPOCH
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Page, Standing, micros
from services.ingest.core.rows import row
from services.ingest.handlers.connectors.desk import Desk


@asynccontextmanager
async def connected(
    desk: Desk, pull: SqlPull | OutboxPull, **session: str
) -> AsyncGenerator[asyncpg.Connection]:
    """For one round."""
    connection = await asyncpg.connect(
        pull.address,
        password=desk.secret(pull.password) if pull.password else None,
        timeout=30,
        command_timeout=60,
        server_settings={"application_name": "sextant pull", "timezone": "UTC", **session},
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def sql(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    pull = source.pull
    assert isinstance(pull, SqlPull)
    place = f"({pull.query}) AS pulled" if pull.query else pull.table
    cursor, tie = f'"{pull.cursor}"', f'"{pull.tie_breaker}"'
    async with connected(desk, pull, default_transaction_read_only="on") as connection:
        kind = await _kind(connection, f"SELECT {cursor} FROM {place}")
        round = standing.begin(pull.overlap, times=kind.times, now=desk.now())
        conditions, arguments = ["true"], list[Any]()
        if round.since is not None:
            arguments.append(kind.bound(round.since))
            conditions.append(f"{cursor} >= $1")
        while True:
            rows = await connection.fetch(
                f"SELECT * FROM {place} WHERE {' AND '.join(conditions)}"
                f" ORDER BY {cursor}, {tie} LIMIT {pull.page_size}",
                *arguments,
            )
            ended = len(rows) < pull.page_size
            values = [kind.value(each[pull.cursor]) for each in rows]
            yield Page([row(source, each) for each in rows], values=values, last=ended)
            if ended:
                return
            arguments = [rows[-1][pull.cursor], rows[-1][pull.tie_breaker]]
            conditions = [f"({cursor}, {tie}) > ($1, $2)"]


class _Kind:
    """Of the cursor's column."""

    def __init__(self, name: str) -> None:
        self.name, self.times = name, name in ("timestamptz", "timestamp", "date")

    def value(self, found: Any) -> int | None:
        if found is None:
            return None
        if not self.times:
            return int(found)
        if not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day, tzinfo=UTC)
        return micros(found if found.tzinfo else found.replace(tzinfo=UTC))

    def bound(self, value: int) -> Any:
        """The parameter for a value."""
        if not self.times:
            return value
        try:
            moment = EPOCH + timedelta(microseconds=value)
        except OverflowError:
            moment = datetime.min.replace(tzinfo=UTC)
        match self.name:
            case "timestamptz":
                return moment
            case "timestamp":
                return moment.replace(tzinfo=None)
            case _:
                return date(moment.year, moment.month, moment.day)


async def _kind(connection: asyncpg.Connection, query: str) -> _Kind:
    """Unreadable unless the cursor is a time or a whole number."""
    statement = await connection.prepare(query)
    (attribute,) = statement.get_attributes()
    name = attribute.type.name
    if name not in ("timestamptz", "timestamp", "date", "int2", "int4", "int8"):
        raise Unreadable(f"the cursor {attribute.name} is {name}: it must be a time or a whole number")
    return _Kind(name)
