"""Streams: whatever happens to the connection, every number is seen once and in order."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.listener import Frame, hear, say, sse, subscribe, websocket
from tests.mesh import Mesh, until
from tests.signals import publish, publish_all, signal

CUTS = 100
SIGNALS = 3_000


@pytest.fixture(scope="module", autouse=True)
def buoys(mesh: Mesh) -> None:
    mesh.define(
        {
            "kind": "source", "id": "buoy", "title": "Buoy", "owner": "fleet", "event_id": "id", "event_time": "at",
            "key": ["id"], "partitions": 1,
            "fields": [
                {"name": "id", "type": "string", "classification": "public"}, {"name": "at", "type": "timestamp"}
            ],
        },
        {
            "kind": "kpi", "id": "buoys", "title": "Buoys", "owner": "fleet", "source": "buoy", "value": "count(*)",
            "by": ["id"], "window": {"tumbling": "1m"},
        },
    )  # fmt: skip
    until(lambda: mesh.as_("lena").get("/v1/kpis/buoys").status_code == 200)


class Sending:
    """Signals that come in bursts from `begin` on, while a test listens; `ids` in order."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.signals = [signal("buoys", series={"id": str(n)}, series_key=f"id={n}") for n in range(SIGNALS)]
        self.ids = [each.id for each in self.signals]
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.task = self.task or asyncio.create_task(self._send())

    async def _send(self) -> None:
        bursts, sent = random.Random(7), 0
        while sent < SIGNALS:
            size = bursts.randrange(1, 120)
            await publish_all(self.mesh, self.signals[sent : sent + size])
            sent += size


@pytest.fixture
async def sending(mesh: Mesh) -> AsyncGenerator[Sending]:
    sending = Sending(mesh)
    yield sending
    if sending.task is not None:
        await sending.task


