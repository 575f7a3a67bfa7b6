"""Escalation: who is told when, until somebody acknowledges or the signal closes.

A state machine with time as an argument. Each step is due once, in order; nothing is due after the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

State = Literal["running", "acknowledged", "stopped", "exhausted"]


@dataclass(frozen=True)
class Escalation:
    """`step` is the next step to take; `delays` are counted from `started_at`, in the order of the steps."""

    started_at: datetime
    delays: Sequence[timedelta]
    step: int = 0
    state: State = "running"

    @property
    def next_at(self) -> datetime | None:
        """When the next step is due; None when there is none."""
        if self.state != "running" or self.step >= len(self.delays):
            return None
        return self.started_at + self.delays[self.step]

    def due(self, now: datetime) -> bool:
        return self.next_at is not None and self.next_at <= now

    def taken(self) -> "Escalation":
        """After the next step was taken."""
        step = self.step + 1
        return replace(self, step=step, state="exhausted" if step >= len(self.delays) else self.state)

    def acknowledged(self) -> "Escalation":
        """Somebody answers for it: nobody else is told. Also after the last step."""
        return replace(self, state="acknowledged") if self.state in ("running", "exhausted") else self

    def stopped(self) -> "Escalation":
        """The signal closed by itself."""
        return replace(self, state="stopped") if self.state == "running" else self


RANK = {"undecided": 0, "transient": 0, "quality_artefact": 0, "sustained": 1}


def reaches(verdict: str, escalate_on: str) -> bool:
    """Whether a verdict is enough for a team that escalates on `escalate_on`."""
    return verdict in ("undecided", "sustained") and RANK[verdict] >= RANK[escalate_on]
