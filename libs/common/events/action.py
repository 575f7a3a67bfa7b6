"""Actions: what strategy did about a signal, on `actions`."""

from typing import Any, Literal

from pydantic import Field

from libs.common.events.event import Event, Moment


class ActionTaken(Event):
    """One step on the way from a signal to its effect."""

    id: str
    kind: Literal[
        "notified",
        "acknowledged",
        "escalation_stopped",
        "playbook_opened",
        "step_done",
        "decided",
        "dispatched",
        "executed",
        "effect_seen",
        "annotated",
    ]
    signal: str | None
    subject: str
    """What it is about: the id of the escalation, playbook run, decision or annotation."""
    by: str
    """A person, or `policy`."""
    details: dict[str, Any] = Field(default_factory=dict)
    recorded_at: Moment
