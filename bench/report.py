"""Figures: a table for people, one JSON line for machines."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

Value = float | None


@dataclass(frozen=True)
class Figure:
    """One figure that was asked for. `value` is None when it could not be measured; `note` says why or what bounds it."""

    name: str
    value: Value
    unit: str
    better: Literal["higher", "lower"]
    target: Value = None
    peer: Mapping[str, Value] | None = None
    """The same figure of those it is measured beside."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None or self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


def middle(values: Iterable[float]) -> Value:
    """The median; None of nothing."""
    values = list(values)
    return median(values) if values else None


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range."""
    if not values:
        return "–"
    texts = [f"{each:,.{digits}f}" for each in (median(values), min(values), max(values))]
    return texts[0] if len(values) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


def ratio(value: Value, other: Value) -> Value:
    return None if value is None or not other else value / other


def rounded(value: Value) -> Value:
    """Four significant digits: no noisy machine knows more."""
    return None if value is None else float(f"{value:.4g}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    drawn = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def publish(bench: str, figures: Sequence[Figure]) -> None:
    """The figures beside their targets, then the JSON line."""
    rows = []
    for figure in figures:
        verdict = {True: "met", False: "missed", None: "–"}[figure.met]
        sign = "≥" if figure.better == "higher" else "≤"
        peers = ", ".join(f"{name} {_text(value)}" for name, value in (figure.peer or {}).items())
        target = "–" if figure.target is None else f"{sign} {_text(figure.target)}"
        rows.append(
            [figure.name, f"{_text(figure.value)} {figure.unit}", target, verdict, peers, figure.note]
        )
    table(f"bench-{bench}", ["figure", "median", "target", "", "beside", "note"], rows)
    lines = [
        {
            **asdict(figure),
            "value": rounded(figure.value),
            "target": rounded(figure.target),
            "peer": figure.peer and {name: rounded(value) for name, value in figure.peer.items()},
        }
        for figure in figures
    ]
    print(json.dumps({"bench": bench, "figures": lines}), flush=True)


def _text(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
