"""Every kind of definition, and the parser of any of them.

`libs.common.catalog.check` judges definitions against each other.
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from libs.common.catalog.definition import Classification, Definition, FieldType, Identifier, Named
from libs.common.catalog.kpis import Kpi, SeasonalLimit, SignalRule, ThresholdLimit, Window
from libs.common.catalog.policies import MaskRule, Permission, Policy, RetentionRule, RoleRule, Transform
from libs.common.catalog.pulls import (
    FilesPull,
    HttpPull,
    KafkaPull,
    OutboxPull,
    SqlPull,
    SsePull,
    WebSocketPull,
)
from libs.common.catalog.rules import (
    Check,
    IncidentRule,
    NotNullCheck,
    PatternCheck,
    RangeCheck,
    ReferenceCheck,
    Rule,
)
from libs.common.catalog.sources import (
    Freshness,
    KeyExpression,
    Quota,
    Source,
    SourceField,
    Watermark,
    Webhook,
)
from libs.common.catalog.strategy import (
    EscalationStep,
    KeyResult,
    Objective,
    Playbook,
    PlaybookStep,
    PlaybookTrigger,
    Team,
)

__all__ = [
    "DEFINITION",
    "FOLDERS",
    "AnyDefinition",
    "Check",
    "Classification",
    "Definition",
    "EscalationStep",
    "FieldType",
    "FilesPull",
    "Freshness",
    "HttpPull",
    "Identifier",
    "IncidentRule",
    "KafkaPull",
    "KeyExpression",
    "KeyResult",
    "Kpi",
    "MaskRule",
    "Named",
    "NotNullCheck",
    "Objective",
    "OutboxPull",
    "PatternCheck",
    "Permission",
    "Playbook",
    "PlaybookStep",
    "PlaybookTrigger",
    "Policy",
    "Quota",
    "RangeCheck",
    "ReferenceCheck",
    "RetentionRule",
    "RoleRule",
    "Rule",
    "SeasonalLimit",
    "SignalRule",
    "Source",
    "SourceField",
    "SqlPull",
    "SsePull",
    "Team",
    "ThresholdLimit",
    "Transform",
    "Watermark",
    "WebSocketPull",
    "Webhook",
    "Window",
]

AnyDefinition = Annotated[
    Source | Kpi | Rule | Objective | Playbook | Team | Policy, Field(discriminator="kind")
]
DEFINITION: TypeAdapter[AnyDefinition] = TypeAdapter(AnyDefinition)
"""Parses any definition by its `kind`."""

FOLDERS = {
    "source": "sources",
    "kpi": "kpis",
    "rule": "rules",
    "objective": "objectives",
    "playbook": "playbooks",
    "team": "teams",
    "policy": "policies",
}
"""kind → folder of the workspace."""
