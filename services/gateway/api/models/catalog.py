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


class KpiCost(Answer):
    """What a KPI needs of the engine, and what its state costs: estimates from the definition."""

    kpi: str
    needs: list[str]
    """Parts of the engine with the reason: `two-step merge: …`, `enrichment: …`."""
    panes: int
    """Of a window; 0: sessions."""
    rows: int
    """Partial rows of one series at a time, at most; 0: no state."""
    row_bytes: int
    bytes: int
    """Of one series, without sketches."""
    sketch_bytes: int
    """Of one series' sketches, at most."""
    text: str
    """The numbers as a sentence."""


class ContractBreak(Answer):
    """What a change of a source breaks by rule, and whether the source's mode lets it in."""

    field: str
    direction: Literal["backward", "forward", "meaning"]
    """`backward`: events already written cannot be read by the new schema. `forward`: whoever has the earlier schema
    cannot read what the new one writes. `meaning`: a declared unit, zone or default is another."""
    message: str
    rule: str
    version: int
    """The earlier version of the source that it conflicts with."""
    refused: bool


class FieldReader(Answer):
    """A definition that reads a field, and where in it."""

    kind: Literal["kpi", "rule"]
    id: str
    path: str


class ReplayedSchema(Answer):
    schema_id: int
    records: int
    broken: int


class ReplayFault(Answer):
    """Why records break; no value is told."""

    code: str
    field: str | None
    rule: str | None
    records: int


class Replay(Answer):
    """The source's last records and its dead letters, held against the candidate by ingest's own rules."""

    records: int
    broken: int
    """That the definition in force takes and the candidate does not."""
    by_schema: list[ReplayedSchema]
    faults: list[ReplayFault]
    letters: int
    """Dead letters that were never published."""
    mended: int
    """Of these: the candidate takes them, the definition in force does not."""


class ContractEvidence(Answer):
    """What a changed source breaks: by rule, and by replay."""

    source: str
    compatibility: str
    changed: list[str]
    """Fields."""
    breaks: list[ContractBreak]
    readers: dict[str, list[FieldReader]]
    """Field → who reads it, KPIs over KPIs too."""
    replay: Replay | None
    """Null where it could not be had; `text` says why."""
    text: str
    """All of it in a few sentences."""


class CatalogPlan(Answer):
    """What would change (plan) or did (apply); with problems nothing is changed."""

    changes: list[CatalogChange]
    problems: list[CatalogProblem]
    costs: list[KpiCost] = Field(default_factory=list)
    """Of the KPIs that are created or changed; none where there are problems."""
    evidence: list[ContractEvidence] = Field(default_factory=list)
    """Of a plan: one of each source whose contract changes, also where there are problems."""

    model_config = example(changes=[_CHANGE], problems=[], costs=[], evidence=[])
