"""Roles, departments, and what happens to open streams when a policy changes."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.listener import hear, subscribe, websocket
from tests.mesh import Mesh, until
from tests.signals import publish, signal

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "strongroom", "title": "Strongroom", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 1,
    "fields": [
        {"name": "id", "type": "string", "classification": "confidential"}, {"name": "at", "type": "timestamp"}
    ],
}  # fmt: skip
KPI: dict[str, Any] = {
    "kind": "kpi", "id": "vaults", "title": "Vaults", "owner": "fleet", "source": "strongroom", "value": "count(*)",
    "by": ["id"], "window": {"tumbling": "1m"}, "departments": ["operations"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def vault(mesh: Mesh) -> None:
    mesh.define(SOURCE, KPI)
    until(lambda: mesh.as_("lena").get("/v1/kpis/vaults").status_code == 200)
    until(lambda: mesh.as_("vic").get("/v1/kpis/vaults").status_code == 404)


@pytest.fixture
def masks(mesh: Mesh) -> Generator[dict[str, Any]]:
    """The policy of masks in force; put back afterwards."""
    items = mesh.as_("stew").get("/v1/catalog", params={"kind": "policy"}).json()["items"]
    (policy,) = [item["definition"] for item in items if item["id"] == "masks"]
    yield policy
    mesh.define(policy)


async def test_a_kpi_of_one_department_does_not_exist_for_another(mesh: Mesh) -> None:
    opened = signal("vaults")
    await publish(mesh, opened)
    until(lambda: mesh.query("SELECT 1 FROM read.signals WHERE id = %s", opened.id))
    for name, seen in (("lena", True), ("ana", True), ("vic", False), ("stew", True)):
        ask = mesh.as_(name).get
        assert ("vaults" in {item["id"] for item in ask("/v1/kpis").json()["items"]}) is seen
        assert (opened.id in ask("/v1/signals").text) is seen
        for path in (
            "/v1/kpis/vaults", "/v1/kpis/vaults/observations", f"/v1/signals/{opened.id}",
            f"/v1/explain/signals/{opened.id}", "/v1/signals?kpi=vaults",
        ):  # fmt: skip
            assert ask(path).status_code == (200 if seen else 404), (name, path)


async def test_a_stream_of_another_department_is_no_stream(mesh: Mesh) -> None:
    async with websocket(mesh, "vic") as socket:
        answer = await subscribe(socket, "observations/vaults")
        assert (answer["type"], answer["code"]) == ("error", "not_found")
    refused = mesh.as_("vic").get("/v1/stream/observations/vaults")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


async def test_what_is_not_shown_takes_no_number(mesh: Mesh) -> None:
    async with websocket(mesh, "vic") as socket:
        await subscribe(socket, "signals")
        visible = [signal("on_time_departures", series={}, series_key="") for _ in range(3)]
        await publish(mesh, visible[0], signal("vaults"), visible[1], signal("vaults"), visible[2])
        frames = [await hear(socket) for _ in visible]
    assert [frame["data"]["id"] for frame in frames] == [each.id for each in visible]
    assert [frame["seq"] for frame in frames] == [1, 2, 3]


async def test_an_open_stream_ends_when_its_kpi_is_taken_from_the_listener(mesh: Mesh) -> None:
    async with websocket(mesh, "lena") as socket:
        assert (await subscribe(socket, "observations/vaults"))["type"] == "subscribed"
        mesh.define(KPI | {"departments": ["governance"]})
        answer = await hear(socket)
        assert answer == {"type": "unsubscribed", "channel": "observations/vaults", "code": "forbidden"}


async def test_a_changed_mask_holds_for_the_next_frame_of_an_open_stream(
    mesh: Mesh, masks: dict[str, Any]
) -> None:
    async with websocket(mesh, "lena") as socket:
        await subscribe(socket, "signals")
        await publish(mesh, signal("vaults"))
        assert (await hear(socket))["data"]["series_key"].startswith("id=~")
        rules = [
            {**rule, "roles": {**rule["roles"], "leader": "clear"}}
            if rule["classification"] == "confidential"
            else rule
            for rule in masks["masks"]
        ]
        mesh.define({**masks, "masks": rules})
        until(lambda: dict(mesh.as_("lena").get("/v1/me").json()["masks"])["confidential"] == "clear")
        await publish(mesh, signal("vaults"))
        assert (await hear(socket))["data"]["series_key"] == "id=x"


def test_the_same_write_with_the_same_key_is_done_once(mesh: Mesh) -> None:
    body = {"kpi": "vaults", "at": "2026-11-24T10:00:00Z", "text": "once"}
    headers = {"Idempotency-Key": "a-key-of-this-test"}
    post = mesh.as_("lena").post
    first, again = (post("/v1/annotations", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert mesh.query("SELECT count(*) FROM read.annotations WHERE text = 'once'") == [(1,)]
    other = post("/v1/annotations", json=body | {"text": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_reuse")
    by_another = mesh.as_("ana").post("/v1/annotations", json=body | {"text": "mine"}, headers=headers)
    assert by_another.status_code == 201


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status", "code"),
    [
        ("lena", "GET", "/v1/nothing", None, 404, "not_found"),
        ("lena", "DELETE", "/v1/kpis", None, 405, "method_not_allowed"),
        ("lena", "GET", "/v1/signals/none", None, 404, "not_found"),
        ("lena", "GET", "/v1/explain/decisions/none", None, 404, "not_found"),
        ("lena", "GET", "/v1/signals?limit=0", None, 422, "invalid"),
        ("lena", "GET", "/v1/signals?page_token=x", None, 422, "bad_page_token"),
        ("lena", "POST", "/v1/annotations", {"kpi": "none", "at": "2026-11-24T10:00:00Z", "text": "x"}, 404, "not_found"),
        ("lena", "POST", "/v1/signals/none/acknowledge", {}, 404, "not_found"),
        ("lena", "POST", "/v1/retention/run", {"dry_run": True}, 403, "forbidden"),
        ("vic", "POST", "/v1/redrives", {"source": "strongroom"}, 403, "forbidden"),
        ("vic", "POST", "/v1/redrives/none/undo", {}, 403, "forbidden"),
        ("operator", "POST", "/v1/redrives/none/undo", {}, 404, "unknown_redrive"),
        ("operator", "POST", "/v1/redrives/none/redo", {}, 422, "invalid"),
        ("ana", "GET", "/v1/audit/verify", None, 403, "forbidden"),
        ("operator", "POST", "/v1/sources/none/events", [], 404, "unknown_source"),
        ("operator", "POST", "/v1/catalog/apply", {"definitions": [{"kind": "kpi"}]}, 422, "inconsistent_catalog"),
        ("operator", "POST", "/v1/sources/%2E%2E/events", [], 404, "not_found"),
        ("operator", "POST", "/v1/sources/a%0Bb/events", [], 404, "unknown_source"),
        ("stew", "POST", "/v1/incidents/x%3Fy=1%23z", {"action": "resolve"}, 404, "unknown_incident"),
        ("stew", "POST", "/v1/incidents/none", {"action": "resolve"}, 404, "unknown_incident"),
    ],
)  # fmt: skip
def test_every_refusal_is_a_problem_with_its_own_code(
    mesh: Mesh, who: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = mesh.as_(who).request(method, path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["title"]


def test_a_page_token_belongs_to_its_asker_and_its_question(mesh: Mesh) -> None:
    token = mesh.as_("lena").get("/v1/catalog", params={"limit": 1}).json().get("next_page_token")
    if token is None:
        token = mesh.as_("stew").get("/v1/audit", params={"limit": 1}).json()["next_page_token"]
        other = mesh.as_("stew").get("/v1/signals", params={"limit": 1, "page_token": token})
    else:
        other = mesh.as_("ana").get("/v1/catalog", params={"limit": 1, "page_token": token})
    assert (other.status_code, other.json()["code"]) == (422, "bad_page_token")
