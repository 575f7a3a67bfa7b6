"""Backfills: a past range of a KPI is computed again, in the background."""

from typing import Literal

from pydantic import Field

from libs.common.events.event import Event, Moment

BackfillState = Literal["queued", "waiting", "running", "done", "failed", "cancelled"]


class BackfillChanged(Event):
    """A backfill after one change, on `detector.backfills`; the last one per `id` is its present state.

    Under the key `id/cancel`: it is to end. Under `id/<merge partition>`: up to where the windows of that partition
    are closed (`closed_to`), with the number as `partition`.
    """

    id: str
    kpi: str
    kpi_version: int
    start: Moment
    stop: Moment
    """The windows that begin in [start, stop)."""
    state: BackfillState
    dry_run: bool = False
    """Nothing is published."""
    reason: str = ""
    by: str = ""
    note: str = ""
    """What it waits for, why it failed, what was left to the live engine."""
    ordered_at: Moment
    recorded_at: Moment
    started_at: Moment | None = None
    """When events were first read."""
    ended_at: Moment | None = None
    withdrawal: str | None = None
    """The id of the withdrawal of events that makes it necessary: `re-drive/part`."""
    awaits: Moment | None = None
    """It begins when the windows that end by then are closed."""
    open_to: Moment | None = None
    """Sessions that go on at least until then were left to the live engine."""
    partition: int | None = None
    closed_to: Moment | None = None
    """Windows that end by then are closed for the live engine: only those are touched."""
    ends: dict[str, int] = Field(default_factory=dict)
    """Partition of the source → offset before which its events are counted, also those that came too late."""
    done_to: Moment | None = None
    """Windows that begin before then are done."""
    events: int = 0
    """Read since it began or went on."""
    rate: float | None = None
    """Events a second."""
    eta_seconds: float | None = None
    windows: int = 0
    """Compared with what was published."""
    new: int = 0
    revised: int = 0
    retracted: int = 0
    left: int = 0
    """Windows that were not touched: their events were disposed of."""
