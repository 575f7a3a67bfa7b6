"""A receipt is that of its batch, holds against alteration, and is answered again when the batch comes again."""

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest

from libs.common.events import DeadLetter
from libs.common.kafka import read_all
from libs.common.topics import DEAD
from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "receipted", "title": "Receipted", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 3, "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    short = SOURCE | {"id": "short_memory", "dedup": "1s"}
    mesh.define(SOURCE, short, SOURCE | {"id": "lettered", "on_malformed": "dead_letter"})
    for source in ("receipted", "short_memory", "lettered"):
        until(lambda source=source: post(mesh, source, b"[]").status_code == 200)


def post(mesh: Mesh, source: str, body: bytes, kind: str = "application/json") -> httpx.Response:
    return mesh.service("ingest").post(
        f"/v1/sources/{source}/events", content=body, headers={"Content-Type": kind}
    )


def events(name: str, count: int) -> list[dict[str, str]]:
    return [{"id": f"{name}{number}", "at": "2026-11-24T10:00:00Z"} for number in range(count)]


def checked(mesh: Mesh, id: str) -> dict[str, Any] | None:
    """A re-drive, once all its letters are."""
    shown = mesh.service("ingest").get(f"/v1/redrives/{id}").json()
    return shown if shown["state"] == "checked" else None


def valid(mesh: Mesh, proof: dict[str, Any]) -> bool:
    return mesh.service("ingest").post("/v1/receipts/verify", json=proof).json()["valid"]


def test_a_proof_says_where_the_batch_lies_and_holds_unless_it_is_altered(mesh: Mesh) -> None:
    body = json.dumps(events("p", 400)).encode()
    answer = post(mesh, "receipted", body).json()
    proof = answer["proof"]
    assert (proof["id"], proof["sha256"]) == (answer["receipt"], hashlib.sha256(body).hexdigest())
    assert (proof["count"], proof["published"]) == (400, 400)
    columns = 'partition, min("offset"), max("offset"), count(*)'
    query = f"SELECT {columns} FROM read.events WHERE receipt = %s GROUP BY 1"
    until(lambda: sum(row[3] for row in mesh.query(query, proof["id"])) == 400)
    rows = mesh.query(query, proof["id"])
    assert {str(row[0]): [row[1], row[2]] for row in rows} == proof["offsets"]
    assert valid(mesh, proof)
    assert not valid(mesh, {**proof, "published": 399})
    assert not valid(mesh, {**proof, "offsets": {**proof["offsets"], "0": [0, 1]}})


def test_a_batch_that_comes_again_in_any_form_is_answered_with_its_first_receipt_after_a_kill_too(
    mesh: Mesh,
) -> None:
    batch = events("r", 50)
    body = json.dumps(batch).encode()
    lines = "\n".join(json.dumps(event) for event in batch).encode()
    first = post(mesh, "receipted", body).json()["receipt"]

    def repeated(body: bytes, kind: str) -> bool:
        answer = post(mesh, "receipted", body, kind)
        if answer.status_code == 503:
            return False
        said = answer.json()
        assert (said["duplicate"], said["published"], said["receipt"]) == (50, 0, first)
        assert {result["receipt"] for result in said["results"]} == {first}
        assert valid(mesh, said["proof"])
        return True

    assert repeated(body, "application/json")
    assert repeated(lines, "application/x-ndjson")
    mesh.kill("ingest")

    def answers() -> bool:
        try:
            return repeated(lines, "application/x-ndjson")
        except httpx.TransportError:
            return False

    assert until(answers)


def test_what_is_older_than_the_dedup_of_its_source_is_a_new_event(mesh: Mesh) -> None:
    body = json.dumps(events("f", 1)).encode()
    assert until(lambda: post(mesh, "short_memory", body).json().get("published") == 1)
    assert until(lambda: post(mesh, "short_memory", body).json()["published"] == 1)
    state = mesh.service("ingest").get("/v1/sources/short_memory").json()
    assert state["remembered_ids"] == 1


async def test_a_dead_letter_larger_than_any_batch_is_kept_in_part_and_says_so(mesh: Mesh) -> None:
    large = {"id": "large", "at": "2026-11-24T10:00:00Z", "A" * 900_000: "\u0000" * 100}
    huge = {"specversion": "1.0", "id": "huge", "source": "/s", "data": {"id": "A" * 12_000_000}}
    until(lambda: post(mesh, "lettered", b"[]").status_code == 200)  # ingest was killed before
    first = post(mesh, "lettered", json.dumps([large, *events("l", 3)]).encode())
    second = post(mesh, "lettered", json.dumps(huge).encode(), "application/cloudevents+json")
    assert (first.json()["dead_lettered"], first.json()["published"]) == (1, 3)
    assert second.json()["dead_lettered"] == 1
    assert second.json()["results"][0]["error"]["code"] == "not_a_cloud_event"
    letters: dict[str, DeadLetter] = {}
    async for records in read_all(mesh.settings, DEAD.name):
        for record in records:
            if record.key == b"lettered":
                letter = DeadLetter.decode(record.value or b"")
                letters[letter.id] = letter
    whole = letters[first.json()["results"][0]["dead_letter"]]
    cut = letters[second.json()["results"][0]["dead_letter"]]
    assert json.loads(base64.b64decode(whole.payload_b64)) == large
    assert len(base64.b64decode(cut.payload_b64)) == 1_000_000
    assert int(cut.headers["sx-payload-bytes"]) > 12_000_000
    until(lambda: mesh.query("SELECT 1 FROM read.dead_letters WHERE id = %s", cut.id))
    order = {"source": "lettered", "ids": [cut.id], "dry_run": True}
    id = mesh.service("ingest").post("/v1/redrives", json=order).json()["id"]
    shown = until(lambda: checked(mesh, id))
    assert shown is not None
    assert (shown["failing"], shown["waiting"], shown["failures"][0]["code"]) == (1, 0, "cut")
