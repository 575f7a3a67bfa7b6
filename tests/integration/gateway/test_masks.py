"""What a person may not see in clear is in no byte that the gateway sends to that person, on any channel."""

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from services.gateway.api import create_app
from tests.listener import hear, sse, subscribe, websocket
from tests.mesh import Mesh, until

TAIL, PILOT, ILLNESS = "N7 SECRET/42", "Ada Verschwiegen", "hypermetropia"
SECRETS = (TAIL, PILOT, ILLNESS)
FIELDS = [
    {"name": "id", "type": "string", "classification": "internal"},
    {"name": "at", "type": "timestamp", "classification": "public"},
    {"name": "tail", "type": "string", "classification": "confidential"},
    {"name": "pilot", "type": "string", "classification": "personal"},
    {"name": "illness", "type": "string", "nullable": True, "classification": "sensitive"},
    {"name": "minutes", "type": "int", "classification": "public"},
]
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "hangar", "title": "Hangar", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["tail"], "partitions": 1, "on_malformed": "dead_letter", "fields": FIELDS,
}  # fmt: skip
RULE: dict[str, Any] = {
    "kind": "rule", "id": "hangar_pilot_form", "title": "Form", "owner": "fleet", "source": "hangar",
    "severity": "warning", "check": {"pattern": {"field": "pilot", "matches": "^[a-z]+$"}},
    "incident": {"open_above": 0.1, "over": "1h", "min_events": 1},
}  # fmt: skip


def kpi(id: str, by: list[str], **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "fleet", "source": "hangar", "value": "sum(minutes)",
        "by": by, "window": {"tumbling": "1h"}, "signals": [{"id": "long", "threshold": {"above": 1}}], **more,
    }  # fmt: skip


KPIS = (
    kpi("hangar_time", ["tail"], where=f"tail <> 'x' and tail <> '{TAIL}x'"),
    kpi("hangar_pilots", ["pilot", "tail"]),
    kpi("hangar_all", []),
)


@dataclass
class Received:
    """Every byte that one person got, by where it came from."""

    parts: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, content: bytes | str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.parts[where] = self.parts.get(where, b"") + b"\n" + content

    def leaks(self) -> list[str]:
        """Where any secret stands, in any form in which it could be written."""
        return [
            f"{where}: {form!r}"
            for where, content in self.parts.items()
            for secret in SECRETS
            for form in forms(secret)
            if form.lower() in content.lower()
        ]


