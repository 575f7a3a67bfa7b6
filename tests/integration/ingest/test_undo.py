"""A re-drive is undone: what it had published is taken back, from the archive to the KPIs, and can be driven again."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.ingest.test_redrive import (
    SOURCE,
    balanced,
    command,
    event,
    order,
    push,
    reached,
    show,
    stored,
)
from tests.mesh import Mesh, until

pytestmark = pytest.mark.timeout(300)

LITRES: list[dict[str, Any]] = [{"do": "rename", "field": "liters", "to": "litres"}]
WRONG = [*LITRES, {"do": "replace", "field": "litres", "value": 3, "by": 3_000}]
KPI: dict[str, Any] = {
    "kind": "kpi", "title": "Litres", "owner": "fleet", "source": "undone", "value": "sum(litres)", "by": [],
    "window": {"tumbling": "10m"}, "lateness": "0s",
}  # fmt: skip


def kpis(source: str) -> list[dict[str, Any]]:
    """Of every kind of window, and one over another."""
    said = KPI | {"source": source}
    return [
        said | {"id": f"{source}_tumbling"},
        said | {"id": f"{source}_session", "window": {"session": "5m"}},
        said | {"id": f"{source}_singly", "window": {"each": "event"}, "value": "litres"},
        {
            "kind": "kpi", "id": f"{source}_over", "title": "Over", "owner": "fleet", "by": [],
            "over": {"part": f"{source}_tumbling"}, "value": "sum(part)", "window": {"tumbling": "10m"}, "lateness": "0s",
        },
    ]  # fmt: skip


def at(minute: int, id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "at": f"2026-11-24T10:{minute:02}:00Z", **fields}


def values(mesh: Mesh, kpi: str) -> list[tuple[str, float]]:
    """What stands of a KPI: (start, value), retracted values left out."""
    rows = mesh.query(
        "SELECT to_char(window_start, 'HH24:MI'), value, status FROM (SELECT DISTINCT ON (series_key, window_start) *"
        " FROM read.observations WHERE kpi = %s ORDER BY series_key, window_start, revision DESC) newest"
        " WHERE status NOT IN ('retracted', 'provisional') ORDER BY 1",
        kpi,
    )
    return [(start, value) for start, value, _ in rows]


def watermark(mesh: Mesh, source: str, through: str) -> None:
    answer = mesh.service("ingest").post(f"/v1/sources/{source}/watermark", json={"through": through})
    assert answer.status_code == 200, answer.text


def define(mesh: Mesh, source: str, *kpis: dict[str, Any]) -> None:
    mesh.define(SOURCE | {"id": source}, *kpis)
    until(lambda: accepts(mesh, source))


def accepts(mesh: Mesh, source: str) -> bool:
    """Whether ingest takes events of a source."""
    try:
        return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=b"[]").status_code == 200
    except httpx.TransportError:
        return False


def undone(mesh: Mesh, id: str) -> dict[str, Any]:
    answer = command(mesh, id, "undo")
    assert answer.status_code == 200, answer.text
    return reached(mesh, id, "undone")


def is_settled(mesh: Mesh, source: str) -> bool:
    """Everything that follows from an undoing is done."""
    rows = mesh.query("SELECT bool_and(done_at IS NOT NULL) FROM read.withdrawals WHERE source = %s", source)
    found = mesh.as_("operator").get("/v1/backfills").json()["items"]
    mine = [each["state"] for each in found if each["kpi"].startswith(source)]
    return rows == [(True,)] and bool(mine) and set(mine) == {"done"}


def agrees(mesh: Mesh, *kpis: str) -> bool:
    """Whether values of each were compared with plain SQL, and none differs or is left out."""
    rows = mesh.query(
        "SELECT windows > 0 AND differing = 0 AND left_out = '{}' FROM read.parity WHERE kpi = ANY(%s)",
        list(kpis),
    )
    return rows == [(True,)] * len(kpis)


def test_the_events_and_the_values_that_they_gave_are_taken_back_and_the_letters_can_be_driven_rightly(
    mesh: Mesh,
) -> None:
    define(mesh, "undone", *kpis("undone"))
    push(mesh, "undone", [at(1, "a", litres=1), at(12, "c", litres=4)])
    push(mesh, "undone", [at(2, "b", liters=3), at(4, "d", liters=5)])
    wrong = order(mesh, "undone", fix=WRONG)
    assert wrong["published"] == 2
    watermark(mesh, "undone", "2026-11-24T10:40:00Z")
    until(lambda: values(mesh, "undone_tumbling") == [("10:00", 3_006.0), ("10:10", 4.0)])
    until(lambda: values(mesh, "undone_over") == [("10:00", 3_006.0), ("10:10", 4.0)])
    assert values(mesh, "undone_session") == [("10:01", 3_006.0), ("10:12", 4.0)]

    found = undone(mesh, wrong["id"])
    assert (found["published"], found["undone"], found["undone_by"]) == (0, 2, "operator")
    assert "2 events are taken back" in found["note"]
    until(lambda: is_settled(mesh, "undone"))
    assert stored(mesh, "undone") == ["a", "c"]
    until(lambda: values(mesh, "undone_over") == [("10:00", 1.0), ("10:10", 4.0)])
    assert values(mesh, "undone_tumbling") == [("10:00", 1.0), ("10:10", 4.0)]
    assert values(mesh, "undone_session") == [("10:01", 1.0), ("10:12", 4.0)]
    assert values(mesh, "undone_singly") == [("10:01", 1.0), ("10:12", 4.0)]
    until(lambda: balanced(mesh, "undone"))
    until(lambda: agrees(mesh, "undone_tumbling", "undone_session", "undone_singly"), seconds=180)

    right = order(mesh, "undone", fix=LITRES)
    assert (right["published"], right["before"], right["duplicate"]) == (2, 0, 0)
    until(lambda: stored(mesh, "undone") == ["a", "b", "c", "d"])
    until(lambda: balanced(mesh, "undone"))


def test_windows_that_are_open_are_computed_again_when_they_are_closed(mesh: Mesh) -> None:
    define(mesh, "undone_open", KPI | {"id": "undone_open_kpi", "source": "undone_open"})
    push(mesh, "undone_open", [at(1, "a", litres=1)])
    push(mesh, "undone_open", [at(2, "b", liters=3)])
    id = order(mesh, "undone_open", fix=LITRES)["id"]
    undone(mesh, id)

    def waits() -> list[str | None]:
        found = mesh.as_("operator").get("/v1/backfills").json()["items"]
        mine = [each for each in found if each["kpi"] == "undone_open_kpi" and each["state"] == "queued"]
        assert all(each["withdrawal"] == id for each in mine)
        return [each["awaits"] for each in mine]

    until(lambda: waits() == ["2026-11-24T10:10:00Z"])
    watermark(mesh, "undone_open", "2026-11-24T10:40:00Z")
    until(lambda: is_settled(mesh, "undone_open"))
    until(lambda: values(mesh, "undone_open_kpi") == [("10:00", 1.0)])


def session(mesh: Mesh, source: str, minutes: tuple[int, ...], driven: int) -> str:
    """A KPI of sessions over events of these minutes, and over one that was driven; the re-drive."""
    define(mesh, source, KPI | {"id": f"{source}_kpi", "source": source, "window": {"session": "5m"}})
    push(mesh, source, [at(minute, f"a{minute}", litres=1) for minute in minutes])
    push(mesh, source, [at(driven, "b", liters=3)])
    return order(mesh, source, fix=LITRES)["id"]


def test_a_session_that_goes_on_is_computed_again_when_it_has_ended(mesh: Mesh) -> None:
    id = session(mesh, "undone_on", (1, 5, 8, 11), driven=2)
    watermark(mesh, "undone_on", "2026-11-24T10:12:00Z")
    closed = "SELECT closed_to FROM read.backfills WHERE kpi = 'undone_on_kpi' AND state = 'done'"
    undone(mesh, id)
    until(lambda: len(mesh.query(closed)) == 1)
    watermark(mesh, "undone_on", "2026-11-24T10:40:00Z")
    until(lambda: is_settled(mesh, "undone_on"))
    until(lambda: values(mesh, "undone_on_kpi") == [("10:01", 4.0)])


def test_a_session_falls_apart_where_what_joined_it_is_taken_back(mesh: Mesh) -> None:
    id = session(mesh, "undone_apart", (1, 9), driven=5)
    watermark(mesh, "undone_apart", "2026-11-24T10:40:00Z")
    until(lambda: values(mesh, "undone_apart_kpi") == [("10:01", 5.0)])
    undone(mesh, id)
    until(lambda: is_settled(mesh, "undone_apart"))
    until(lambda: values(mesh, "undone_apart_kpi") == [("10:01", 1.0), ("10:09", 1.0)])


def test_what_is_taken_back_stays_so_when_ingest_and_the_detector_are_killed(mesh: Mesh) -> None:
    define(mesh, "undone_killed", KPI | {"id": "undone_killed_kpi", "source": "undone_killed"})
    push(mesh, "undone_killed", [at(1, "a", litres=1)])
    push(mesh, "undone_killed", [at(2, f"b{number}", liters=3) for number in range(20)])
    id = order(mesh, "undone_killed", fix=LITRES)["id"]
    assert command(mesh, id, "undo").status_code == 200
    mesh.kill("ingest")
    mesh.kill("detector")
    until(is_up(mesh, id))
    reached(mesh, id, "undone")
    mesh.kill("ingest")  # it reads the ids back that were published
    until(lambda: accepts(mesh, "undone_killed"))
    again = push(mesh, "undone_killed", [at(2, "b0", litres=7)])
    assert again == []
    until(lambda: stored(mesh, "undone_killed") == ["a", "b0"])
    watermark(mesh, "undone_killed", "2026-11-24T10:40:00Z")
    until(lambda: is_settled(mesh, "undone_killed"))
    until(lambda: values(mesh, "undone_killed_kpi") == [("10:00", 8.0)])
    until(lambda: balanced(mesh, "undone_killed"))
    mesh.define(KPI | {"id": "undone_killed_new", "source": "undone_killed"})  # it reads the past
    until(lambda: values(mesh, "undone_killed_new") == [("10:00", 8.0)])


def is_up(mesh: Mesh, id: str) -> Callable[[], bool]:
    return lambda: mesh.as_("operator").get(f"/v1/redrives/{id}").status_code == 200


def test_only_what_has_published_something_and_stands_still_is_undone(mesh: Mesh) -> None:
    define(mesh, "undone_not")
    push(mesh, "undone_not", [event("x", note=1)])
    dry = order(mesh, "undone_not", dry_run=True, until_="checked")
    assert command(mesh, dry["id"], "undo").json()["code"] == "wrong_state"
    assert command(mesh, dry["id"], "cancel").status_code == 200
    assert command(mesh, dry["id"], "undo").json()["code"] == "nothing_published"
    assert show(mesh, dry["id"])["state"] == "cancelled"


@pytest.mark.parametrize("body", [{"id": "r", "name": 1}])
def test_rows_of_a_reference_are_not_undone(mesh: Mesh, body: dict[str, Any]) -> None:
    mesh.define(
        {
            "kind": "source", "id": "undone_rows", "title": "Rows", "owner": "fleet", "reference": True, "key": ["id"],
            "on_malformed": "dead_letter",
            "fields": [{"name": "id", "type": "string"}, {"name": "name", "type": "string"}],
        }
    )  # fmt: skip
    until(lambda: accepts(mesh, "undone_rows"))
    push(mesh, "undone_rows", [json.dumps(body)])
    fix = [{"do": "replace", "field": "name", "value": 1, "by": "one"}]
    id = order(mesh, "undone_rows", fix=fix)["id"]
    answer = command(mesh, id, "undo")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_undoable")
