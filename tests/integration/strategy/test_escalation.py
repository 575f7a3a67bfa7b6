"""A sustained signal is escalated to a webhook until somebody acknowledges it; decisions keep what was seen."""

from collections.abc import Generator

import pytest

from tests.backing.webhook import Webhook, webhook
from tests.mesh import Mesh, until
from tests.signals import publish, signal


@pytest.fixture
def receiver() -> Generator[Webhook]:
    with webhook() as found:
        yield found


def define(mesh: Mesh, name: str, url: str, second: str) -> None:
    steps = [
        {"after": "0s", "to": "duty", "via": "webhook", "webhook": url},
        {"after": second, "to": "head", "via": "webhook", "webhook": url},
    ]
    mesh.define(
        {"kind": "team", "id": name, "title": "On call", "department": "operations", "escalation": steps},
        {
            "kind": "source", "id": name, "title": "S", "owner": name, "event_id": "id", "event_time": "at",
            "key": ["id"], "partitions": 1,
            "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
        },
        {
            "kind": "kpi", "id": name, "title": "K", "owner": name, "source": name, "value": "count(*)", "by": ["id"],
            "window": {"tumbling": "1m"}, "signals": [{"id": "high", "threshold": {"above": 1}}],
        },
    )  # fmt: skip


async def test_nobody_is_told_of_an_undecided_signal_and_both_steps_of_a_sustained_one(
    mesh: Mesh, receiver: Webhook
) -> None:
    define(mesh, "oncall-a", receiver.url, "1s")
    first = signal("oncall-a")
    await publish(mesh, first)
    await publish(mesh, first.model_copy(update={"change": "updated", "verdict": "sustained", "windows": 3}))
    until(lambda: len(receiver.calls) == 2)
    assert [body["to"] for _, body in receiver.calls] == ["duty", "head"]
    assert len({key for key, _ in receiver.calls}) == 2
    stamps = mesh.query("SELECT notified_at IS NOT NULL, verdict FROM read.loop WHERE signal = %s", first.id)
    assert stamps == [(True, "sustained")]


async def test_acknowledging_stops_the_escalation(mesh: Mesh, receiver: Webhook) -> None:
    define(mesh, "oncall-b", receiver.url, "1h")
    sustained = signal("oncall-b", verdict="sustained")
    await publish(mesh, sustained)
    until(lambda: len(receiver.calls) == 1)
    strategy = mesh.service("strategy", "lena")
    answer = strategy.post(f"/v1/signals/{sustained.id}/acknowledge", json={"note": "mine"}).json()
    assert answer["repeated"] is False
    state = mesh.query(
        "SELECT state, next_at, acknowledged_by FROM read.escalations WHERE signal = %s", sustained.id
    )
    assert state == [("acknowledged", None, "test")] or state == [("acknowledged", None, "lena")]
    assert strategy.post(f"/v1/signals/{sustained.id}/acknowledge", json={}).json()["repeated"] is True


async def test_a_decision_keeps_the_hash_of_its_evidence_and_refuses_another(mesh: Mesh) -> None:
    order = {
        "title": "Hold departures", "choice": "hold", "as_of": "2026-11-24T10:00:00Z",
        "evidence": {"b": 1, "a": [1.5, None, "é"]},
    }  # fmt: skip
    strategy = mesh.service("strategy")
    made = strategy.post("/v1/decisions", json=order).json()
    again = strategy.post("/v1/decisions", json=order | {"evidence": {"a": [1.5, None, "é"], "b": 1}}).json()
    assert made["evidence_hash"] == again["evidence_hash"]
    refused = strategy.post("/v1/decisions", json=order | {"evidence_hash": "0" * 64})
    assert (refused.status_code, refused.json()["code"]) == (422, "evidence_mismatch")


async def test_a_closed_signal_after_a_decision_shows_its_effect(mesh: Mesh) -> None:
    opened = signal("on_time_departures")
    await publish(mesh, opened)
    until(lambda: mesh.query("SELECT 1 FROM read.loop WHERE signal = %s", opened.id))
    order = {
        "signal": opened.id, "title": "t", "choice": "c", "as_of": "2026-11-24T10:00:00Z", "evidence": {},
    }  # fmt: skip
    assert mesh.service("strategy").post("/v1/decisions", json=order).status_code == 201
    await publish(mesh, opened.model_copy(update={"change": "closed", "verdict": "transient"}))
    query = (
        "SELECT decided_at <= effect_seen_at FROM read.loop WHERE signal = %s AND effect_seen_at IS NOT NULL"
    )
    assert until(lambda: mesh.query(query, opened.id)) == [(True,)]