class Seen:
    """What a client took in, over all its connections."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ids: list[str] = []
        self.cursor: str | None = None

    def take(self, frame: Frame) -> None:
        self.numbers.append(frame["seq"])
        self.ids.append(frame["data"]["id"])
        self.cursor = frame["cursor"]
        assert frame["conflated"] == 0

    def check(self, sent: list[str]) -> None:
        assert self.numbers == list(range(1, len(self.numbers) + 1))
        wanted = set(sent)
        assert [id for id in self.ids if id in wanted] == sent


@pytest.mark.slow
async def test_a_websocket_cut_and_resumed_a_hundred_times_sees_every_number_once(
    mesh: Mesh, sending: Sending
) -> None:
    cuts, seen, token = random.Random(1), Seen(), mesh.token("lena")
    for number in range(CUTS + 1):
        async with websocket(mesh, "lena", token=token) as socket:
            answer = await subscribe(socket, "signals", seen.cursor)
            assert (answer["type"], answer["resumed"]) == ("subscribed", number > 0)
            assert answer["seq"] == len(seen.numbers)
            seen.cursor = answer["cursor"]
            sending.begin()
            left = cuts.randrange(0, 40) if number < CUTS else SIGNALS
            while left and seen.ids[-1:] != sending.ids[-1:]:
                seen.take(await hear(socket))
                left -= 1
    seen.check(sending.ids)


@pytest.mark.slow
async def test_server_sent_events_cut_and_resumed_a_hundred_times_show_every_number_once(
    mesh: Mesh, sending: Sending
) -> None:
    cuts, seen, token = random.Random(2), Seen(), mesh.token("lena")
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        for number in range(CUTS + 1):
            async with sse(client, mesh, "signals", token, seen.cursor) as events:
                left = cuts.randrange(0, 40) if number < CUTS else SIGNALS
                async for id, event, frame in events:
                    if event == "subscribed":
                        seen.cursor = seen.cursor or id
                        sending.begin()
                    else:
                        assert (event, id) == ("signal", frame["cursor"])
                        seen.take(frame)
                    left -= 1
                    if left < 0 or seen.ids[-1:] == sending.ids[-1:]:
                        break
    seen.check(sending.ids)


async def test_a_stream_goes_on_where_it_was_after_the_gateway_was_killed(mesh: Mesh) -> None:
    first, second = signal("buoys"), signal("buoys")
    token = mesh.token("lena")
    async with websocket(mesh, "lena", token=token) as socket:
        await subscribe(socket, "signals")
        await publish(mesh, first)
        frame = await hear(socket)
        while frame["data"]["id"] != first.id:
            frame = await hear(socket)
    mesh.kill("gateway")
    await publish(mesh, second)
    until(lambda: mesh.answers("lena", "/v1/me"))
    async with websocket(mesh, "lena", token=token) as socket:
        answer = await subscribe(socket, "signals", frame["cursor"])
        assert (answer["type"], answer["seq"]) == ("subscribed", frame["seq"])
        following = await hear(socket)
        assert (following["seq"], following["data"]["id"]) == (frame["seq"] + 1, second.id)


async def test_a_rest_answer_leads_into_its_stream_without_a_hole(mesh: Mesh) -> None:
    newest = {"detected_at": "2026-11-25T10:00:00Z"}
    before, after = signal("buoys", **newest), signal("buoys", **newest)
    await publish(mesh, before)
    page = mesh.as_("lena").get("/v1/signals", params={"kpi": "buoys"}).json()
    await publish(mesh, after)
    known = {item["id"] for item in page["items"]}
    async with websocket(mesh, "lena") as socket:
        assert (await subscribe(socket, "signals", page["stream"]["cursor"]))["type"] == "subscribed"
        while not {before.id, after.id} <= known:
            known.add((await hear(socket))["data"]["id"])


@pytest.mark.parametrize("cursor", ["x", "AAAA", ""])
async def test_a_cursor_that_was_not_made_here_is_refused_whole(mesh: Mesh, cursor: str) -> None:
    async with websocket(mesh, "lena") as socket:
        answer = await subscribe(socket, "signals", cursor)
        assert answer == {"type": "gap", "channel": "signals", "reason": "cursor", "recover": "snapshot"}


async def test_a_cursor_of_another_channel_is_refused(mesh: Mesh) -> None:
    async with websocket(mesh, "lena") as socket:
        cursor = (await subscribe(socket, "signals"))["cursor"]
        assert (await subscribe(socket, "health", cursor))["reason"] == "cursor"


async def test_a_slow_wish_is_told_how_much_was_merged_and_numbers_stay_whole(mesh: Mesh) -> None:
    one = signal("buoys")
    changes = [one.model_copy(update={"windows": n, "change": "updated"}) for n in range(1, 201)]
    async with websocket(mesh, "lena") as socket:
        await subscribe(socket, "signals", max_rate=2)
        await publish(mesh, *changes)
        frames: list[Frame] = []
        while not frames or frames[-1]["data"]["windows"] < 200:
            frame = await hear(socket)
            if frame["data"]["id"] == one.id:
                frames.append(frame)
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
    assert sum(1 + frame["conflated"] for frame in frames) == 200
    assert len(frames) < 20


@pytest.mark.parametrize(
    "first",
    [{"type": "ping"}, {"type": "hello", "token": "x"}, {"type": "hello"}, {"nonsense": 1}, [1], "text"],
)
async def test_who_does_not_say_who_it_is_hears_why_and_is_let_go(mesh: Mesh, first: Any) -> None:
    url = mesh.stack.gateway.replace("http", "ws", 1) + "/v1/stream"
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps(first))
        assert json.loads(await socket.recv())["code"] == "unauthenticated"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


async def test_a_wrong_command_is_answered_and_the_connection_stays(mesh: Mesh) -> None:
    async with websocket(mesh, "lena") as socket:
        await say(socket, type="subscribe", channel=5)
        assert (await hear(socket))["code"] == "invalid"
        assert (await subscribe(socket, "observations/nonsense"))["code"] == "not_found"
        assert (await subscribe(socket, "signals"))["type"] == "subscribed"
        assert (await subscribe(socket, "signals"))["code"] == "already_subscribed"


async def test_a_ticket_opens_one_stream_once(mesh: Mesh) -> None:
    ticket = mesh.as_("vic").post("/v1/stream/tickets").json()["ticket"]
    url = f"{mesh.stack.gateway}/v1/stream/signals"
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        async with client.stream("GET", url, params={"ticket": ticket}) as answer:
            assert answer.status_code == 200
        again = await client.get(url, params={"ticket": ticket})
    assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")
