"""Incidents: opened by rules and by silence, moved by people."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg

from libs.common import clock
from libs.common.errors import NotFound
from libs.common.events import Cause, IncidentChanged, Missing
from libs.common.outbox import put
from libs.common.stream.stored import Connection
from libs.common.topics import INCIDENTS
from services.quality import store
from services.quality.core.incidents import CHANGES, Action, move


async def record(
    connection: Connection, change: str, fields: dict[str, Any], by: str, now: datetime, note: str = ""
) -> dict[str, Any]:
    """Store an incident as it is now, and tell of it."""
    fields = {**fields, "recorded_at": now, "by": by, "note": note}
    await store.put_incident(connection, tuple(fields[name] for name in store.INCIDENT_COLUMNS))
    event = IncidentChanged.build(**fields, change=change)
    await put(connection, "quality", INCIDENTS.name, event.id, event)
    return event.model_dump(mode="json")


async def observe(
    connection: Connection,
    *,
    source: str,
    rule: str | None,
    kind: str,
    severity: str,
    owner: str,
    summary: str,
    seen_at: datetime,
    now: datetime,
    assessed: int = 0,
    violations: int = 0,
    missing: Sequence[Missing] = (),
) -> None:
    """A fault is there: opens an incident, or updates the one that is open."""
    before = await store.open_incident(connection, source, kind, rule)
    if before is None:
        fields: dict[str, Any] = {
            "id": uuid4().hex, "source": source, "rule": rule, "kind": kind, "severity": severity, "state": "open",
            "owner": owner, "assignee": None, "cause": None, "opened_at": seen_at, "resolved_at": None,
        }  # fmt: skip
        change = "opened"
    else:
        fields, change = dict(before), "updated"
        if before["last_seen_at"] >= seen_at and (before["assessed"], before["violations"]) == (
            assessed,
            violations,
        ):
            return
    fields |= {
        "last_seen_at": seen_at, "summary": summary, "assessed": assessed, "violations": violations,
        "severity": severity, "missing": [each.model_dump(mode="json") for each in missing],
    }  # fmt: skip
    await record(connection, change, fields, "quality", now)


async def recover(
    connection: Connection, source: str, kind: str, cause: Cause, now: datetime, rule: str | None = None
) -> None:
    """What it was about is over: the incident ends by itself, with this cause unless somebody named another."""
    before = await store.open_incident(connection, source, kind, rule)
    if before is not None:
        fields = {**before, "state": "resolved", "resolved_at": now, "cause": before["cause"] or cause}
        await record(connection, "resolved", fields, "quality", now)


class IncidentCommands:
    """What people do with incidents."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool

    async def act(
        self, id: str, action: Action, by: str, *, assignee: str | None, cause: str | None, note: str = ""
    ) -> dict[str, Any]:
        """The incident after the action; NotFound, Conflict or Invalid."""
        now = clock.now()
        async with self.pool.acquire() as connection, connection.transaction():
            before = await store.incident(connection, id)
            if before is None:
                raise NotFound(f"there is no incident {id}", code="unknown_incident")
            state = move(before["state"], action, cause or before["cause"], assignee)
            fields = {**before, "state": state}
            if assignee is not None:
                fields["assignee"] = assignee
            if cause is not None:
                fields["cause"] = cause
            fields["resolved_at"] = now if state == "resolved" else None
            return await record(connection, CHANGES[action], fields, by, now, note)
