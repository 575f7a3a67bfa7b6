"""Connections that stay open, and another Kafka cluster: cut and resumed where they stood."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from websockets.asyncio.server import ServerConnection, serve

from libs.common.catalog import Source
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors import CONNECTORS, Desk
from services.ingest.handlers.connectors.auth import Credentials
from tests.ingests import settings
from tests.mesh import Mesh, until


def source(**pull: Any) -> Source:
    fields = [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]
    return Source.model_validate(
        {
            "id": "streamed", "title": "Streamed", "owner": "fleet", "event_id": "id", "event_time": "at",
            "fields": fields, "pull": pull,
        }
    )  # fmt: skip


async def taken(definition: Source, standing: Standing, least: int) -> list[Any]:
    """So many records at least, or what there was until the other side ended it; then the connection is cut."""
    assert definition.pull is not None
    found: list[Any] = []
    auth = Credentials(getattr(definition.pull, "auth", None), settings().secrets)
    async with httpx.AsyncClient(trust_env=False, auth=auth) as client:
        desk = Desk(settings=settings(), pool=cast(Any, None), http=client)
        pages: AsyncIterator[Page] = CONNECTORS[definition.pull.kind](desk, definition, standing)
        async with asyncio.timeout(30):
            async for page in pages:
                found += [json.loads(record) for record in page.records]
                standing.settle(page, ["published"] * len(page.records), ids=True)
                if len(found) >= least:
                    await cast(Any, pages).aclose()
                    break
    return [each["id"] for each in found]


async def test_server_sent_events_are_resumed_by_their_last_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEXTANT_SECRET_FEED", "s3cret")
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        asked.append(head)
        start = int(head.split("last-event-id: n°")[1].split("\r\n")[0]) + 1 if "last-event-id" in head else 0
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n"
        )
        for number in range(start, start + 3):
            writer.write(f'event: ship\nid: n°{number}\ndata: {{"id":\ndata: "s{number}"}}\n\n'.encode())
            writer.write(b"event: other\ndata: {}\n\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    definition = source(kind="sse", url=url, event="ship", auth={"kind": "bearer", "secret": "FEED"})
    standing = Standing()
    async with server:
        assert await taken(definition, standing, 99) == ["s0", "s1", "s2"]
        assert await taken(definition, standing, 99) == ["s3", "s4", "s5"]
    assert standing.cursor == "n°5"
    assert "authorization: bearer s3cret" in asked[0]


async def test_a_websocket_is_asked_for_what_follows_and_says_what_it_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEXTANT_SECRET_FEED", "s3cret")
    said: list[tuple[str, str]] = []

    async def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.headers["X-API-Key"] == "s3cret"
        said.append((connection.request.path, str(await connection.recv())))
        start = int(connection.request.path.partition("after=")[2] or -1) + 1
        for number in range(start, start + 4):
            await connection.send(json.dumps({"id": f"w{number}", "n": number}))
        await connection.wait_closed()

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        definition = source(
            kind="websocket", url=f"ws://127.0.0.1:{port}/feed?x=1", say=['{"from": "{cursor}"}'],
            cursor_parameter="after", cursor_field="n", auth={"kind": "header", "secret": "FEED"},
        )  # fmt: skip
        standing = Standing()
        assert await taken(definition, standing, 4) == ["w0", "w1", "w2", "w3"]
        assert await taken(definition, standing, 4) == ["w4", "w5", "w6", "w7"]
    assert said == [("/feed?x=1", '{"from": ""}'), ("/feed?x=1&after=3", '{"from": "3"}')]


async def test_a_websocket_that_is_silent_for_too_long_is_left() -> None:
    async with serve(lambda connection: connection.wait_closed(), "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(TimeoutError):
            await taken(source(kind="websocket", url=f"ws://127.0.0.1:{port}", silence="1s"), Standing(), 1)


async def made(kafka: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def test_another_cluster_is_read_on_from_its_offsets(servers: dict[str, str], namespace: str) -> None:
    kafka, topic = servers["SEXTANT_KAFKA"], f"{namespace}other"
    await made(kafka, topic, 2)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:

        async def send(*numbers: int) -> None:
            for number in numbers:
                value = json.dumps({"id": f"k{number}"}).encode()
                await producer.send_and_wait(topic, value, partition=number % 2, headers=[("h", b"x")])
            await producer.send_and_wait(topic, None, key=b"tombstone", partition=0)

        await send(*range(6))
        definition, standing = source(kind="kafka", servers=kafka, topic=topic), Standing()
        assert sorted(await taken(definition, standing, 6)) == [f"k{number}" for number in range(6)]
        await send(6, 7)
        restarted = Standing.of(standing.cursor, standing.state())
        assert sorted(await taken(definition, restarted, 2)) == ["k6", "k7"]
        only_new = Standing()
        latest = source(kind="kafka", servers=kafka, topic=topic, start="latest")
        await taken(latest, only_new, 0)
        await send(8)
        assert await taken(latest, only_new, 1) == ["k8"]


async def test_another_cluster_lands_once_through_the_mesh_and_its_junk_among_the_dead_letters(
    mesh: Mesh,
) -> None:
    kafka, topic = mesh.settings.kafka, f"{mesh.settings.prefix}another.clusters"
    await made(kafka, topic, 1)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(40):
            record = {"id": f"k{number % 30}", "at": "2026-11-24T10:00:00Z"}
            await producer.send_and_wait(topic, json.dumps(record).encode())
        await producer.send_and_wait(topic, b"junk")
    definition = source(kind="kafka", servers=kafka, topic=topic, every="1s").model_dump(mode="json")
    mesh.define({**definition, "id": "clustered", "key": ["id"]})
    count = "SELECT count(*), count(DISTINCT event_id) FROM read.events WHERE source = 'clustered'"
    letters = "SELECT count(*) FROM read.dead_letters WHERE source = 'clustered'"
    assert await asyncio.to_thread(until, lambda: mesh.query(count) == [(30, 30)])
    assert await asyncio.to_thread(until, lambda: mesh.query(letters) == [(1,)])
    state = mesh.service("ingest").get("/v1/sources/clustered").json()["pull"]
    assert (state["kind"], sum(json.loads(state["cursor"]).values())) == ("kafka", 41)
