"""Objectives, playbooks and teams."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from libs.common.catalog.definition import Definition, Identifier, Named
from libs.common.catalog.duration import Duration


class KeyResult(Definition):
    id: Identifier
    title: str
    kpi: Identifier
    series: dict[str, str] = Field(default_factory=dict)
    """Only the KPI's series with these dimension values; {} takes them all, weighted by count."""
    baseline: float
    """The value at which progress is 0."""
    target: float
    """The value at which progress is 1."""
    over: Duration = timedelta(days=7)
    """The stretch of event time, back from the newest final window, that is averaged."""


class Objective(Named):
    kind: Literal["objective"] = "objective"
    framework: Literal["okr", "bsc"] = "okr"
    perspective: Literal["financial", "customer", "internal_process", "learning_and_growth"] | None = None
    """Balanced Scorecard only, and required there."""
    key_results: tuple[KeyResult, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _perspective(self) -> "Objective":
        if (self.framework == "bsc") != (self.perspective is not None):
            raise ValueError("`perspective` goes with framework bsc, and is required there")
        return self


class PlaybookTrigger(Definition):
    kpi: Identifier
    rule: Identifier | None = None
    """Only this entry of the KPI's `signals`."""
    verdict: Literal["undecided", "transient", "sustained"] = "sustained"


class PlaybookStep(Definition):
    id: Identifier
    title: str
    instruction: str = ""


class Playbook(Named):
    kind: Literal["playbook"] = "playbook"
    opens_on: tuple[PlaybookTrigger, ...] = Field(min_length=1)
    steps: tuple[PlaybookStep, ...] = Field(min_length=1)


class EscalationStep(Definition):
    """Tell somebody, unless the signal was acknowledged before."""

    after: Duration
    """Wall-clock time since the escalation began."""
    to: str
    via: Literal["log", "webhook"] = "log"
    webhook: str | None = None
    """The address, or the name of the environment variable that holds it (`$DUTY_WEBHOOK`)."""

    @model_validator(mode="after")
    def _address(self) -> "EscalationStep":
        if (self.via == "webhook") != (self.webhook is not None):
            raise ValueError("`webhook` goes with via: webhook, and is required there")
        return self


class Team(Definition):
    kind: Literal["team"] = "team"
    id: Identifier
    title: str
    description: str = ""
    department: str
    members: tuple[str, ...] = ()
    escalate_on: Literal["undecided", "sustained"] = "sustained"
    escalation: tuple[EscalationStep, ...] = ()
