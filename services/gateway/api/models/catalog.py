"""The catalog: what is in force, what would change, and every version."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from services.gateway.api.models.common import Answer, example

_CHANGE = {"kind": "kpi", "id": "cancellation_rate", "action": "create", "version": 1, "details": []}


class CatalogItem(Answer):
    """One version of one definition; expressions that hold values the asker may not see are masked."""

    kind: str
    id: str
    version: int
    definition: dict[str, Any] | None
    """Null once removed."""
    applied_at: datetime
    applied_by: str
    removed: bool


class CatalogList(Answer):
    items: list[CatalogItem]
    as_of: datetime

    model_config = example(
        items=[
            {
                "kind": "team", "id": "network-operations", "version": 1,
                "definition": {"kind": "team", "id": "network-operations"}, "applied_at": "2026-11-24T10:00:00Z",
                "applied_by": "operator", "removed": False,
            }
        ],
        as_of="2026-11-24T10:00:02Z",
    )  # fmt: skip


class CatalogBody(Answer):
    """A whole workspace."""

    definitions: list[dict[str, Any]] = Field(max_length=10_000)
    remove_missing: bool = False
    """Remove what is in force and not among the definitions."""

    model_config = example(
        definitions=[
            {
                "kind": "team",
                "id": "network-operations",
                "title": "Network operations",
                "department": "operations",
            }
        ],
        remove_missing=False,
    )


class CatalogChange(Answer):
    kind: str
    id: str
    action: Literal["create", "update", "remove", "unchanged"]
    version: int | None = None
    details: Any = None


class CatalogProblem(Answer):
    """What is inconsistent, and where in the definition."""

    kind: str
    id: str
    path: Any
    """To the value: `where`, `signals.0.id`."""
    message: str
    rule: str


class CatalogPlan(Answer):
    """What would change (plan) or did (apply); with problems nothing is changed."""

    changes: list[CatalogChange]
    problems: list[CatalogProblem]

    model_config = example(changes=[_CHANGE], problems=[])
