"""What is inconsistent about a KPI is refused at its path, by rule; what is consistent is not."""

from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.catalog import DEFINITION, Catalog
from libs.common.catalog.check import changes, check

TEAM = {"kind": "team", "id": "ops", "title": "Ops", "department": "operations"}
FLIGHTS = {
    "kind": "source", "id": "flights", "title": "Flights", "owner": "ops", "event_id": "id", "event_time": "at",
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "carrier", "type": "string"}, {"name": "tail", "type": "string", "purposes": ["safety"]},
        {"name": "delay", "type": "int"}, {"name": "gust", "type": "double"},
    ],
}  # fmt: skip
PLANES = {
    "kind": "source", "id": "planes", "title": "Planes", "owner": "ops", "reference": True, "key": ["tail"],
    "event_time": "since",
    "fields": [
        {"name": "tail", "type": "string"}, {"name": "since", "type": "timestamp"}, {"name": "seats", "type": "int"},
        {"name": "owner", "type": "string", "purposes": ["safety"]},
    ],
}  # fmt: skip
PLANE = {"reference": "planes", "on": ["carrier"], "prefix": "plane"}


def kpi(**changes: Any) -> dict[str, Any]:
    plain = {
        "kind": "kpi", "id": "late", "title": "Late", "owner": "ops", "source": "flights", "value": "count(*)",
        "by": ["carrier"], "window": {"tumbling": "1h"},
    }  # fmt: skip
    return {key: value for key, value in (plain | changes).items() if value is not None}


def over(**changes: Any) -> dict[str, Any]:
    return kpi(id="rate", source=None, over={"late": "late"}, value="sum(late)", by=[]) | changes


