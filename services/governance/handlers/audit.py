"""The audit: entries are chained as they come, and the chain's head is anchored outside the database."""

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.database import storable
from libs.common.events import AuditEntry
from libs.common.kafka import Record
from libs.common.stream.stored import Bad, Connection, parsed
from services.governance import store
from services.governance.core.chain import GENESIS, Head, canonical, link, verify

log = logging.getLogger(__name__)


class AuditKeeper:
    """The keeper of `audit`."""

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        """Append each entry once, in the order of the topic."""
        found, bad = parsed(AuditEntry, records)
        entries: dict[str, AuditEntry] = {}
        for _, entry in found:
            entries.setdefault(entry.id, entry)
        await store.lock_chain(connection)
        head = await store.head(connection)
        rows = []
        known = await store.known(connection, list(entries))
        for id, entry in entries.items():
            if id in known:
                continue
            content = storable(entry.model_dump(mode="json"))
            text = canonical(content)
            following = Head(head.seq + 1, link(head.hash, text))
            rows.append((following.seq, id, content, text, head.hash, following.hash, clock.now()))
            head = following
        await store.append(connection, rows)
        return bad


class Anchors:
    """Heads of the chain, one JSON line each, in a folder of their own; one of the service's loops."""

    def __init__(self, pool: asyncpg.Pool, folder: Path, seconds: float) -> None:
        self.pool, self.file, self.seconds = pool, folder / "audit.jsonl", seconds

    async def run(self, stopping: asyncio.Event) -> None:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not stopping.is_set():
            await self.anchor()
            try:
                await asyncio.wait_for(stopping.wait(), self.seconds)
            except TimeoutError:
                continue
        await self.anchor()

    async def anchor(self) -> None:
        """Write the present head down, if it moved."""
        async with self.pool.acquire() as connection:
            head = await store.head(connection)
        heads = self.heads()
        if head.seq and (not heads or heads[-1].seq < head.seq):
            line = json.dumps({"seq": head.seq, "hash": head.hash, "at": clock.now().isoformat()})
            await asyncio.to_thread(self._append, line)

    def _append(self, line: str) -> None:
        with self.file.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def heads(self) -> list[Head]:
        if not self.file.exists():
            return []
        lines = [json.loads(line) for line in self.file.read_text().splitlines() if line.strip()]
        return [Head(line["seq"], line["hash"]) for line in lines]

    async def verify(self) -> dict[str, Any]:
        """Hash every entry again and compare with the anchored heads."""
        heads = self.heads()
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = [row async for row in store.rows(connection)]
        faults = await asyncio.to_thread(verify, rows, heads)
        return {
            "intact": not faults,
            "entries": len(rows),
            "head_seq": rows[-1].seq if rows else 0,
            "head_hash": rows[-1].hash if rows else GENESIS,
            "anchors": len(heads),
            "faults": [asdict(fault) for fault in faults],
        }
