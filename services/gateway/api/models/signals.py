"""Signals, with the stamps of the loop from event to effect."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from libs.common.events import Series, Severity, Verdict
from services.gateway.api.models.common import Answer, Paged, StreamPosition, example

SignalState = Literal["open", "closed"]

SIGNAL_EXAMPLE = {
    "id": "6f1c9a52-0f6e-5a0e-9a3e-2f1f6f0f7a11",
    "kpi": "cancellation_rate",
    "kpi_version": 1,
    "series": {"origin": "EWR"},
    "series_key": "origin=EWR",
    "rule": "unusual",
    "kind": "seasonal",
    "severity": "critical",
    "change": "updated",
    "state": "open",
    "verdict": "sustained",
    "first_window": "2013-02-08T15:00:00Z",
    "last_window": "2013-02-08T18:00:00Z",
    "event_at": "2013-02-08T16:00:00Z",
    "windows": 4,
    "value": 0.41,
    "peak": 0.62,
    "low": None,
    "high": 0.11,
    "revision": 2,
    "suspect_share": 0.1,
    "reason": "0.41 where at most 0.11 was expected",
    "detected_at": "2026-11-24T10:00:01Z",
    "recorded_at": "2026-11-24T10:00:09Z",
}
LOOP_EXAMPLE = {
    "event_at": "2013-02-08T16:00:00Z",
    "detected_at": "2026-11-24T10:00:01Z",
    "notified_at": "2026-11-24T10:00:02Z",
    "acknowledged_at": None,
    "decided_at": None,
    "dispatched_at": None,
    "executed_at": None,
    "effect_seen_at": None,
}


class SignalItem(Answer):
    """A signal's present state (or, in its history, one change of it)."""

    id: str
    kpi: str
    kpi_version: int
    series: Series
    series_key: str
    rule: str
    kind: Literal["threshold", "seasonal"]
    severity: Severity
    change: Literal["opened", "updated", "closed"]
    state: SignalState
    verdict: Verdict
    first_window: datetime
    last_window: datetime
    event_at: datetime
    windows: int
    value: float | None
    peak: float | None
    low: float | None
    high: float | None
    revision: int
    suspect_share: float | None
    reason: str
    detected_at: datetime
    recorded_at: datetime

    model_config = example(**SIGNAL_EXAMPLE)


class LoopStamps(Answer):
    """When each step from the event to its effect was reached; null where it was not."""

    event_at: datetime | None
    detected_at: datetime | None
    notified_at: datetime | None
    acknowledged_at: datetime | None
    decided_at: datetime | None
    dispatched_at: datetime | None
    executed_at: datetime | None
    effect_seen_at: datetime | None

    model_config = example(**LOOP_EXAMPLE)


class SignalListed(SignalItem):
    """A signal in a list: present state and stamps."""

    owner: str | None
    loop: LoopStamps | None

    model_config = example(**SIGNAL_EXAMPLE, owner="network-operations", loop=LOOP_EXAMPLE)


class SignalPage(Paged):
    """Newest first."""

    items: list[SignalListed]
    stream: StreamPosition | None

    model_config = example(
        items=[{**SIGNAL_EXAMPLE, "owner": "network-operations", "loop": LOOP_EXAMPLE}],
        stream={"channel": "signals", "cursor": "eyJ2IjoxfQ"},
        next_page_token=None,
        as_of="2026-11-24T10:00:02Z",
    )


class Escalation(Answer):
    """Who is told, and how far that went."""

    id: str
    team: str
    step: int
    state: str
    next_at: datetime | None
    started_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    stopped_at: datetime | None


class PlaybookRun(Answer):
    """A playbook that a signal opened, and the series it is about. `steps`: the playbook's, with what was done."""

    id: str
    playbook: str
    title: str | None
    signal: str
    kpi: str
    series: Series
    series_key: str
    state: str
    opened_at: datetime
    closed_at: datetime | None
    steps: list[dict[str, Any]]

    model_config = example(
        id="2b1f", playbook="mass_cancellation", title="Mass cancellation",
        signal="6f1c9a52-0f6e-5a0e-9a3e-2f1f6f0f7a11", kpi="cancellation_rate", series={"origin": "EWR"},
        series_key="origin=EWR", state="open", opened_at="2026-11-24T10:00:02Z",
        closed_at=None,
        steps=[
            {
                "id": "call", "title": "Call the airports", "instruction": "", "done_at": None, "done_by": None,
                "note": "",
            }
        ],
    )  # fmt: skip


class PlaybookRunList(Paged):
    items: list[PlaybookRun]

    model_config = example(items=[], next_page_token=None, as_of="2026-11-24T10:00:02Z")


class SignalDetail(SignalListed):
    """A signal with everything that was done about it."""

    history: list[SignalItem]
    """Every change, oldest first."""
    escalations: list[Escalation]
    playbook_runs: list[PlaybookRun]
    decisions: list[str]
    """Ids of the decisions on it."""

    model_config = example(
        **SIGNAL_EXAMPLE,
        owner="network-operations",
        loop=LOOP_EXAMPLE,
        history=[SIGNAL_EXAMPLE],
        escalations=[
            {
                "id": "e1", "team": "network-operations", "step": 0, "state": "running",
                "next_at": "2026-11-24T10:15:02Z", "started_at": "2026-11-24T10:00:02Z",
                "acknowledged_at": None, "acknowledged_by": None, "stopped_at": None,
            }
        ],
        playbook_runs=[],
        decisions=[],
    )  # fmt: skip


class AcknowledgeBody(Answer):
    """Tell the escalation that somebody is on it."""

    note: str = Field(default="", max_length=2000)

    model_config = example(note="On it")


class Outcome(Answer):
    """What the owning service answered to a write."""

    id: str | None = None
    """Of what was made or changed."""
    state: str | None = None
    result: dict[str, Any]

    model_config = example(id="6f1c", state="acknowledged", result={"id": "6f1c", "state": "acknowledged"})


class StepBody(Answer):
    """A step of a playbook is done, or is not after all."""

    done: bool
    note: str = Field(default="", max_length=2000)

    model_config = example(done=True, note="EWR closes at 18:00")