def faults(*kpis: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(id, path, rule)"""
    definitions = [DEFINITION.validate_python(each) for each in (TEAM, FLIGHTS, PLANES, *kpis)]
    return {(each.id, each.path, each.rule) for each in check(definitions)}


CONSISTENT: list[list[dict[str, Any]]] = [
    [kpi()],
    [kpi(let={"late": "delay > 15", "share": "if(late, 1.0, 0.0)"}, value="avg(share)", by=["late"])],
    [kpi(enrich=[PLANE], value="sum(plane_seats) / count(*)", where="plane_seats > 0")],
    [kpi(measures={"flights": "count(*)", "worst": "max(delay)"})],
    [kpi(window={"each": "event"}, value="delay * 60")],
    [kpi(window={"calendar": "business_day", "zone": "Europe/Berlin", "holidays": ["2026-01-01"]})],
    [kpi(), over()],
    [kpi(), kpi(id="flights"), over(over={"late": "late", "n": "flights"}, value="sum(late) / sum(n)")],
    [kpi(purpose="safety", by=["tail"])],
]


@pytest.mark.parametrize("kpis", CONSISTENT)
def test_what_is_consistent_is_not_refused(kpis: list[dict[str, Any]]) -> None:
    assert faults(*kpis) == set()


@pytest.mark.parametrize(
    ("changes", "path", "rule"),
    [
        ({"let": {"late": "dealy > 15"}}, "let.late", "known field"),
        ({"let": {"delay": "gust"}}, "let.delay", "new name"),
        ({"let": {"sum": "sum(delay)"}}, "let.sum", "scalar"),
        ({"let": {"b": "a", "a": "delay"}}, "let.b", "known field"),
        ({"let": {"t": "length(tail)"}}, "let.t", "purpose"),
        ({"where": "delay"}, "where", "boolean"),
        ({"value": "sum(carrier)"}, "value", "number"),
        ({"value": "count(distinct carrier)"}, "value", "known aggregate"),
        ({"measures": {"worst": "max(dely)"}}, "measures.worst", "known field"),
        ({"window": {"each": "event"}, "value": "sum(delay)"}, "value", "scalar"),
        ({"by": ["gust"]}, "by.0", "groups"),
        ({"by": ["carrier", "carrier"]}, "by", "unique field"),
        ({"by": ["tail"]}, "by.0", "purpose"),
        ({"source": "planes"}, "source", "events"),
        ({"source": "fligths"}, "source", "known source"),
        ({"enrich": [PLANE | {"reference": "plains"}]}, "enrich.0.reference", "known reference"),
        ({"enrich": [PLANE | {"reference": "flights"}]}, "enrich.0.reference", "known reference"),
        ({"enrich": [PLANE | {"on": ["carrier", "delay"]}]}, "enrich.0.on", "whole key"),
        ({"enrich": [PLANE | {"on": ["delay"]}]}, "enrich.0.on", "comparable types"),
        ({"enrich": [PLANE | {"on": ["carier"]}]}, "enrich.0.on", "known field"),
        ({"enrich": [PLANE | {"on": ["tail"]}]}, "enrich.0.on", "purpose"),
        ({"enrich": [PLANE, PLANE]}, "enrich.1.prefix", "new name"),
        ({"enrich": [PLANE], "value": "max(plane_seat)"}, "value", "known field"),
        ({"enrich": [PLANE], "value": "count(plane_owner)"}, "value", "purpose"),
        ({"window": {"sliding": "90m", "every": "1h"}}, "window", "whole panes"),
        ({"window": {"calendar": "day", "holidays": ["2026-01-01"]}}, "window.holidays", "calendar"),
        ({"window": {"calendar": "month", "year_starts": 4}}, "window.year_starts", "calendar"),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_its_path_by_rule(changes: dict[str, Any], path: str, rule: str) -> None:
    assert faults(kpi(**changes)) == {("late", path, rule)}


@pytest.mark.parametrize(
    ("changes", "path", "rule"),
    [
        ({"over": {"late": "lat"}}, "over.late", "known KPI"),
        ({"over": {"late": "rate"}}, "over.late", "no cycle"),
        ({"window": {"tumbling": "2h"}}, "over.late", "same window"),
        ({"by": ["origin"]}, "over.late", "contained dimensions"),
        ({"value": "sum(flights)"}, "value", "known field"),
        ({"value": "late"}, "value", "aggregate"),
        ({"over": {"late": "late", "b": "late"}, "value": "sum(late * b)"}, "value", "one input per aggregate"),
        ({"value": "first(late)"}, "value", "known order"),
    ],
)  # fmt: skip
def test_a_fault_of_a_kpi_over_others_is_told_at_its_path(
    changes: dict[str, Any], path: str, rule: str
) -> None:
    assert faults(kpi(), over(**changes)) == {("rate", path, rule)}


def test_a_longer_cycle_is_refused_in_each_of_its_kpis() -> None:
    one, two = (
        over(id="one", over={"x": "two"}, value="sum(x)"),
        over(id="two", over={"x": "one"}, value="sum(x)"),
    )
    assert {(id, rule) for id, _, rule in faults(one, two)} == {("one", "no cycle"), ("two", "no cycle")}


def test_a_purpose_is_held_through_the_inputs() -> None:
    inner = kpi(purpose="safety", by=["carrier"], value="approx_count_distinct(tail)")
    assert faults(inner, over(purpose="marketing")) == {("rate", "over.late", "purpose")}


def test_sessions_of_several_kpis_do_not_meet() -> None:
    window = {"session": "10m"}
    assert faults(kpi(window=window), over(window=window)) == {("rate", "window", "regular windows")}


def test_a_reference_is_valid_from_a_timestamp() -> None:
    definitions = [DEFINITION.validate_python(each) for each in (TEAM, PLANES | {"event_time": "seats"})]
    assert [(each.path, each.rule) for each in check(definitions)] == [("event_time", "type")]


def test_each_row_of_a_reference_with_versions_says_from_when_on_it_is_valid() -> None:
    since = {"name": "since", "type": "timestamp", "nullable": True}
    fields = [{"name": "tail", "type": "string"}, since]
    definitions = [DEFINITION.validate_python(each) for each in (TEAM, PLANES | {"fields": fields})]
    assert [(each.path, each.rule) for each in check(definitions)] == [("event_time", "not nullable")]


@pytest.mark.parametrize("change", [{"event_time": None}, {"key": ["owner"]}])
def test_a_reference_keeps_what_its_rows_are_kept_by(change: dict[str, Any]) -> None:
    before = Catalog.of([DEFINITION.validate_python(each) for each in (TEAM, PLANES)])
    wanted = [DEFINITION.validate_python(each) for each in (TEAM, PLANES | change)]
    assert [(each.path, each.rule) for each in check(wanted, before)] == [("key", "stable topic")]


def test_a_change_is_told_by_the_innermost_fields_that_differ() -> None:
    rules = [{"id": "high", "threshold": {"above": 3.0}}, {"id": "low", "threshold": {"below": 1.0}}]
    before = DEFINITION.validate_python(kpi(signals=rules[:1]))
    rules[0]["threshold"] = {"above": 4.0}
    after = DEFINITION.validate_python(kpi(signals=rules, title="Tardy", window={"tumbling": "2h"}))
    (change,) = changes(Catalog.of([before]), [after], remove_missing=False)
    assert change.details[:-1] == (
        "title: Late → Tardy", "window.tumbling: 1h → 2h", "signals.high.threshold.above: 3.0 → 4.0"
    )  # fmt: skip
    assert change.details[-1].startswith("signals.low: nothing → id: low, ")


@pytest.mark.parametrize(
    ("matches", "why"),
    [
        ("(?!x)a", "look-around"), (r"(a)\1", "backreferences"), ("a)|(b", "unopened group"),
        ("a{1000}{1000}", "size limit"),
    ],
)  # fmt: skip
def test_a_pattern_that_the_engine_cannot_read_is_refused_before_it_is_in_force(
    matches: str, why: str
) -> None:
    rule = {
        "kind": "rule", "id": "tails", "title": "Tails", "owner": "ops", "source": "flights",
        "check": {"pattern": {"field": "tail", "matches": matches}},
    }  # fmt: skip
    definitions = [DEFINITION.validate_python(each) for each in (TEAM, FLIGHTS, rule)]
    (fault,) = check(definitions)
    assert (fault.path, fault.rule) == ("check.pattern.matches", "regular expression")
    assert why in fault.message


@pytest.mark.parametrize(
    "window",
    [
        {"tumbling": "15m\n"}, {"tumbling": "99999999999d"}, {"tumbling": "9" * 5_000 + "d"},
        {"calendar": "day", "zone": "Europe"}, {"calendar": "day", "zone": "a" * 5_000}, {"calendar": "day", "zone": ""},
    ],
)  # fmt: skip
def test_a_window_that_is_none_is_refused_and_nothing_else_goes_wrong(window: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"no duration|longer than|no time zone"):
        DEFINITION.validate_python(kpi(window=window))


def test_a_pull_that_would_ask_without_a_pause_is_refused() -> None:
    pull = {"kind": "http", "url": "http://localhost", "every": "0s"}
    assert faults({**FLIGHTS, "id": "pulled", "pull": pull}) == {("pulled", "pull.http.every", "at least 1s")}
    assert not faults({**FLIGHTS, "id": "pulled", "pull": {**pull, "every": "1s"}})
