"""Comparing what the mesh published with the truth: missing, extra and wrong windows; and the books."""

from dataclasses import dataclass, field
from datetime import datetime
from math import isclose
from typing import Any

import psycopg

from demo import truth
from libs.common.catalog import Kpi

TOLERANCE = 1e-9
"""Relative: sums of doubles depend on their order in the last digits."""

Place = tuple[str, str, int]
"""KPI, series key, window start (ms)."""


@dataclass
class Comparison:
    """What differs. `differences` holds the first few, as sentences."""

    kpis: int = 0
    windows: int = 0
    missing: int = 0
    extra: int = 0
    wrong: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not (self.missing or self.extra or self.wrong)

    def note(self, text: str) -> None:
        if len(self.differences) < 10:
            self.differences.append(text)


Found = dict[Place, tuple[int, float | None, int, str]]
"""Window end (ms), value, count and status of the newest revision; what was withdrawn is left out."""


def published(connection: psycopg.Connection[Any], versions: dict[str, int]) -> Found:
    """The newest revision of every window of the KPI versions given."""
    query = (
        "SELECT DISTINCT ON (kpi, series_key, window_start) kpi, series_key,"
        " (extract(epoch FROM window_start) * 1000)::bigint, (extract(epoch FROM window_end) * 1000)::bigint,"
        " value, count, status, kpi_version FROM read.observations"
        " ORDER BY kpi, series_key, window_start, revision DESC"
    )
    return {
        (kpi, series, start): (end, value, count, status)
        for kpi, series, start, end, value, count, status, version in connection.execute(query)
        if status != "retracted" and versions.get(kpi, version) == version
    }


def compare(
    kpis: list[Kpi], found: Found, start: datetime | None = None, end: datetime | None = None
) -> Comparison:
    """Every final observation against plain SQL over the raw events of [start, end)."""
    result = Comparison(kpis=len(kpis))
    rest = dict(found)
    for kpi_id, rows in truth.expected(kpis, start, end).items():
        for series, w0, w1, value, count in rows:
            result.windows += 1
            place = (kpi_id, series, w0)
            seen = rest.pop(place, None)
            if seen is None or seen[3] != "final":
                result.missing += 1
                what = "nothing" if seen is None else f"only {seen[3]}"
                result.note(f"missing {place}: expected {value} of {count} events, found {what}")
            elif seen[0] != w1 or seen[2] != count or not _same(seen[1], value):
                result.wrong += 1
                result.note(f"wrong {place}: expected {value} of {count} until {w1}, found {seen}")
    result.extra = len(rest)
    for place, seen in list(rest.items())[:5]:
        result.note(f"extra {place}: {seen}")
    return result


def _same(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def books(connection: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
    """Source → accepted, published, duplicate, dead-lettered, landed, in flight, parked, imbalance."""
    names = (
        "accepted",
        "published",
        "duplicate",
        "dead_lettered",
        "landed",
        "in_flight",
        "parked",
        "imbalance",
    )
    rows = connection.execute(f"SELECT source, {', '.join(names)} FROM read.ledger_totals ORDER BY source")
    return {source: dict(zip(names, counts, strict=True)) for source, *counts in rows}


def violations(connection: psycopg.Connection[Any]) -> dict[str, tuple[int, int]]:
    """Rule → events assessed and violations."""
    rows = connection.execute(
        "SELECT rule, sum(assessed)::bigint, sum(violations)::bigint FROM read.rule_results GROUP BY rule"
    )
    return {rule: (assessed, broken) for rule, assessed, broken in rows}
