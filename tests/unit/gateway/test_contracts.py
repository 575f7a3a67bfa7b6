"""What a changed source breaks is said in words: by rule, by replay, for whom."""

from typing import Any

import pytest

from services.gateway.core.contracts import share, told

BREAK: dict[str, Any] = {
    "field": "delay", "direction": "backward", "message": "delay changes from int to string",
    "rule": "compatibility FULL", "version": 3, "refused": True,
}  # fmt: skip
READERS = {
    "delay": [
        {"kind": "kpi", "id": "punctuality", "path": "value"},
        {"kind": "rule", "id": "plausible", "path": "x"},
    ]
}
REPLAY: dict[str, Any] = {
    "records": 1_000, "broken": 3, "letters": 40, "mended": 12,
    "faults": [{"code": "wrong_type", "field": "delay", "rule": "Expected `str`, got `int`", "records": 3}],
}  # fmt: skip


def contract(*breaks: dict[str, Any], mode: str = "FULL") -> dict[str, Any]:
    return {"source": "departures", "compatibility": mode, "breaks": list(breaks), "readers": READERS}


def test_a_break_is_told_with_its_rule_version_share_and_readers() -> None:
    assert told(contract(BREAK, {**BREAK, "direction": "forward", "refused": False}), REPLAY) == (
        "refused by compatibility FULL: delay changes from int to string (version 3);"
        " breaks 0.3 % of the last 1,000 records of departures (field delay: Expected `str`, got `int`);"
        " 12 of the last 40 dead letters would pass;"
        " read by KPI punctuality, rule plausible"
    )


def test_what_the_mode_lets_in_is_told_too() -> None:
    lost = {**BREAK, "rule": "old events stay readable", "refused": False}
    text = told(contract(lost, mode="NONE"), {**REPLAY, "broken": 0})
    assert text.startswith("let in by compatibility NONE: delay changes from int to string (version 3)")
    assert "breaks none of the last 1,000 records of departures" in text


def test_a_change_that_breaks_nothing_says_so() -> None:
    quiet = {**REPLAY, "broken": 0, "letters": 0, "mended": 0, "faults": []}
    assert told(contract(), quiet) == "breaks no rule; breaks none of the last 1,000 records of departures"
    assert told(contract(), {**quiet, "records": 0}) == "breaks no rule; departures has no records yet"


def test_without_a_replay_it_says_why() -> None:
    assert "not replayed: ingest does not answer" in told(contract(BREAK), None, "ingest does not answer")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(3, 1_000, "0.3 %"), (1, 1_000_000, "less than 0.1 %"), (999_999, 1_000_000, "more than 99.9 %"),
     (5, 10, "50 %"), (10, 10, "100 %")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_none_or_all(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text
