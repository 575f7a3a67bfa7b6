"""What the maker of a decision saw: the signal and its windows' observations as known at a moment.

The same rows always give the same document, so that its hash can be compared years later.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

SIGNAL_FIELDS = (
    "id", "kpi", "kpi_version", "series", "series_key", "rule", "kind", "severity", "change", "verdict",
    "first_window", "last_window", "event_at", "windows", "value", "peak", "low", "high", "revision",
    "suspect_share", "reason", "detected_at", "recorded_at",
)  # fmt: skip
OBSERVATION_FIELDS = (
    "kpi", "kpi_version", "series", "series_key", "window_start", "window_end", "revision", "status", "value",
    "count", "completeness", "assessed", "suspect", "worst", "recorded_at",
)  # fmt: skip


def moment(at: datetime) -> str:
    """A time in UTC with exactly six decimals: one instant, one text."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def gather(
    signal: Mapping[str, Any], observations: Sequence[Mapping[str, Any]], as_of: datetime
) -> dict[str, Any]:
    """The evidence as JSON-ready values; rows may come in any order."""
    ordered = sorted(observations, key=lambda row: (row["window_start"], row["series_key"], row["revision"]))
    return {
        "as_of": moment(as_of),
        "signal": {name: _plain(signal[name]) for name in SIGNAL_FIELDS},
        "observations": [{name: _plain(row[name]) for name in OBSERVATION_FIELDS} for row in ordered],
    }


def _plain(value: Any) -> Any:
    return moment(value) if isinstance(value, datetime) else value
