"""Quality rules: what must be true of each event of a source."""

from datetime import timedelta
from typing import Literal

import polars as pl
from pydantic import ConfigDict, Field, model_validator

from libs.common.catalog.definition import Definition, Identifier, Named
from libs.common.catalog.duration import Duration
from libs.common.events import Severity


class RangeCheck(Definition):
    field: str
    min: float | None = None
    max: float | None = None


class NotNullCheck(Definition):
    field: str


class PatternCheck(Definition):
    field: str
    matches: str
    """Regular expression that the whole value must match, as Rust's crate `regex` has them: neither look-around nor
    references back."""

    @property
    def whole(self) -> str:
        """The expression for the whole value."""
        return f"^(?:{self.matches})$"

    @property
    def fault(self) -> str | None:
        """Why it is no expression of that kind; None if it is one."""
        try:
            for each in (self.matches, self.whole):
                pl.Series([""]).str.contains(each)
        except pl.exceptions.ComputeError as error:
            lines = str(error).splitlines()
            said = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
            return next(said, lines[0])
        return None


class ReferenceCheck(Definition):
    field: str
    in_: Identifier = Field(alias="in")
    """The reference source whose key must hold the value."""
    when_null: Literal["violates", "ignored"] = "ignored"

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Check(Definition):
    """Exactly one of range, not_null, pattern and reference."""

    range: RangeCheck | None = None
    not_null: NotNullCheck | None = None
    pattern: PatternCheck | None = None
    reference: ReferenceCheck | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Check":
        if sum(value is not None for value in (self.range, self.not_null, self.pattern, self.reference)) != 1:
            raise ValueError("give exactly one of range, not_null, pattern and reference")
        return self


class IncidentRule(Definition):
    """Open an incident when the share of violations over a period of event time goes above a limit."""

    open_above: float = Field(default=0.05, ge=0, le=1)
    over: Duration = timedelta(hours=1)
    min_events: int = Field(default=20, ge=1)


class Rule(Named):
    """What must be true of each event of a source."""

    kind: Literal["rule"] = "rule"
    source: Identifier
    where: str | None = None
    check: Check
    severity: Severity = "warning"
    incident: IncidentRule = IncidentRule()
