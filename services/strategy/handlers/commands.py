"""What people do: acknowledge, decide, annotate, tick a playbook's steps. Who they are was checked by the gateway."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg

from libs.common import clock
from libs.common.canonical import fingerprint
from libs.common.errors import Conflict, Invalid, NotFound
from services.strategy import store
from services.strategy.handlers.actions import tell


class Commands:
    """Each command is one transaction: rows, time stamps and the event that tells of it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool

    async def acknowledge(self, signal: str, note: str, by: str) -> dict[str, Any]:
        """Stops the escalation. Acknowledging again changes nothing."""
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            loop = await store.loop_of(connection, signal)
            if loop is None:
                raise NotFound(f"there is no signal {signal}", code="unknown_signal")
            if loop["acknowledged_at"] is not None:
                return {
                    "id": signal, "state": "acknowledged", "acknowledged_at": loop["acknowledged_at"], "repeated": True,
                }  # fmt: skip
            await store.stamp(connection, signal, "acknowledged_at", now)
            await store.acknowledge(connection, signal, now, by)
            await tell(connection, "acknowledged", signal, signal, by, now, note=note)
        return {
            "id": signal, "state": "acknowledged", "acknowledged_at": now, "acknowledged_by": by, "repeated": False,
        }  # fmt: skip

    async def decide(self, order: dict[str, Any], by: str) -> dict[str, Any]:
        """Keeps what was seen; Invalid if the hash is not that of the evidence."""
        now, id = clock.now(), uuid4().hex
        found = fingerprint(order["evidence"])
        if order.get("evidence_hash") not in (None, found):
            raise Invalid(
                "the hash is not that of the evidence", code="evidence_mismatch", field="evidence_hash"
            )
        async with self.pool.acquire() as connection, connection.transaction():
            signal, kpi = order.get("signal"), order.get("kpi")
            if signal is not None:
                loop = await store.loop_of(connection, signal)
                if loop is None:
                    raise NotFound(f"there is no signal {signal}", code="unknown_signal")
                kpi = loop["kpi"]
            row = (
                id, signal, kpi, order["title"], order["choice"], order["rationale"], order["expected"],
                order["as_of"], order["evidence"], found, by, now, now,
            )  # fmt: skip
            await store.add_decision(connection, row)
            if signal is not None:
                await store.stamp(connection, signal, "decided_at", now)
            await tell(
                connection, "decided", signal, id, by, now, title=order["title"], choice=order["choice"]
            )
        return {"id": id, "evidence_hash": found, "decided_at": now, "decided_by": by}

    async def move(self, decision: str, kind: str, by: str) -> dict[str, Any]:
        """A decision was dispatched or executed."""
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            row = await store.decision_of(connection, decision)
            if row is None:
                raise NotFound(f"there is no decision {decision}", code="unknown_decision")
            if row["signal"] is not None:
                await self._moved(connection, row["signal"], kind, decision, by, now)
        return {"id": decision, "state": kind, f"{kind}_at": now}

    async def _moved(
        self, connection: Any, signal: str, kind: str, subject: str, by: str, now: datetime
    ) -> None:
        """Execution implies dispatch: the stamps stay in order."""
        for earlier in ("dispatched",) if kind == "executed" else ():
            await store.stamp(connection, signal, f"{earlier}_at", now)
        if await store.stamp(connection, signal, f"{kind}_at", now):
            await tell(connection, kind, signal, subject, by, now)

    async def tick(self, run: str, step: str, done: bool, note: str, by: str) -> dict[str, Any]:
        """Tick a step off, or take that back; the run closes with its last step."""
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            row = await store.run_of(connection, run)
            if row is None:
                raise NotFound(f"there is no playbook run {run}", code="unknown_run")
            steps = row["steps"]
            chosen = next((each for each in steps if each["id"] == step), None)
            if chosen is None:
                known = ", ".join(each["id"] for each in steps)
                raise NotFound(f"the run has no step {step}; it has {known}", code="unknown_step")
            if row["state"] == "closed" and not done:
                raise Conflict("the run is closed: its steps can no longer be taken back", code="run_closed")
            chosen.update(done_at=now.isoformat() if done else None, done_by=by if done else None, note=note)
            complete = all(each["done_at"] for each in steps)
            await store.set_run(
                connection, run, steps, "closed" if complete else "open", now if complete else None
            )
            if done:
                await tell(connection, "step_done", row["signal"], run, by, now, step=step)
                await self._moved(
                    connection, row["signal"], "executed" if complete else "dispatched", run, by, now
                )
        return {"id": run, "state": "closed" if complete else "open", "steps": steps}

    async def annotate(self, order: dict[str, Any], by: str) -> dict[str, Any]:
        now, id = clock.now(), uuid4().hex
        async with self.pool.acquire() as connection, connection.transaction():
            row = (id, order["kpi"], order["series_key"], order["at"], order["until"], order["text"], by, now)
            await store.add_annotation(connection, row)
            await tell(connection, "annotated", None, id, by, now, kpi=order["kpi"], text=order["text"])
        return {"id": id, "recorded_at": now, "author": by}
