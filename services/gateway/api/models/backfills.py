"""Backfills: a past range of a KPI computed again."""

from datetime import datetime

from pydantic import AwareDatetime, Field

from libs.common.catalog.definition import Identifier
from libs.common.events import BackfillState
from services.gateway.api.models.common import Answer, example

_SHOWN = {
    "id": "0b6e7f0c7d0b4c6c9f3b0b6e7f0c7d0b", "kpi": "cancellation_rate", "kpi_version": 2, "state": "running",
    "from": "2013-02-01T00:00:00Z", "to": "2013-03-01T00:00:00Z", "dry_run": False, "reason": "a gate was offline",
    "by": "operator", "note": "", "ordered_at": "2026-11-24T10:00:00Z", "recorded_at": "2026-11-24T10:00:07Z",
    "started_at": "2026-11-24T10:00:02Z", "ended_at": None, "withdrawal": None, "awaits": None,
    "closed_to": "2013-12-30T00:00:00Z", "done_to": "2013-02-12T00:00:00Z", "events": 130000,
    "rate": 26000.0, "eta_seconds": 4.2, "windows": 9000, "new": 0, "revised": 12, "retracted": 1, "left": 0,
}  # fmt: skip


class BackfillBody(Answer):
    """Which windows to compute again: those of a KPI that begin in [from, to) and are closed."""

    kpi: Identifier
    start: AwareDatetime = Field(alias="from")
    stop: AwareDatetime = Field(alias="to")
    dry_run: bool = False
    """Only count what would change."""
    reason: str = Field(default="", max_length=500)

    model_config = example(
        kpi="cancellation_rate", **{"from": "2013-02-01T00:00:00Z", "to": "2013-03-01T00:00:00Z"}, dry_run=True,
        reason="a gate was offline",
    )  # fmt: skip


class BackfillShown(Answer):
    """A backfill and how it goes."""

    id: str
    kpi: str
    kpi_version: int
    state: BackfillState
    """`waiting`: for the merge partitions, for windows to close, or for the archive; see `note`."""
    start: datetime = Field(alias="from")
    stop: datetime = Field(alias="to")
    dry_run: bool
    reason: str
    by: str
    note: str
    """What it waits for, why it failed, what was left to the live engine."""
    ordered_at: datetime
    recorded_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    withdrawal: str | None
    """The re-drive whose undoing makes it necessary."""
    awaits: datetime | None
    """It begins when the windows that end by then are closed."""
    closed_to: datetime | None
    """Windows that end later were not closed when it began: the live engine's own."""
    done_to: datetime | None
    """Windows that begin before then are done."""
    events: int
    """Read since it began, or went on after an interruption."""
    rate: float | None
    """Events a second."""
    eta_seconds: float | None
    windows: int
    """Compared with what was published."""
    new: int
    revised: int
    retracted: int
    left: int
    """Not touched, since their events were disposed of."""

    model_config = example(**_SHOWN)


class BackfillList(Answer):
    items: list[BackfillShown]
    as_of: datetime

    model_config = example(items=[_SHOWN], as_of="2026-11-24T10:00:07Z")
