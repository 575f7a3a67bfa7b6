"""The archive as a process: kill it, and every row is there once; disposals leave receipts and true books."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "vault", "title": "Vault", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2,
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    mesh.define(SOURCE)
    until(lambda: push(mesh, 0, "x") == 200)


def push(mesh: Mesh, count: int, name: str) -> int:
    events = [{"id": f"{name}{number}", "at": "2026-11-24T10:00:00Z"} for number in range(count)]
    return mesh.service("ingest").post("/v1/sources/vault/events", content=json.dumps(events)).status_code


def test_rows_are_there_once_after_kills_in_mid_batch(mesh: Mesh) -> None:
    for batch in range(12):
        push(mesh, 500, f"b{batch}-")
        if batch % 4 == 1:
            mesh.kill("archive")
    count = (
        'SELECT count(*), count(DISTINCT event_id), count(DISTINCT (partition, "offset")) FROM read.events'
        " WHERE source = 'vault'"
    )
    assert until(lambda: mesh.query(count) == [(6000, 6000, 6000)], seconds=90)


def test_what_retention_disposes_of_leaves_a_receipt_and_the_books_stay_true(mesh: Mesh) -> None:
    policy = {
        "kind": "policy", "id": "vault_retention", "title": "Vault", "owner": "privacy",
        "retention": [{"source": "vault", "keep": "0s"}],
    }  # fmt: skip
    mesh.define(policy)
    governance = mesh.service("governance", "stew")

    def run(dry: bool) -> Any:
        results = governance.post("/v1/retention/run", json={"dry_run": dry}).json()["due"]
        return next((each for each in results if each["source"] == "vault"), None)

    assert until(lambda: run(True))["rows"] == 6000
    assert run(False)["ordered"]
    receipt = "SELECT state, rows_before, rows_deleted, rows_after FROM read.receipts WHERE source = 'vault'"
    assert until(lambda: mesh.query(receipt) == [("done", 6000, 6000, 0)])
    assert mesh.query("SELECT count(*) FROM read.events WHERE source = 'vault'") == [(0,)]
    assert until(
        lambda: (
            mesh.query("SELECT landed, imbalance FROM read.ledger_totals WHERE source = 'vault'")
            == [(6000, 0)]
        )
    )


def test_a_series_that_is_silent_for_long_leaves_the_latest_and_keeps_its_history(mesh: Mesh) -> None:
    kpi = {
        "kind": "kpi", "id": "vaulted", "title": "Vaulted", "owner": "fleet", "source": "vault", "value": "count(*)",
        "by": ["id"], "window": {"tumbling": "10m"}, "forget_after": "1h",
    }  # fmt: skip
    mesh.define(kpi)
    service = mesh.service("ingest")

    def series(view: str) -> set[str]:
        return {id for (id,) in mesh.query(f"SELECT series->>'id' FROM read.{view} WHERE kpi = 'vaulted'")}

    def tell(id: str, at: str) -> None:
        service.post(
            "/v1/sources/vault/events", content=json.dumps([{"id": id, "at": f"2026-11-25T{at}:00Z"}])
        )
        service.post("/v1/sources/vault/watermark", json={"through": f"2026-11-25T{at}:59Z"})

    tell("k-early", "05:00")
    tell("k-mid", "05:55")
    until(lambda: "k-early" in series("latest"), seconds=90)
    tell("k-late", "06:25")
    tell("k-end", "06:40")
    until(lambda: {"k-mid", "k-late"} <= (found := series("latest")) and "k-early" not in found, seconds=90)
    assert "k-early" in series("observations")
