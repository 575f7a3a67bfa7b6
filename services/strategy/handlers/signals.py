"""Signals: each gets its row of time stamps, and where a policy says so an escalation and a playbook."""

from collections.abc import Sequence
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog, Playbook, Team
from libs.common.errors import TryLater
from libs.common.events import SignalChanged
from libs.common.kafka import Record
from libs.common.stream.stored import Bad, Connection, parsed
from services.strategy import store
from services.strategy.core.escalation import Escalation, reaches
from services.strategy.handlers.actions import tell


class SignalKeeper:
    """The keeper of `signals`."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        signals, bad = parsed(SignalChanged, records)
        for _, signal in signals:
            await self._take(connection, signal, clock.now())
        return bad

    async def _take(self, connection: Connection, signal: SignalChanged, now: datetime) -> None:
        if self.catalog.version("kpi", signal.kpi) < signal.kpi_version:
            # Its owner is not known yet: taken now, nobody would ever be told.
            raise TryLater(f"the catalog does not say yet what {signal.kpi}@{signal.kpi_version} is")
        kpi = self.catalog.kpi(signal.kpi)
        owner = kpi.owner if kpi else ""
        row = (
            signal.id,
            signal.kpi,
            signal.series_key,
            owner,
            signal.verdict,
            signal.event_at,
            signal.detected_at,
        )
        await store.put_loop(connection, row)
        if signal.change == "closed":
            await self._close(connection, signal, now)
            return
        team = self.catalog.team(owner)
        if team is not None and team.escalation and reaches(signal.verdict, team.escalate_on):
            await self._escalate(connection, signal, team, now)
        for playbook in self.catalog.playbooks:
            if opens(playbook, signal):
                await self._open(connection, signal, playbook, now)

    async def _close(self, connection: Connection, signal: SignalChanged, now: datetime) -> None:
        """Nobody is told who was not due by now; after a decision or an execution this is its effect."""
        for row in await store.escalations_of(connection, signal.id):
            before = Escalation.of(dict(row))
            after = before.closed(now)
            if after != before:
                await store.set_escalation(connection, row["id"], after, after.next_at, now)
                await tell(
                    connection, "escalation_stopped", signal.id, row["id"], "policy", now, reason="signal closed"
                )  # fmt: skip
        loop = await store.loop_of(connection, signal.id)
        acted = loop is not None and (loop["decided_at"] or loop["executed_at"])
        if acted and await store.stamp(connection, signal.id, "effect_seen_at", now):
            await tell(connection, "effect_seen", signal.id, signal.id, "policy", now, value=signal.value)

    async def _escalate(
        self, connection: Connection, signal: SignalChanged, team: Team, now: datetime
    ) -> None:
        id = str(uuid5(NAMESPACE_URL, f"sextant:escalation:{team.id}:{signal.id}"))
        steps = [step.model_dump(mode="json") for step in team.escalation]
        first = now + team.escalation[0].after
        await store.start_escalation(connection, (id, signal.id, team.id, steps, first, now))

    async def _open(
        self, connection: Connection, signal: SignalChanged, playbook: Playbook, now: datetime
    ) -> None:
        id = str(uuid5(NAMESPACE_URL, f"sextant:playbook:{playbook.id}:{signal.id}"))
        steps = [
            {**step.model_dump(), "done_at": None, "done_by": None, "note": ""} for step in playbook.steps
        ]
        if await store.open_run(connection, (id, playbook.id, playbook.title, signal.id, now, steps)):
            await tell(connection, "playbook_opened", signal.id, id, "policy", now, playbook=playbook.id)


def opens(playbook: Playbook, signal: SignalChanged) -> bool:
    """Whether one of the playbook's triggers is met."""
    return any(
        trigger.kpi == signal.kpi
        and trigger.rule in (None, signal.rule)
        and trigger.verdict == signal.verdict
        for trigger in playbook.opens_on
    )
