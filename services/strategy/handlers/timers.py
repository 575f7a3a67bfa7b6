"""Escalation timers: takes the steps that are due, each recorded once, and tells by log line or webhook.

A webhook is called within the transaction that records the step, so a crash in between calls it again with the
same idempotency key: at least once for webhooks, exactly once for the record.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx

from libs.common import clock
from libs.common.stream.backoff import Backoff
from libs.common.stream.stored import Connection
from services.strategy import store
from services.strategy.core.escalation import Escalation
from services.strategy.handlers.actions import tell
from services.strategy.settings import Settings

log = logging.getLogger(__name__)


class Timers:
    """One of the service's loops."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self.settings, self.pool = settings, pool

    async def run(self, stopping: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=self.settings.webhook_timeout, trust_env=False) as http:
            while not stopping.is_set():
                if not await self._step(http):
                    await asyncio.sleep(0.2)

    async def _step(self, http: httpx.AsyncClient) -> bool:
        """One due step, if there is one."""
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            row = await store.due_escalation(connection, now)
            if row is None:
                return False
            before = Escalation.of(dict(row))
            outcome, detail = await self._notify(http, row, row["steps"][before.step])
            await self._record(connection, row, before, outcome, detail)
            return True

    async def _record(
        self, connection: Connection, row: asyncpg.Record, before: Escalation, outcome: str, detail: str
    ) -> None:
        now, after, step = clock.now(), before.taken(), row["steps"][before.step]
        await store.add_notification(
            connection, (row["id"], before.step, step["to"], step["via"], outcome, detail, now)
        )
        next_at = after.next_at if outcome == "told" or after.next_at is None else now
        await store.set_escalation(connection, row["id"], after, next_at, now)
        if outcome == "told":
            await store.stamp(connection, row["signal"], "notified_at", now)
        details = {"to": step["to"], "via": step["via"], "step": before.step, "outcome": outcome}
        await tell(connection, "notified", row["signal"], row["id"], "policy", now, **details)

    async def _notify(
        self, http: httpx.AsyncClient, row: asyncpg.Record, step: Mapping[str, Any]
    ) -> tuple[str, str]:
        """(told or failed, what happened). A failed step moves the next one forward."""
        fields = {"signal": row["signal"], "team": row["team"], "to": step["to"], "step": row["step"]}
        log.warning("escalation", extra={"fields": fields})
        if step["via"] == "log":
            return "told", "logged"
        address = step["webhook"]
        if address.startswith("$"):
            address = os.environ.get(address[1:], "")
            if not address:
                return "failed", f"{step['webhook']} is not set"
        backoff = Backoff(first=0.2)
        problem = ""
        for _ in range(self.settings.webhook_tries):
            try:
                key = f"{row['id']}/{row['step']}"
                response = await http.post(address, json=fields, headers={"Idempotency-Key": key})
                if response.is_success:
                    return "told", f"answered {response.status_code}"
                problem = f"answered {response.status_code}"
            except httpx.HTTPError as error:
                problem = repr(error)
            await asyncio.sleep(backoff.next())
        return "failed", problem
