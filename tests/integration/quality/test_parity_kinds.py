"""Values of every kind are compared with plain SQL; one that was falsified is found, and what cannot be had again is left
out and counted."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.mesh import Mesh, until

pytestmark = pytest.mark.timeout(240)


def source(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "source", "id": id, "title": "Pumps", "owner": "fleet", "event_id": "id", "event_time": "at",
        "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
        "fields": [
            {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "place", "type": "string"},
            {"name": "level", "type": "double"},
        ],
        **more,
    }  # fmt: skip


def kpi(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": "Level", "owner": "fleet", "source": "kinds_pump", "value": "sum(level)",
        "by": ["place"], "window": {"tumbling": "10m"}, "lateness": "1m", **more,
    }  # fmt: skip


SITES: dict[str, Any] = {
    "kind": "source", "id": "kinds_sites", "title": "Sites", "owner": "fleet", "reference": True, "key": ["code"],
    "fields": [{"name": "code", "type": "string"}, {"name": "zone", "type": "string"}],
}  # fmt: skip
CREWS: dict[str, Any] = {
    "kind": "source", "id": "kinds_crews", "title": "Crews", "owner": "fleet", "reference": True, "key": ["code"],
    "event_time": "since",
    "fields": [
        {"name": "code", "type": "string"}, {"name": "since", "type": "timestamp"}, {"name": "size", "type": "int"},
    ],
}  # fmt: skip
INNER = kpi("kinds_inner", lateness="4h", measures={"n": "count(*)"})
OVER = {
    **kpi("kinds_over", over={"part": "kinds_inner"}, value="sum(part)", by=[], measures={"parts": "count(part)"})
}  # fmt: skip
del OVER["source"]
KPIS = [
    kpi("kinds_sessions", window={"session": "5m"}),
    kpi("kinds_each", window={"each": "event"}, value="level * 2", where="level >= 0", lateness="0s"),
    kpi(
        "kinds_sketch",
        value="approx_count_distinct(id)",
        measures={"middle": "approx_quantile(level, 0.5)", "n": "count(*)"},
        window={"sliding": "20m", "every": "10m"},
    ),
    kpi(
        "kinds_zone",
        enrich=[{"reference": "kinds_sites", "on": ["place"], "prefix": "site"}],
        by=["site_zone"],
    ),
    kpi(
        "kinds_crew",
        enrich=[{"reference": "kinds_crews", "on": ["place"], "prefix": "crew"}],
        value="sum(crew_size)",
    ),
    INNER,
    OVER,
]
WINDOWS = {
    "kinds_sessions": 20, "kinds_each": 120, "kinds_sketch": 26, "kinds_zone": 24, "kinds_crew": 24, "kinds_over": 12
}  # fmt: skip


def at(minute: float) -> str:
    second = round(minute * 60)
    return f"2026-10-05T{8 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def pump(id: str, minute: float, place: str = "a", level: float = 1.0) -> dict[str, Any]:
    return {"id": id, "at": at(minute), "place": place, "level": level}


PUMPS = [
    pump(f"p{minute}", minute + (0.5 if minute % 12 >= 6 else 0.0), "b" if minute // 6 % 2 else "a", minute / 7)
    for minute in range(120)
]  # fmt: skip
"""Two hours, a minute apart: of each place six minutes, then six minutes of silence."""


def push(mesh: Mesh, source: str, rows: list[dict[str, Any]]) -> int:
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=json.dumps(rows)).status_code


def declare(mesh: Mesh, minute: float) -> None:
    answer = mesh.service("ingest").post("/v1/sources/kinds_pump/watermark", json={"through": at(minute)})
    assert answer.is_success


@pytest.fixture(scope="module", autouse=True)
def values(mesh: Mesh) -> None:
    mesh.define(source("kinds_pump"), SITES, CREWS)
    sites = [{"code": "a", "zone": "north"}, {"code": "b", "zone": "south"}]
    crews = [
        {"code": "a", "since": at(0), "size": 2}, {"code": "a", "since": at(60), "size": 3},
        {"code": "b", "since": at(0), "size": 5},
    ]  # fmt: skip
    until(lambda: push(mesh, "kinds_sites", sites) == 200)
    until(lambda: push(mesh, "kinds_crews", crews) == 200)
    until(
        lambda: mesh.query("SELECT count(*) FROM read.reference_rows WHERE source LIKE 'kinds_%%'") == [(5,)]
    )
    mesh.define(*KPIS)
    until(lambda: push(mesh, "kinds_pump", PUMPS) == 200)
    declare(mesh, 200)


def parity(mesh: Mesh, id: str) -> dict[str, Any]:
    items = mesh.as_("ana").get("/v1/parity").json()["items"]
    return next((each for each in items if each["kpi"] == id), {})


def compared(mesh: Mesh, id: str, windows: int) -> dict[str, Any]:
    """What came of it when so many windows were compared or left out."""

    def all_of_them() -> dict[str, Any]:
        found = parity(mesh, id)
        seen = found.get("windows", 0) + sum(found.get("left_out", {}).values())
        return found if seen >= windows else {}

    return until(all_of_them, seconds=120)


def differing(mesh: Mesh, id: str) -> dict[str, Any]:
    def one() -> dict[str, Any]:
        found = parity(mesh, id)
        return found if found.get("differing") else {}

    return until(one, seconds=180)


def forget(mesh: Mesh, *ids: str) -> None:
    """All windows of these KPIs are compared again."""
    mesh.query("DELETE FROM quality.parity WHERE kpi = ANY(%s) RETURNING 1", list(ids))


def figures(found: dict[str, Any]) -> tuple[Any, ...]:
    return found["windows"], found["differing"], found["left_out"], found["first_difference"], found["note"]


@pytest.mark.parametrize("id", WINDOWS)
def test_all_settled_windows_agree(mesh: Mesh, id: str) -> None:
    assert figures(compared(mesh, id, WINDOWS[id])) == (WINDOWS[id], 0, {}, None, "")


# --- what came too late, or is of another version --------------------------------------------------------


def test_of_sessions_what_came_too_late_is_left_out_as_the_engine_did(mesh: Mesh) -> None:
    compared(mesh, "kinds_each", WINDOWS["kinds_each"])  # which the next event is too late for, too
    assert push(mesh, "kinds_pump", [pump("too late", 8.0, "a", 1000.0)]) == 200
    until(lambda: mesh.query("SELECT 1 FROM read.late_events WHERE kpi = 'kinds_sessions'"))
    until(
        lambda: mesh.query("SELECT 1 FROM read.events WHERE source = 'kinds_pump' AND event_id = 'too late'")
    )
    forget(mesh, "kinds_sessions")
    windows = WINDOWS["kinds_sessions"]
    assert figures(compared(mesh, "kinds_sessions", windows)) == (windows, 0, {}, None, "")


def test_a_value_of_an_input_that_came_too_late_for_the_kpi_over_it_leaves_its_window_out(mesh: Mesh) -> None:
    revised = "SELECT 1 FROM read.observations WHERE kpi = 'kinds_inner' AND value > 1000"
    assert until(lambda: mesh.query(revised)), "the inner one takes late events for four hours"
    until(lambda: mesh.query("SELECT 1 FROM read.late_events WHERE kpi = 'kinds_over'"))
    forget(mesh, "kinds_over")
    assert figures(compared(mesh, "kinds_over", 12)) == (11, 0, {"late": 1}, None, "")


def test_single_events_that_come_too_late_to_be_compared_are_counted(mesh: Mesh) -> None:
    assert push(mesh, "kinds_pump", [pump("newest", 130.0)]) == 200
    found = until(lambda: (now := parity(mesh, "kinds_each")).get("windows") == 121 and now, seconds=120)
    assert found["left_out"] == {"late": 1}


def test_another_version_of_an_input_leaves_the_values_that_were_made_of_the_former(mesh: Mesh) -> None:
    mesh.define({**INNER, "value": "sum(level) * 2"})
    served = "SELECT 1 FROM read.served WHERE kpi = 'kinds_inner' AND kpi_version = 2"
    assert until(lambda: mesh.query(served), seconds=120)
    forget(mesh, "kinds_over")
    found = figures(compared(mesh, "kinds_over", 13))
    assert found == (11, 0, {"late": 2}, None, ""), "the newest event was late for it too"


def test_of_flink_what_may_have_come_too_late_is_left_out_and_all_else_is_compared(mesh: Mesh) -> None:
    """Here without a cluster (`tests/system/test_flink_engine.py` has one): what it would publish is put in its place."""
    mesh.define(kpi("kinds_flink", engine="flink", measures={"n": "count(*)"}))
    columns = (
        "series_key, series, window_start, window_end, revision, status, value, count, watermark, completeness, assessed,"
        " suspect, worst, offsets, schema_ids, traceparent, recorded_at, measures"
    )
    theirs = columns.replace("watermark", "window_end + interval '1 minute'")
    once = (
        "FROM (SELECT DISTINCT ON (series_key, window_start) * FROM archive.observations WHERE kpi = 'kinds_inner'"
        " AND kpi_version = 1 AND status = 'final' ORDER BY series_key, window_start, revision) AS first"
    )
    newest = "SELECT DISTINCT ON (series_key) * FROM published ORDER BY series_key, window_start DESC"
    mesh.query(
        f"WITH published AS (INSERT INTO archive.observations (kpi, kpi_version, {columns})"
        f" SELECT 'kinds_flink', 1, {theirs} {once} RETURNING kpi, kpi_version, {columns})"
        f" INSERT INTO archive.latest (kpi, kpi_version, {columns}) {newest} RETURNING 1"
    )
    assert figures(compared(mesh, "kinds_flink", 25)) == (24, 0, {"late": 1}, None, "")
    wrong = "kpi = 'kinds_flink' AND series_key = 'place=b' AND window_start = %s"
    mesh.query(f"UPDATE archive.observations SET value = value * 2 WHERE {wrong} RETURNING 1", at(70))
    forget(mesh, "kinds_flink")
    found = differing(mesh, "kinds_flink")
    assert figures(found)[:3] == (24, 1, {"late": 1})
    assert found["first_difference"]["window_start"] == at(70)


# --- what is wrong is found ------------------------------------------------------------------------------

FALSIFIED = {  # id → what is changed, series, start
    "kinds_sessions": ("value = value + 1", "place=b", at(30.5)),
    "kinds_each": ("value = value - 1", "place=a", at(61)),
    "kinds_sketch": ("measures = jsonb_set(measures, '{middle}', '0.5')", "place=b", at(40)),
    "kinds_zone": ("value = value + 1", "site_zone=north", at(50)),
    "kinds_crew": ("count = count - 1", "place=b", at(20)),
    "kinds_over": ("value = 7", "", at(30)),
}  # fmt: skip


@pytest.fixture(scope="module")
def falsified(mesh: Mesh) -> None:
    for id, (change, series, start) in FALSIFIED.items():
        window = "kpi = %s AND series_key = %s AND window_start = %s"
        update = f"UPDATE archive.observations SET {change} WHERE {window} RETURNING 1"
        assert mesh.query(update, id, series, start), id
    forget(mesh, *FALSIFIED)


@pytest.mark.usefixtures("falsified")
@pytest.mark.parametrize("id", FALSIFIED)
def test_a_falsified_value_is_found_and_shown_with_both_inputs(mesh: Mesh, id: str) -> None:
    found = differing(mesh, id)
    shown = found["first_difference"]
    assert (found["differing"], shown["window_start"]) == (1, FALSIFIED[id][2])
    kept = f"SELECT first_difference->>'series_key' FROM read.parity WHERE kpi = '{id}'"
    assert mesh.query(kept) == [(FALSIFIED[id][1],)], "ana is shown a pseudonym of a field without a class"
    sides = Counter(key for side in ("published", "batch") for key in shown[side] if shown[side][key])
    assert sides["value"] == sides["count"] == 2
    if id == "kinds_over":
        parts = {(each["kpi"], each["kpi_version"], each["series_key"]) for each in shown["batch"]["inputs"]}
        assert parts == {("kinds_inner", 1, "place=a"), ("kinds_inner", 1, "place=b")}
    else:
        assert len(shown["batch"]["events"]) == shown["batch"]["count"]
        assert shown["published"]["offsets"]
    summary = f"SELECT state, source FROM read.incidents WHERE kind = 'parity' AND rule = '{id}'"
    assert until(lambda: mesh.query(summary)) == [("open", "kinds_pump")]


@pytest.mark.usefixtures("falsified")
def test_a_session_that_was_never_published_is_found_though_it_began_before_the_stretch(mesh: Mesh) -> None:
    differing(mesh, "kinds_sessions")
    mine = "WHERE kpi = 'kinds_sessions'"
    window = f"{mine} AND series_key = 'place=a' AND window_start = %s RETURNING 1"
    assert mesh.query(f"DELETE FROM archive.observations {window}", at(48))
    again = "SET checked_to = %s, differing = 0, first_difference = NULL"
    mesh.query(f"UPDATE quality.parity {again} {mine} RETURNING 1", at(57.9))
    found = differing(mesh, "kinds_sessions")
    shown = found["first_difference"]
    assert (shown["window_start"], shown["window_end"]) == (at(48), at(58))
    assert (shown["published"], shown["batch"]["count"]) == (None, 6)


# --- what has changed since ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("falsified")
def test_windows_of_a_reference_row_that_has_changed_since_are_left_out_by_that_reason(mesh: Mesh) -> None:
    assert push(mesh, "kinds_sites", [{"code": "b", "zone": "west"}]) == 200
    assert push(mesh, "kinds_crews", [{"code": "a", "since": at(60), "size": 4}]) == 200
    changed = "SELECT count(*) FROM read.reference_rows WHERE data->>'zone' = 'west' OR data->>'size' = '4'"
    until(lambda: mesh.query(changed) == [(2,)])
    forget(mesh, "kinds_zone", "kinds_crew")
    zones = compared(mesh, "kinds_zone", 36)
    assert figures(zones)[:3] == (11, 0, {"reference": 25}), "all of b, and of a the one that was falsified"
    crews = compared(mesh, "kinds_crew", 24)
    assert figures(crews)[:3] == (18, 1, {"reference": 6}), "and the one that was falsified before"
