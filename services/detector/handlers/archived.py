"""Events of the archive, as frames: what the topic no longer holds, or nobody wants to read from it.

Streamed by COPY from the view `read.events` as role `sextant_reader`, decoded by columns, a bounded number at a time.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

import asyncpg
import polars as pl
from aiokafka import TopicPartition

from libs.common.batches import TIMESTAMP
from libs.common.catalog import Source
from libs.common.clock import moment
from libs.common.errors import TryLater
from libs.common.expressions import OFFSET, PARTITION
from libs.common.kafka import has_records
from libs.common.migrate import READER
from libs.common.settings import ServiceSettings
from libs.common.wire import INDEX, SCHEMA_ID, decode_json, defaulted
from services.detector.handlers.reading import timed

AT_ONCE = 50_000
"""Events in a frame, about."""
PIECES = 64
"""Pieces of what the database sends (64 KB each, about) that wait to be taken."""

_PLACE = {PARTITION: pl.Int32, OFFSET: pl.Int64, TIMESTAMP: pl.Int64, SCHEMA_ID: pl.Int64}
_EVENTS = (
    'SELECT partition, "offset", (extract(epoch FROM ingested_at) * 1000)::bigint, schema_id, data::text'
    " FROM read.events WHERE source = $1"
)
UNREACHED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class TakenOut(NamedTuple):
    """Events that the archive has taken out for a withdrawal."""

    events: int
    first: int | None
    """The times (ms) of the first and the last; None if there were none."""
    last: int | None


class Archive:
    """Reads the archive. Where it does not answer, or is not there yet: TryLater."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings

    async def between(self, source: Source, start: int, stop: int) -> AsyncGenerator[pl.DataFrame]:
        """The events with start <= time < stop (ms), by time, as `Reading.timed` gives them."""
        query = f"{_EVENTS} AND event_time >= $2 AND event_time < $3 ORDER BY event_time"
        async for lines in self.lines(query, source.id, moment(start), moment(stop)):
            yield await asyncio.to_thread(events_of, source, lines)

    async def since(
        self, source: Source, partition: int, first: int, stop: int
    ) -> AsyncGenerator[pl.DataFrame]:
        """The events of a partition with first <= offset < stop, by offset, as `Reading.timed` gives them."""
        query = f'{_EVENTS} AND partition = $2 AND "offset" >= $3 AND "offset" < $4 ORDER BY "offset"'
        async for lines in self.lines(query, source.id, partition, first, stop):
            yield await asyncio.to_thread(events_of, source, lines)

    async def next_offsets(self, topic: str) -> dict[int, int]:
        """Partition → the offset of a topic (without the prefix) from which it is not archived yet."""
        rows = await self.fetch("SELECT partition, next_offset FROM read.archived WHERE topic = $1", topic)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def lacks(self, topic: str, ends: Mapping[int, int]) -> int:
        """How many offsets of a topic, before these ends by partition, are not archived yet; 0: all records are there."""
        known = await self.next_offsets(topic)
        missing = 0
        for number, end in ends.items():
            start = known.get(number, 0)
            place = TopicPartition(self.settings.prefix + topic, number)
            if start < end and await has_records(self.settings, place, start, end):
                missing += end - start
        return missing

    async def taken_out(self, withdrawals: Sequence[str]) -> dict[str, TakenOut]:
        """Of those of the withdrawals that it has carried out."""
        rows = await self.fetch(
            "SELECT id, events, (extract(epoch FROM first_time) * 1000)::bigint AS first,"
            " (extract(epoch FROM last_time) * 1000)::bigint AS last FROM read.withdrawals"
            " WHERE id = ANY($1) AND done_at IS NOT NULL",
            list(withdrawals),
        )
        return {row["id"]: TakenOut(row["events"], row["first"], row["last"]) for row in rows}

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        try:
            connection = await self._connect()
            try:
                return await connection.fetch(query, *values)
            finally:
                connection.terminate()
        except UNREACHED as error:
            raise TryLater(f"the archive does not answer: {error!r}") from error

    async def lines(self, query: str, *values: object, most: int = AT_ONCE) -> AsyncGenerator[bytes]:
        """What a query gives as CSV, about `most` lines at a time. No text in it may have a line break."""
        held: list[bytes] = []
        count = 0
        async for piece in self._copied(query, values):
            held.append(piece)
            count += piece.count(b"\n")
            if count >= most:
                whole, _, rest = b"".join(held).rpartition(b"\n")
                yield whole + b"\n"
                held, count = [rest], 0
        if rest := b"".join(held):
            yield rest

    async def _copied(self, query: str, values: tuple[object, ...]) -> AsyncGenerator[bytes]:
        """The bytes of a COPY as they come; the database waits for who takes them."""
        try:
            connection = await self._connect()
        except UNREACHED as error:
            raise TryLater(f"the archive does not answer: {error!r}") from error
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)

        async def copy() -> None:
            try:
                await connection.copy_from_query(query, *values, output=pieces.put, format="csv")
                await pieces.put(None)
            except UNREACHED as error:
                await pieces.put(None)
                raise TryLater(f"the archive broke off: {error!r}") from error

        copying = asyncio.create_task(copy())
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await copying
        finally:
            copying.cancel()
            connection.terminate()
            await asyncio.gather(copying, return_exceptions=True)

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self.settings.database,
            timeout=10,
            server_settings={"application_name": "sextant detector", "timezone": "UTC"},
        )
        await connection.execute(f'SET ROLE "{READER}"')
        return connection


def events_of(source: Source, lines: bytes) -> pl.DataFrame:
    """CSV of partition, offset, arrival (ms), schema id and JSON → events with a time that their arrival allows."""
    schema = {**_PLACE, "data": pl.String}
    rows = pl.read_csv(io.BytesIO(lines), has_header=False, schema=schema)
    frame, _ = decode_json(rows["data"].cast(pl.Binary).to_list(), source.field_types)
    frame = defaulted(frame, source.field_types, source.defaults)
    places = rows.drop("data")[frame[INDEX].to_list()] if frame.height < rows.height else rows.drop("data")
    usable, _ = timed(source, pl.concat([frame.drop(SCHEMA_ID), places], how="horizontal"))
    return usable
