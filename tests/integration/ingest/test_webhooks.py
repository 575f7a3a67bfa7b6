"""Only what is signed gets in, once, whatever is repeated, replayed or changed meanwhile."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from backports import zstd
from standardwebhooks import Webhook

from local import places
from tests.mesh import Mesh, until

SECRET, NEXT, OTHER = (
    "whsec_" + base64.b64encode(name.encode() * 4).decode() for name in ("first", "next.", "other")
)
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "hooked", "title": "Hooked", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1, "webhook": {"secret": "HOOKED"}, "on_malformed": "dead_letter",
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def source(mesh: Mesh) -> None:
    places.note_env(mesh.stack.home / "env", {"SEXTANT_SECRET_HOOKED": f"{SECRET} {NEXT}"})
    mesh.define(SOURCE, SOURCE | {"id": "unset", "webhook": {"secret": "NOWHERE"}})
    mesh.kill("ingest")
    until(lambda: answered(mesh, b"[]", "warm") == 200)


def event(id: str) -> dict[str, str]:
    return {"id": id, "at": "2026-11-24T10:00:00Z"}


def headers(body: bytes, id: str, secret: str = SECRET, ago: int = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=ago)  # noqa: TID251 (a sender has a clock of its own)
    stamp = str(int(at.timestamp()))
    signature = Webhook(secret).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature}


def post(mesh: Mesh, body: bytes, more: dict[str, str], source: str = "hooked") -> httpx.Response:
    return mesh.service("ingest").post(
        f"/v1/sources/{source}/events", content=body, headers={"Content-Type": "application/json", **more}
    )


def answered(mesh: Mesh, body: bytes, id: str) -> int | None:
    try:
        return post(mesh, body, headers(body, id)).status_code
    except httpx.TransportError:
        return None


def test_a_signed_delivery_is_taken_by_the_former_secret_and_by_the_next(mesh: Mesh) -> None:
    one, two = json.dumps(event("s1")).encode(), json.dumps(event("s2")).encode()
    assert post(mesh, one, headers(one, "m1")).json()["published"] == 1
    assert post(mesh, two, headers(two, "m2", NEXT)).json()["published"] == 1


def test_what_is_not_signed_as_agreed_is_refused_for_its_own_reason(mesh: Mesh) -> None:
    body = json.dumps(event("never")).encode()
    refused = [
        (post(mesh, body, {}), "webhook_unsigned"),
        (post(mesh, body, headers(body, "n1", OTHER)), "webhook_wrong_signature"),
        (post(mesh, body + b" ", headers(body, "n1")), "webhook_wrong_signature"),
        (post(mesh, body, headers(body, "n1", ago=310)), "webhook_stale"),
        (post(mesh, body, headers(body, "n1", ago=-310)), "webhook_stale"),
    ]
    for answer, code in refused:
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert (answer.json()["retryable"], answer.json()["scope"]) == (False, "request")
    assert post(mesh, body, headers(body, "n1")).json()["published"] == 1, "nothing of it had got in"


def test_a_delivery_that_is_repeated_is_all_duplicates_after_a_kill_too(mesh: Mesh) -> None:
    body = json.dumps([event("d1"), {"id": "d2"}, event("d3")]).encode()
    first = post(mesh, body, headers(body, "d")).json()
    assert (first["published"], first["dead_lettered"]) == (2, 1)
    captured = headers(body, "d", ago=10)
    again = [post(mesh, body, captured).json(), post(mesh, body, captured).json()]
    mesh.kill("ingest")
    until(lambda: answered(mesh, b"[]", "warm") == 200)
    again.append(post(mesh, body, headers(body, "d", NEXT)).json())
    for answer in again:
        assert (answer["duplicate"], answer["accepted"], answer["receipt"]) == (3, 3, first["receipt"])


def test_the_id_of_a_delivery_serves_no_other_body(mesh: Mesh) -> None:
    one, two = json.dumps(event("r1")).encode(), json.dumps(event("r2")).encode()
    post(mesh, one, headers(one, "r"))
    answer = post(mesh, two, headers(two, "r"))
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook_replayed")


def test_a_secret_that_ingest_was_not_given_is_no_fault_of_the_sender(mesh: Mesh) -> None:
    answer = until(lambda: post(mesh, b"[]", headers(b"[]", "u"), "unset"))
    until(lambda: post(mesh, b"[]", headers(b"[]", "u"), "unset").json()["code"] == "webhook_secret_missing")
    assert answer.status_code == 503


def test_a_signed_delivery_comes_through_the_gateway_coded_too(mesh: Mesh) -> None:
    body = json.dumps(event("g1")).encode()
    more = {"Content-Type": "application/json", "Content-Encoding": "zstd", **headers(body, "g")}
    path = "/v1/sources/hooked/events"
    answer = mesh.as_("operator").post(path, content=zstd.compress(body), headers=more)
    assert (answer.status_code, answer.json()["published"]) == (200, 1)
    assert mesh.as_("operator").post(path, content=body).status_code == 401
