"""Escalation: who is told when, until somebody acknowledges or the signal closes.

A state machine with time as an argument. Each step is due once, in order; nothing is due after the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from libs.common.catalog.duration import parse_duration

State = Literal["running", "acknowledged", "stopped", "exhausted"]


@dataclass(frozen=True)
class Escalation:
    """`step` is the next step to take; `delays` are counted from `started_at`, in the order of the steps."""

    started_at: datetime
    delays: Sequence[timedelta]
    step: int = 0
    state: State = "running"
    ends_at: datetime | None = None
    """When the signal closed. What was due by then is still told, however late we come to it."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Escalation":
        """From a row of the table."""
        delays = [parse_duration(step["after"]) for step in row["steps"]]
        return cls(row["started_at"], delays, row["step"], row["state"], row["ends_at"])

    @property
    def next_at(self) -> datetime | None:
        """When the next step is due; None when there is none."""
        if self.state != "running" or self.step >= len(self.delays):
            return None
        at = self.started_at + self.delays[self.step]
        return at if self.ends_at is None or at <= self.ends_at else None

    def due(self, now: datetime) -> bool:
        return self.next_at is not None and self.next_at <= now

    def taken(self) -> "Escalation":
        """After the next step was taken."""
        after = replace(self, step=self.step + 1)
        if after.step >= len(self.delays):
            return replace(after, state="exhausted")
        return replace(after, state="stopped") if after.next_at is None else after

    def acknowledged(self) -> "Escalation":
        """Somebody answers for it: nobody else is told. Also after the last step."""
        return replace(self, state="acknowledged") if self.state in ("running", "exhausted") else self

    def closed(self, now: datetime) -> "Escalation":
        """The signal closed by itself."""
        if self.state != "running":
            return self
        after = replace(self, ends_at=now)
        return replace(after, state="stopped") if after.next_at is None else after


RANK = {"undecided": 0, "transient": 0, "quality_artefact": 0, "sustained": 1}


def reaches(verdict: str, escalate_on: str) -> bool:
    """Whether a verdict is enough for a team that escalates on `escalate_on`."""
    return verdict in ("undecided", "sustained") and RANK[verdict] >= RANK[escalate_on]
