"""Decisions, annotations and objectives."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from services.gateway.api.models.common import Answer, Paged, example

DECISION_EXAMPLE = {
    "id": "d41c",
    "signal": "6f1c9a52-0f6e-5a0e-9a3e-2f1f6f0f7a11",
    "kpi": "cancellation_rate",
    "title": "Cancel the evening bank at EWR",
    "choice": "Cancel departures after 18:00",
    "rationale": "The blizzard closes the field",
    "expected": "Cancellations stay below 0.8 on 9 February",
    "as_of": "2026-11-24T10:00:01Z",
    "evidence_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "decided_by": "lena",
    "decided_at": "2026-11-24T10:01:00Z",
    "recorded_at": "2026-11-24T10:01:00Z",
}


class DecisionItem(Answer):
    """A decision, without its evidence."""

    id: str
    signal: str | None
    kpi: str | None
    title: str
    choice: str
    rationale: str
    expected: str
    as_of: datetime
    """What was known then is what its maker saw."""
    evidence_hash: str
    """SHA-256 of the canonical JSON of the evidence, in clear."""
    decided_by: str
    decided_at: datetime
    recorded_at: datetime

    model_config = example(**DECISION_EXAMPLE)


class DecisionDetail(DecisionItem):
    """A decision with what its maker saw, masked for the asker."""

    evidence: dict[str, Any]
    masked: list[str]

    model_config = example(**DECISION_EXAMPLE, evidence={"signal": {}, "observations": []}, masked=[])


class DecisionPage(Paged):
    items: list[DecisionItem]

    model_config = example(items=[DECISION_EXAMPLE], next_page_token=None, as_of="2026-11-24T10:00:02Z")


class DecisionBody(Answer):
    """A decision on a signal. The gateway itself collects what was known at `as_of`."""

    signal: str
    title: str = Field(min_length=1, max_length=200)
    choice: str = Field(min_length=1, max_length=2000)
    rationale: str = Field(default="", max_length=10_000)
    expected: str = Field(default="", max_length=2000)
    as_of: AwareDatetime | None = None
    """Default: now."""

    model_config = example(
        signal=DECISION_EXAMPLE["signal"], title=DECISION_EXAMPLE["title"], choice=DECISION_EXAMPLE["choice"],
        rationale=DECISION_EXAMPLE["rationale"], expected=DECISION_EXAMPLE["expected"], as_of=None,
    )  # fmt: skip


class AnnotationItem(Answer):
    """A remark on a KPI's chart."""

    id: str
    kpi: str
    series_key: str | None
    at: datetime
    until: datetime | None
    text: str
    author: str
    recorded_at: datetime

    model_config = example(
        id="a1", kpi="cancellation_rate", series_key=None, at="2013-02-08T15:00:00Z", until=None,
        text="Blizzard warning", author="ana", recorded_at="2026-11-24T10:00:02Z",
    )  # fmt: skip


class AnnotationPage(Paged):
    items: list[AnnotationItem]

    model_config = example(items=[], next_page_token=None, as_of="2026-11-24T10:00:02Z")


class AnnotationBody(Answer):
    kpi: str
    series_key: str | None = None
    """As shown to the asker, masked values included; null speaks of every series."""
    at: AwareDatetime
    until: AwareDatetime | None = None
    text: str = Field(min_length=1, max_length=2000)

    model_config = example(
        kpi="cancellation_rate",
        series_key=None,
        at="2013-02-08T15:00:00Z",
        until=None,
        text="Blizzard warning",
    )


class KeyResultItem(Answer):
    """How far a key result is; null figures where nothing is known yet."""

    id: str
    title: str
    kpi: str
    series: dict[str, str | None]
    baseline: float | None
    target: float | None
    current: float | None
    progress: float | None
    """0 at the baseline, 1 at the target."""


class ObjectiveItem(Answer):
    id: str
    title: str
    owner: str
    framework: Literal["okr", "bsc"]
    perspective: str | None
    progress: float | None
    restricted: bool
    """True where a key result rests on a KPI the asker may not see; then `progress` is withheld."""
    key_results: list[KeyResultItem]
    as_of: datetime | None
    recorded_at: datetime | None

    model_config = example(
        id="punctuality", title="Leave on time", owner="network-operations", framework="okr", perspective=None,
        progress=0.6, restricted=False,
        key_results=[
            {
                "id": "rate", "title": "Fewer cancellations", "kpi": "cancellation_rate", "series": {},
                "baseline": 0.05, "target": 0.02, "current": 0.032, "progress": 0.6,
            }
        ],
        as_of="2013-02-08T18:00:00Z", recorded_at="2026-11-24T10:00:02Z",
    )  # fmt: skip


class ObjectiveList(Answer):
    items: list[ObjectiveItem]
    as_of: datetime

    model_config = example(items=[], as_of="2026-11-24T10:00:02Z")
