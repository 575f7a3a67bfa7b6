"""The catalog: definitions as code.

- `models`   what a definition may say (pydantic; JSON Schema for editors is made from it)
- `catalog`  the definitions in force
- `check`    what is inconsistent among them, and why
- `workspace` a folder of YAML files, with the line of every value
- `follow`   the compacted topic `catalog`, followed live
"""

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.models import (
    DEFINITION,
    FOLDERS,
    AnyDefinition,
    KeyExpression,
    KeyResult,
    Kpi,
    Objective,
    Playbook,
    Policy,
    Rule,
    SignalRule,
    Source,
    SourceField,
    Team,
    Window,
)

__all__ = [
    "DEFINITION",
    "FOLDERS",
    "AnyDefinition",
    "Catalog",
    "KeyExpression",
    "KeyResult",
    "Kpi",
    "Objective",
    "Playbook",
    "Policy",
    "Rule",
    "SignalRule",
    "Source",
    "SourceField",
    "Team",
    "Window",
]