def forms(secret: str) -> set[bytes]:
    """The text itself, its words, percent-encoded, escaped for JSON, and in base64 at any of the three offsets."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote(secret, safe=" "), json.dumps(secret)[1:-1]}
    found = {text.encode() for text in texts}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret.encode())
        start, end = (0, 2, 3)[offset], -4 if (offset + len(secret)) % 3 else None
        found.add(coded[start + (1 if offset else 0) : end])
    return found


@pytest.fixture(scope="module")
def signal(mesh: Mesh) -> str:
    """Events with secrets, what came of them, and a decision that names one; the id of a signal on aircraft."""
    mesh.define(SOURCE, RULE, *KPIS)
    operator = mesh.as_("operator")
    until(lambda: send(mesh, []).status_code == 200)
    good = {"tail": TAIL, "pilot": PILOT, "illness": ILLNESS, "minutes": 90}
    events = [{"id": f"h{n}", "at": f"2026-11-20T0{n}:10:00Z", **good} for n in range(8)]
    events += [
        {"id": "bad1", "at": "2026-11-20T01:00:00Z", **good, "minutes": f"many for {PILOT}"},
        {"id": "bad2", "at": "2026-11-20T01:00:00Z", **good, PILOT: 1, "remark": ILLNESS},
        {"id": TAIL, "at": "never", **good},
    ]
    assert send(mesh, events).status_code in (200, 207)
    operator.post(
        "/v1/sources/hangar/events", content=f"[{TAIL}, {PILOT}", headers={"content-type": "application/json"}
    )
    close_windows(mesh, "2026-11-21T00:00:00Z")
    query = "SELECT id FROM read.signals WHERE kpi = 'hangar_time' ORDER BY id LIMIT 1"
    ((id,),) = until(lambda: mesh.query(query))
    until(lambda: mesh.query("SELECT 1 FROM read.signals WHERE kpi = 'hangar_pilots'"))
    until(lambda: mesh.query("SELECT 1 FROM read.dead_letters WHERE source = 'hangar' OFFSET 2"))
    until(lambda: mesh.query("SELECT 1 FROM read.incidents WHERE source = 'hangar'"))
    until(lambda: mesh.query("SELECT 1 FROM read.loop WHERE signal = %s", id))
    words = {
        "title": f"Ground {TAIL}",
        "choice": f"{TAIL} stays",
        "rationale": f"because of {TAIL}",
        "expected": "-",
    }
    assert mesh.as_("lena").post("/v1/decisions", json={"signal": id, **words}).status_code == 201
    note = {
        "kpi": "hangar_time",
        "series_key": masked_key(mesh, "lena"),
        "at": "2026-11-20T01:00:00Z",
        "text": TAIL,
    }
    assert mesh.as_("lena").post("/v1/annotations", json=note).status_code == 201
    assert (
        mesh.as_("lena").post(f"/v1/signals/{id}/acknowledge", json={"note": f"{TAIL}!"}).status_code == 200
    )
    return id


def send(mesh: Mesh, events: list[dict[str, Any]]) -> httpx.Response:
    return mesh.as_("operator").post("/v1/sources/hangar/events", json=events)


def close_windows(mesh: Mesh, through: str) -> None:
    body = {"through": through}
    assert mesh.as_("operator").post("/v1/sources/hangar/watermark", json=body).status_code == 200


def masked_key(mesh: Mesh, name: str) -> str:
    """The series of aircraft as a person knows it."""
    page = until(lambda: mesh.as_(name).get("/v1/kpis/hangar_time/observations").json()["items"])
    return str(page[0]["series_key"])


def paths(mesh: Mesh, name: str, signal: str) -> Iterator[str]:
    """Every GET of the API, with every thing that these tests made in it."""
    ((decision,),) = mesh.query("SELECT id FROM read.decisions WHERE signal = %s", signal)
    values: dict[str, list[str]] = {
        "source": ["hangar"], "kpi": [each["id"] for each in KPIS], "window_start": ["2026-11-20T01:00:00Z"],
        "series_key": [quote(masked_key(mesh, name), safe=""), "-"],
        "signal": [row[0] for row in mesh.query("SELECT id FROM read.signals WHERE kpi LIKE 'hangar%%'")],
        "decision": [decision], "kind": ["kpi", "source", "rule"],
        "id": ["hangar", "hangar_time", "hangar_pilots", "hangar_pilot_form"],
    }  # fmt: skip
    for path, methods in create_app().openapi()["paths"].items():
        if "get" in methods and path != "/v1/stream/{channel}":
            found = [path]
            for parameter, given in values.items():
                found = [
                    each.replace(f"{{{parameter}}}", value)
                    for each in found
                    for value in (given if f"{{{parameter}}}" in each else [""])
                ]
            yield from found
    yield from (
        "/v1/kpis/hangar_time/observations?revisions=all",
        "/v1/signals?kpi=hangar_pilots",
        "/metrics",
    )
    yield from (
        "/v1/dead-letters?source=hangar",
        "/v1/dead-letters/groups?source=hangar",
        "/v1/annotations?kpi=hangar_time",
        f"/v1/decisions?signal={signal}",
    )


def crawl(mesh: Mesh, name: str, signal: str) -> tuple[Received, dict[str, int]]:
    received, statuses = Received(), {}
    for path in paths(mesh, name, signal):
        answer = mesh.as_(name).get(path)
        statuses[path] = answer.status_code
        received.add(path, answer.content)
        received.add(f"headers of {path}", str(answer.headers))
    return received, statuses


@pytest.mark.parametrize("name", ["vic", "ana", "lena", "operator"])
def test_no_answer_of_the_api_holds_a_value_that_is_masked_for_the_asker(
    mesh: Mesh, signal: str, name: str
) -> None:
    received, statuses = crawl(mesh, name, signal)
    assert received.leaks() == []
    assert {status for status in statuses.values()} <= {200, 403, 404}
    for path in (
        "/v1/kpis/hangar_time/observations",
        f"/v1/signals/{signal}",
        "/v1/dead-letters",
        "/v1/decisions",
    ):
        assert statuses[path] == 200
    explained = [path for path in statuses if path.startswith("/v1/explain/observations/hangar_time")]
    assert 200 in {statuses[path] for path in explained}


def test_the_steward_sees_the_same_values_in_clear_and_is_on_record(mesh: Mesh, signal: str) -> None:
    """The test of the test: what is looked for is there, on every kind of answer."""
    received, _ = crawl(mesh, "stew", signal)
    leaking = {leak.split(":")[0] for leak in received.leaks()}
    for path in (
        "/v1/signals",
        "/v1/dead-letters",
        "/v1/decisions",
        "/v1/annotations",
        f"/v1/explain/signals/{signal}",
    ):
        assert path in leaking, path
    assert any(path.startswith("/v1/explain/observations/hangar_time") for path in leaking)
    reads = (
        "SELECT 1 FROM read.audit WHERE actor = 'stew' AND action = %s AND 'sensitive' = ANY(classifications)"
    )
    assert until(lambda: mesh.query(reads, "read dead letters"))


async def listen(
    mesh: Mesh, name: str, channels: list[str], cursors: dict[str, str], marks: set[str]
) -> Received:
    """What comes on the channels from the cursors on, by both doors, until every mark was met."""
    received, token = Received(), mesh.token(name)

    async with websocket(mesh, name, token=token) as socket:
        for channel in channels:
            await subscribe(socket, channel, cursors.get(channel))
        waiting = set(marks)
        while waiting:
            text = json.dumps(await hear(socket), ensure_ascii=False)
            received.add("WebSocket", text)
            waiting -= {mark for mark in waiting if mark in text}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        for channel in cursors:
            async with sse(client, mesh, channel, token, cursors[channel]) as events:
                async for id, event, frame in events:
                    received.add(f"SSE {channel}", f"{id} {event} {json.dumps(frame, ensure_ascii=False)}")
                    if event != "subscribed":
                        break
    return received


@pytest.mark.parametrize(("name", "clear"), [("vic", False), ("lena", False), ("stew", True)])
async def test_no_frame_of_a_stream_holds_a_value_that_is_masked_for_the_listener(
    mesh: Mesh, signal: str, name: str, clear: bool
) -> None:
    channels = ["signals", "actions", "incidents", "health", *(f"observations/{each['id']}" for each in KPIS)]
    async with websocket(mesh, name) as socket:
        cursors = {channel: (await subscribe(socket, channel))["cursor"] for channel in channels}
    day = {"vic": "22", "lena": "23", "stew": "24"}[name]
    event = {"tail": TAIL, "pilot": PILOT, "illness": ILLNESS, "minutes": 90}
    events = [{"id": f"{name}{n}", "at": f"2026-11-{day}T0{n}:10:00Z", **event} for n in range(4)]
    await asyncio.to_thread(send, mesh, events)
    await asyncio.to_thread(close_windows, mesh, f"2026-11-{day}T12:00:00Z")
    note = {
        "kpi": "hangar_time",
        "series_key": masked_key(mesh, "ana"),
        "at": "2026-11-20T01:00:00Z",
        "text": TAIL,
    }
    await asyncio.to_thread(mesh.as_("ana").post, "/v1/annotations", json=note)
    await asyncio.to_thread(mesh.as_("ana").post, f"/v1/signals/{signal}/acknowledge", json={"note": TAIL})
    marks = {
        '"type": "signal"',
        f"2026-11-{day}T03:00:00",
        *(f'"observations/{each["id"]}"' for each in KPIS),
    }
    received = await listen(
        mesh,
        name,
        channels,
        {each: cursors[each] for each in ("signals", "observations/hangar_pilots")},
        marks,
    )
    assert bool(received.leaks()) is clear


def test_a_guess_at_a_clear_value_is_answered_as_nonsense_is(mesh: Mesh, signal: str) -> None:
    ask = mesh.as_("vic").get
    for value in (TAIL, "N0 NONSENSE"):
        key = f"tail={quote(value, safe=' ')}"
        listed = ask("/v1/kpis/hangar_time/observations", params={"series": key})
        assert (listed.status_code, listed.json()["items"]) == (200, [])
        path = quote(key, safe="")
        explained = ask(f"/v1/explain/observations/hangar_time/{path}/2026-11-20T01:00:00Z")
        assert (explained.status_code, explained.json()["code"]) == (404, "not_found")


def test_a_pseudonym_is_stable_and_a_redacted_series_still_has_a_name(mesh: Mesh, signal: str) -> None:
    leader = {masked_key(mesh, "lena"), masked_key(mesh, "ana")}
    assert len(leader) == 1
    assert leader.pop().startswith("tail=~")
    viewer = masked_key(mesh, "vic")
    found = (
        mesh.as_("vic").get("/v1/kpis/hangar_time/observations", params={"series": viewer}).json()["items"]
    )
    assert {item["series_key"] for item in found} == {viewer}
