"""What a re-drive had published is withdrawn: the window is corrected, no fault until then, and explain says why."""

import asyncio
import json
from typing import Any

import pytest

from libs.common.database import pool
from libs.common.events import EventsWithdrawn
from libs.common.kafka import producer
from libs.common.migrate import migrate
from libs.common.settings import ServiceSettings
from libs.common.topics import WITHDRAWALS
from services.quality import store
from services.quality.store import books
from tests.mesh import Mesh, until

pytestmark = pytest.mark.timeout(300)

START = "2026-11-20T10:00:00Z"
WITHDRAWN = "2 events of the window in its ranges were withdrawn with their re-drive"


@pytest.fixture(scope="module")
def receipt(mesh: Mesh) -> str:
    """Five windows of six events, published; of the first two came as a request of their own, whose receipt this is."""
    fields = [("id", "string"), ("at", "timestamp"), ("level", "double")]
    mesh.define(
        {
            "kind": "source", "id": "undone_tank", "title": "Tank", "owner": "fleet", "event_id": "id",
            "event_time": "at", "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
            "fields": [{"name": name, "type": type, "classification": "public"} for name, type in fields],
        }
    )  # fmt: skip
    until(lambda: push(mesh, []).get("accepted") == 0)
    mesh.define(
        {
            "kind": "kpi", "id": "undone_level", "title": "Level", "owner": "fleet", "source": "undone_tank",
            "value": "sum(level)", "window": {"tumbling": "10m"}, "lateness": "1m", "early": "0s",
        }
    )  # fmt: skip
    found = push(mesh, [{"id": f"d{n}", "at": f"2026-11-20T10:0{n}:30Z", "level": 100.0} for n in range(2)])
    # Behind them, for these close the window.
    push(mesh, [{"id": f"t{n}", "at": f"2026-11-20T10:{n:02}:00Z", "level": 1.0} for n in range(0, 50, 2)])
    declared = {"through": "2026-11-20T14:00:00Z"}
    assert mesh.service("ingest").post("/v1/sources/undone_tank/watermark", json=declared).is_success
    until(lambda: newest(mesh) == (205.0, 7, 1), seconds=90)
    return found["receipt"]


def push(mesh: Mesh, events: list[dict[str, Any]]) -> dict[str, Any]:
    return mesh.service("ingest").post("/v1/sources/undone_tank/events", content=json.dumps(events)).json()


def newest(mesh: Mesh) -> tuple[Any, ...]:
    """Value, count and revision of the first window."""
    of_first = "WHERE kpi = 'undone_level' AND window_start = %s ORDER BY revision DESC LIMIT 1"
    return next(
        iter(mesh.query(f"SELECT value, count, revision FROM read.observations {of_first}", START)), ()
    )


def explained(mesh: Mesh, **asked: Any) -> dict[str, Any]:
    answer = mesh.as_("ana").get(f"/v1/explain/observations/undone_level/-/{START}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["events"]


def parity(mesh: Mesh) -> tuple[Any, ...]:
    items = mesh.as_("ana").get("/v1/parity").json()["items"]
    found = next((each for each in items if each["kpi"] == "undone_level"), {})
    return found.get("windows"), found.get("differing"), found.get("left_out")


def withdraw(mesh: Mesh, receipt: str) -> None:
    """As ingest does when a re-drive is undone."""
    ends = mesh.query(
        "SELECT partition::text, next_offset FROM read.archived WHERE topic = 'events.undone_tank'"
    )
    told = EventsWithdrawn.build(
        id="undone/0", source="undone_tank", redrive="undone", receipts=[receipt], since={"0": 0, "1": 0},
        upto=dict(ends), by="operator", withdrawn_at=START,
    )  # fmt: skip

    async def send() -> None:
        writer = producer(mesh.settings)
        await writer.start()
        await writer.send_and_wait(
            mesh.settings.prefix + WITHDRAWALS.name, told.encode(), key=told.id.encode()
        )
        await writer.stop()

    asyncio.run(send())


def test_a_window_is_corrected_when_events_of_it_are_withdrawn_and_explain_says_so_of_its_former_value(
    mesh: Mesh, receipt: str
) -> None:
    until(lambda: parity(mesh) == (5, 0, {}), seconds=120)
    withdraw(mesh, receipt)
    until(lambda: mesh.query("SELECT events FROM read.withdrawals WHERE id = 'undone/0'") == [(2,)])
    totals = "SELECT landed, imbalance FROM read.ledger_totals WHERE source = 'undone_tank'"
    assert mesh.query(totals) == [(27, 0)]
    until(lambda: newest(mesh) == (5.0, 5, 2), seconds=120)
    until(lambda: parity(mesh) == (5, 0, {}), seconds=120)
    assert explained(mesh)["agrees"]
    former = explained(mesh, revision=1)
    assert (former["matched"], former["count"], former["agrees"]) == (5, 7, None)
    assert former["note"].startswith(WITHDRAWN)


def test_a_fault_in_a_window_that_was_corrected_is_found(mesh: Mesh, receipt: str) -> None:
    assert newest(mesh) == (5.0, 5, 2)
    wrong = "SET value = 6 WHERE kpi = 'undone_level' AND revision = 2 RETURNING 1"
    mesh.query(f"UPDATE archive.observations {wrong}")
    mesh.query("DELETE FROM quality.parity WHERE kpi = 'undone_level' RETURNING 1")
    until(lambda: parity(mesh) == (5, 1, {}), seconds=120)


def test_a_window_that_is_not_corrected_yet_is_left_out(mesh: Mesh, receipt: str) -> None:
    """As it would be if the archive had nothing of the correction."""
    mesh.query("DELETE FROM archive.observations WHERE kpi = 'undone_level' AND revision = 2 RETURNING 1")
    mesh.query("DELETE FROM archive.backfills WHERE kpi = 'undone_level' RETURNING 1")
    mesh.query("DELETE FROM quality.parity WHERE kpi = 'undone_level' RETURNING 1")
    until(lambda: parity(mesh) == (4, 0, {"withdrawn": 1}), seconds=120)
    found = explained(mesh)
    assert (found["matched"], found["count"], found["agrees"]) == (5, 7, None)
    assert found["note"].startswith(WITHDRAWN)


async def test_withdrawn_events_are_accounted_for_and_were_archived(database: str) -> None:
    for service in ("archive", "governance"):
        migrate(database, service)
    settings = ServiceSettings(kafka="", database=database, redis="", registry="", prefix="", port=0)
    connections = await pool(settings, "quality")
    await connections.executemany(
        "INSERT INTO archive.withdrawn_events VALUES ('s', $1, $2, now(), 'd', now())",
        [(0, 4), (0, 9), (1, 5)],
    )
    known = await books.accounted(connections, "s", "events.s", {0: (4, 9), 1: (6, 8)})
    ends = await store.ends(connections, "s")
    await connections.close()
    assert (known, ends) == ({(0, 4)}, {0: 9, 1: 5})
