"""Policies: who sees what, who may do what, what is kept how long."""

from typing import Literal

from pydantic import Field, model_validator

from libs.common.catalog.definition import Classification, Definition, Identifier, Named
from libs.common.catalog.duration import Duration

Transform = Literal["clear", "pseudonym", "redact"]
Permission = Literal["read", "annotate", "acknowledge", "decide", "ingest", "configure", "steward", "audit"]


class MaskRule(Definition):
    """What each role sees of a class of data; a role that is not named sees `otherwise`."""

    classification: Classification
    roles: dict[str, Transform] = Field(default_factory=dict)
    otherwise: Transform = "redact"


class RetentionRule(Definition):
    source: Identifier
    keep: Duration
    """Counted from when the archive recorded the event."""


class RoleRule(Definition):
    role: Identifier
    may: tuple[Permission, ...]


class Policy(Named):
    """Exactly one of masks, retention and roles."""

    kind: Literal["policy"] = "policy"
    masks: tuple[MaskRule, ...] = ()
    retention: tuple[RetentionRule, ...] = ()
    roles: tuple[RoleRule, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Policy":
        if sum(bool(value) for value in (self.masks, self.retention, self.roles)) != 1:
            raise ValueError("give exactly one of masks, retention and roles")
        return self
