"""Incidents: the moves that people may make, and when a rule opens one."""

from dataclasses import dataclass
from typing import Literal, get_args

from libs.common.errors import Conflict, Invalid
from libs.common.events import Cause

Action = Literal["acknowledge", "assign", "resolve", "reopen"]
State = Literal["open", "acknowledged", "resolved"]

MOVES: dict[tuple[State, Action], State] = {
    ("open", "acknowledge"): "acknowledged",
    ("open", "assign"): "acknowledged",
    ("acknowledged", "assign"): "acknowledged",
    ("open", "resolve"): "resolved",
    ("acknowledged", "resolve"): "resolved",
    ("resolved", "reopen"): "open",
}

CHANGES = {"acknowledge": "acknowledged", "assign": "assigned", "resolve": "resolved", "reopen": "reopened"}


def move(state: State, action: Action, cause: str | None, assignee: str | None) -> State:
    """The state after an action. Conflict for a move that is not allowed, Invalid for what the move lacks."""
    after = MOVES.get((state, action))
    if after is None:
        allowed = [name for from_state, name in MOVES if from_state == state]
        detail = f"the incident is {state}: it cannot {action}; allowed: {', '.join(allowed)}"
        raise Conflict(detail, code="illegal_move", state=state, allowed=allowed)
    if action == "resolve" and cause is None:
        raise Invalid(
            "cause: required to resolve", code="cause_required", field="cause", allowed=list(get_args(Cause))
        )
    if action == "assign" and not assignee:
        raise Invalid("assignee: required to assign", code="assignee_required", field="assignee")
    return after


@dataclass(frozen=True)
class Counts:
    """Verdicts of one rule over a stretch of event time."""

    assessed: int
    violations: int

    def opens(self, open_above: float, min_events: int) -> bool:
        """Whether the share of violations is beyond what the rule allows."""
        return self.assessed >= min_events and self.violations > open_above * self.assessed
