"""Erasure of one subject: ordered, answered by every store that may name it, and forgotten here last."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import asyncpg
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog, Kpi, Source
from libs.common.errors import Invalid, NotFound
from libs.common.events import ErasureOrdered, ErasureSubject
from libs.common.kafka import delete_before, high_watermarks, read_all
from libs.common.outbox import put
from libs.common.settings import ServiceSettings
from libs.common.topics import (
    DEAD,
    ERASURES,
    EVENTS,
    EXPECTATIONS,
    LATE,
    MODELS,
    OBSERVATIONS,
    PARKED,
    PARTIALS,
    SIGNALS,
    STATE,
    SUBJECTS,
)
from services.governance import store
from services.governance.core.erasure import Named, named, stores

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
TYPES = ("string", "int", "long")
CLASSES = ("personal", "sensitive")
EXPIRING = (EVENTS, OBSERVATIONS, EXPECTATIONS, SIGNALS, LATE, DEAD, PARTIALS)
"""Topics from which nothing is taken out: the brokers drop all records when their time is over."""


class Erasure:
    """Takes orders, and one of the service's loops: an order whose stores have answered is over."""

    def __init__(self, settings: ServiceSettings, pool: asyncpg.Pool, catalog: Catalog) -> None:
        self.settings, self.pool, self.catalog = settings, pool, catalog

    async def order(
        self, source: str, field: str, value: str, pseudonym: str, reason: str, by: str, *, dry_run: bool
    ) -> dict[str, Any]:
        """The erasure, as `of` shows it; one that is open for the same subject is answered, and no other begun.

        Raises NotFound and Invalid. Dry: the stores and how many rows the archive has.
        """
        known = self._source(source, field, value)
        found = named(known, field, value, await self._versions())
        if dry_run:
            rows = await store.subject_rows(self.pool, source, field, value, found.series)
            answering = self._stores(source, found)
            return {
                "dry_run": True, "source": source, "field": field, "pseudonym": pseudonym, "rows": rows,
                "stores": answering, "unclear": list(found.unclear), "kpis": sorted({each.kpi for each in found.series}),
            }  # fmt: skip
        upto = await high_watermarks(self.settings, self.settings.prefix + EVENTS.of(source))
        kept = [STATE.name, MODELS.name, *await self._parked(source)]
        async with self.pool.acquire() as connection, connection.transaction():
            await store.lock_erasures(connection)
            id = await store.open_erasure(connection, source, field, pseudonym)
            if id is None:
                id = uuid4().hex
                await self._order(
                    connection, id, known, field, value, pseudonym, reason, by, found, upto, kept
                )
        return await self.of(id)

    async def _order(
        self, connection: Any, id: str, source: Source, field: str, value: str, pseudonym: str, reason: str, by: str,
        found: Named, upto: dict[int, int], kept: Sequence[str],
    ) -> None:  # fmt: skip
        now, salt, answering = clock.now(), secrets.token_hex(16), self._stores(source.id, found)
        ends = {str(number): end for number, end in sorted(upto.items())}
        await store.add_erasure(
            connection, (id, source.id, field, pseudonym, reason, list(found.unclear), by, now)
        )
        lines = [(name, "ordered", None, "") for name in answering]
        lines += [
            (topic.of(source.id), "expires", now + topic.retention, "")
            for topic in EXPIRING
            if topic.retention
        ]
        lines.append((SUBJECTS.name, "ordered", None, "the order itself, with the subject's name"))
        lines.append((
            "gateway.streams", "expires", None,
            "the windows of streams in Redis: an entry goes when SEXTANT_STREAM_WINDOW later ones of its channel came",
        ))  # fmt: skip
        note = "deleted records leave the brokers' disks with their segment, tombstoned ones by compaction"
        lines += [(topic, "expires", None, note) for topic in kept]
        await store.add_lines(connection, id, source.id, by, now, lines)
        order = ErasureOrdered.build(
            id=id, source=source.id, field=field, pseudonym=pseudonym, salt=salt,
            digest=hashlib.sha256(f"{salt}\0{value}".encode()).hexdigest(), upto=ends, by=by, ordered_at=now,
        )  # fmt: skip
        subject = ErasureSubject.build(
            id=id, source=source.id, field=field, value=value, series=found.series, rounds=found.rounds, upto=ends,
            stores=answering, ordered_at=now,
        )  # fmt: skip
        await put(connection, "governance", ERASURES.name, id, order)
        await put(connection, "governance", SUBJECTS.name, id, subject)

    async def _parked(self, source: str) -> list[str]:
        """The topic of what is parked of a source, if there ever was one."""
        topic = PARKED.of(source)
        return [topic] if await high_watermarks(self.settings, self.settings.prefix + topic) else []

    def _stores(self, source: str, found: Named) -> list[str]:
        embedded = [each for each in self.catalog.kpis if each.engine == "embedded"]
        return stores(
            found.series, combined=any(each.source == source for each in embedded),
            judged=any(each.signals for each in self.catalog.kpis), partitions=PARTIALS.partitions,
        )  # fmt: skip

    def _source(self, id: str, name: str, value: str) -> Source:
        source = self.catalog.source(id)
        if source is None:
            raise NotFound(f"source: there is no source {id}")
        if source.reference:
            raise Invalid(
                f"source: {id} is a reference, whose rows go when their key is published without one"
            )
        field = source.field(name)
        if field is None:
            raise NotFound(f"field: {id} has no field {name}")
        if field.classification not in CLASSES:
            raise Invalid(
                f"field: {name} is {field.classification}, and names no subject: it must be personal or sensitive"
            )
        if field.type not in TYPES:
            raise Invalid(
                f"field: {name} is of type {field.type}; a subject is named by one of {', '.join(TYPES)}"
            )
        if field.type != "string" and str(_number(value)) != value:
            raise Invalid(
                f"value: {name} is of type {field.type}, and this is no whole number as the field writes it"
            )
        return source

    async def _versions(self) -> list[Kpi]:
        """Every version of every KPI that this code can still read."""
        kpis = list(self.catalog.kpis)
        for definition in await store.kpi_versions(self.pool):
            try:
                kpis.append(Kpi.model_validate(definition))
            except ValueError as error:
                log.warning("a former version cannot be read", extra={"fields": {"error": str(error)}})
        return kpis

    async def of(self, id: str) -> dict[str, Any]:
        """An erasure with the line of each store. Raises NotFound."""
        found = await store.erasure(self.pool, id)
        if found is None:
            raise NotFound(f"there is no erasure {id}")
        return found

    # --- the end -----------------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._settle()
            except (asyncpg.PostgresConnectionError, OSError) as error:
                log.warning(
                    "waiting", extra={"fields": {"loop": "governance.erasure", "reason": repr(error)}}
                )
            try:
                await asyncio.wait_for(stopping.wait(), EVERY_SECONDS)
            except TimeoutError:
                continue

    async def _settle(self) -> None:
        """Delete the names of the subjects that all stores have answered for, up to the first that is open."""
        answered = await store.answered_erasures(self.pool, SUBJECTS.name)
        if not answered:
            return
        kept: list[tuple[int, str]] = []
        async for records in read_all(self.settings, SUBJECTS.name):
            kept += [(record.offset, (record.key or b"").decode()) for record in records]
        is_open = [id not in answered and not await store.is_done(self.pool, id) for _, id in kept]
        over = is_open.index(True) if True in is_open else len(kept)
        if over:
            place = TopicPartition(self.settings.prefix + SUBJECTS.name, 0)
            await delete_before(self.settings, place, kept[over - 1][0] + 1)
        waiting = {id for _, id in kept[over:]}
        now = clock.now()
        for id in answered:
            if id in waiting:
                continue
            async with self.pool.acquire() as connection, connection.transaction():
                await store.close_erasure(connection, id, SUBJECTS.name, now)
            log.info("an erasure is done", extra={"fields": {"erasure": id}})


def _number(value: str) -> int | None:
    try:
        return int(value)
    except ValueError:
        return None
