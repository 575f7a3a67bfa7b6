"""Partitions of a source: how events are put on them, what is said about it, and that they can be added to."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from libs.cli.main import app
from libs.common.kafka import partitions_of
from libs.common.migrate import migrate
from tests.ingests import AT, SOURCE, define, running
from tests.mesh import Mesh, until

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
    {"name": "tram", "type": "string", "classification": "personal"}, {"name": "n", "type": "int"},
    {"name": "line", "type": "string", "nullable": True},
]  # fmt: skip
BEGIN = datetime(2026, 11, 24, 10, tzinfo=UTC)


def source(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "source", "id": id, "title": id, "owner": "fleet", "event_id": "id", "event_time": "at",
        "key": ["tram"], "partitions": 2, "fields": FIELDS, **more,
    }  # fmt: skip


def event(tram: str, n: int, **more: Any) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=n)).isoformat()
    return {"id": f"{tram}.{n}", "at": at, "tram": tram, "n": n, "line": None, **more}


def post(mesh: Mesh, id: str, events: list[dict[str, Any]]) -> httpx.Response:
    return mesh.service("ingest").post(f"/v1/sources/{id}/events", json=events)


def defined(mesh: Mesh, definition: dict[str, Any]) -> None:
    mesh.define(definition)
    until(lambda: post(mesh, definition["id"], []).status_code == 200)


def stored(mesh: Mesh, id: str, count: int) -> list[tuple[int, str | None, dict[str, Any]]]:
    """Partition, key and data of the events, in the order of their arrival in the archive."""
    query = 'SELECT partition, key, data FROM read.events WHERE source = %s ORDER BY recorded_at, partition, "offset"'
    until(lambda: len(mesh.query(query, id)) == count)
    return mesh.query(query, id)


# --- how events are put on partitions --------------------------------------------------------------------


def test_a_key_by_an_expression_keeps_together_what_it_says_is_one(mesh: Mesh) -> None:
    expression = {"expression": "upper(substring(tram, 1, 1))"}
    defined(mesh, source("spelled", key=expression, partitions=8))
    assert (
        post(mesh, "spelled", [event(tram, 1) for tram in ("a1", "A2", "b1", "B2", "c")]).status_code == 200
    )
    found = stored(mesh, "spelled", 5)
    assert Counter(key for _, key, _ in found) == {"A": 2, "B": 2, "C": 1}
    assert len({(partition, key) for partition, key, _ in found}) == 3


def test_events_without_a_key_go_to_all_partitions_alike_or_to_one_for_a_while(mesh: Mesh) -> None:
    defined(mesh, source("scattered", key="random", partitions=3))
    defined(mesh, source("lumped", key="sticky", partitions=3))
    events = [event("one", n) for n in range(30)]
    for id in ("scattered", "lumped"):
        assert post(mesh, id, events).json()["published"] == 30
        assert post(mesh, id, events).json()["duplicate"] == 30
    scattered, lumped = stored(mesh, "scattered", 30), stored(mesh, "lumped", 30)
    assert Counter(partition for partition, _, _ in scattered) == {0: 10, 1: 10, 2: 10}
    assert len({partition for partition, _, _ in lumped}) == 1
    assert {key for _, key, _ in scattered + lumped} == {None}


def test_what_cannot_be_is_refused_when_it_is_planned(mesh: Mesh) -> None:
    defined(mesh, source("narrow", partitions=3))
    for change, path in (
        ({"partitions": 2}, "partitions"),
        ({"key": {"expression": "nosuch"}}, "key.expression"),
        ({"reference": True, "event_time": None, "key": "random"}, "key"),
    ):
        answer = mesh.service("strategy").post(
            "/v1/catalog/plan", json={"definitions": [source("narrow") | {"partitions": 3} | change]}
        )
        assert path in {each["path"] for each in answer.json()["problems"]}, answer.text


# --- what is said about it -------------------------------------------------------------------------------


def test_a_hot_key_is_reported_with_advice_and_under_the_asker_s_masks(mesh: Mesh) -> None:
    defined(mesh, source("crowded", partitions=4))
    events = [event("jane", n) for n in range(300)] + [event(f"t{n}", n) for n in range(200)]
    assert post(mesh, "crowded", events).json()["published"] == 500
    own = mesh.service("ingest").get("/v1/sources/crowded").json()["partitions"]
    assert (own["records"], own["keys"][0], own["distinct_keys"]) == (500, {"key": "jane", "share": 0.6}, 201)
    assert own["skew"] >= 2.4
    assert sum(each["records"] for each in own["shares"]) == pytest.approx(1)
    assert own["advice"][0].startswith("key jane carries 60% of the records")

    until(lambda: mesh.answers("stew", "/v1/sources/crowded"))  # the gateway hears of a source on its own
    steward = mesh.as_("stew").get("/v1/sources/crowded").json()
    assert steward["partitions"]["keys"][0]["share"] == 0.6
    viewer = mesh.as_("vic").get("/v1/sources/crowded")
    assert "jane" not in viewer.text
    assert "carries 60% of the records" in viewer.json()["partitions"]["advice"][0]

    env = {"SEXTANT_SERVER": mesh.stack.gateway, "SEXTANT_TOKEN": mesh.token("vic")}
    text = CliRunner().invoke(app, ["source", "advise", "crowded"], env=env).output
    assert "partitions: fields by tram" in text
    assert "advice:" in text
    assert "jane" not in text
    lines = mesh.service("ingest").get("/metrics").text.splitlines()
    counted = [
        line for line in lines if line.startswith("sextant_source_records_total{") and '"crowded"' in line
    ]
    assert len(counted) == 4
    assert sum(float(line.rpartition(" ")[2]) for line in counted) == 500


# --- adding partitions -----------------------------------------------------------------------------------


@dataclass
class Sender:
    """Sends the events of its trams in order, each request until it is acknowledged."""

    mesh: Mesh
    trams: list[str]
    stopping: threading.Event
    sent: int = 0
    """Events of each tram that are acknowledged."""
    answers: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        with httpx.Client(base_url=self.mesh.url("ingest"), trust_env=False, timeout=60) as client:
            while not self.stopping.is_set():
                batch = [event(tram, self.sent, line=tram[-1]) for tram in self.trams]
                while not self._push(client, batch):
                    threading.Event().wait(0.05)
                self.sent += 1

    def _push(self, client: httpx.Client, batch: list[dict[str, Any]]) -> bool:
        try:
            answer = client.post("/v1/sources/growing/events", json=batch)
        except httpx.TransportError:
            self.answers["cut"] += 1
            return False
        body = answer.json()
        if answer.status_code != 200:
            assert (answer.status_code, body["retryable"]) == (503, True), answer.text
            self.answers[body["code"]] += 1
            if body["code"] == "repartitioning":
                assert body["scope"] == "source"
                assert "Retry-After" in answer.headers
        return answer.status_code == 200


@contextmanager
def sending(mesh: Mesh) -> Generator[list[Sender]]:
    stopping = threading.Event()
    senders = [Sender(mesh, [f"s{number}t{tram}" for tram in range(8)], stopping) for number in range(3)]
    threads = [threading.Thread(target=each.run) for each in senders]
    for thread in threads:
        thread.start()
    try:
        yield senders
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@contextmanager
def archive_held(mesh: Mesh, id: str) -> Generator[None]:
    """The archive can take nothing of the partitions that there are."""
    with psycopg.connect(mesh.stack.database) as connection:
        held = connection.execute(
            "SELECT partition FROM archive.offsets WHERE topic = %s FOR UPDATE", (f"events.{id}",)
        ).fetchall()
        assert len(held) == 2
        yield


def count(mesh: Mesh, id: str) -> int:
    prefix = mesh.settings.prefix
    return len(asyncio.run(partitions_of(mesh.settings, f"{prefix}events.{id}")))


def waits_for(mesh: Mesh, id: str) -> list[str] | None:
    """None while ingest is not there."""
    try:
        answer = mesh.service("ingest").get(f"/v1/sources/{id}")
    except httpx.TransportError:
        return None
    return answer.json()["partitions"]["waits_for"] if answer.status_code == 200 else None


@pytest.mark.timeout(240)
def test_each_key_keeps_its_order_while_partitions_are_added_and_ingest_is_killed(mesh: Mesh) -> None:
    kpi = {
        "kind": "kpi", "id": "growing_events", "title": "Events", "owner": "fleet", "source": "growing",
        "value": "count(*)", "by": ["line"], "measures": {"last": "max(n)"}, "window": {"tumbling": "10s"},
        "lateness": "1d",
    }  # fmt: skip
    before = source("growing", watermark={"idle": "2s"})
    defined(mesh, before)
    mesh.define(kpi)

    def went_on(senders: list[Sender], by: int) -> None:
        marks = [each.sent for each in senders]
        until(lambda: all(each.sent >= mark + by for each, mark in zip(senders, marks, strict=True)))

    with sending(mesh) as senders:
        went_on(senders, 20)
        until(lambda: mesh.query("SELECT 1 FROM read.events WHERE source = 'growing' LIMIT 1"))
        with archive_held(mesh, "growing"):
            went_on(senders, 5)
            mesh.define(before | {"partitions": 5})
            until(lambda: waits_for(mesh, "growing") == ["archive"])
            until(lambda: all(each.answers["repartitioning"] for each in senders))
            mesh.kill("ingest")
            until(lambda: waits_for(mesh, "growing") == ["archive"])
            assert count(mesh, "growing") == 2
        until(lambda: count(mesh, "growing") == 5)
        mesh.kill("ingest")  # in the midst: not every reader has the new partitions yet
        went_on(senders, 20)
    assert post(mesh, "growing", []).status_code == 200

    sent = sum(each.sent * len(each.trams) for each in senders)
    last: dict[str, int] = {}
    found = stored(mesh, "growing", sent)
    for _, key, data in found:
        assert key is not None
        assert data["n"] == last.get(key, -1) + 1, f"{key} is out of order"
        last[key] = data["n"]
    assert {partition for partition, _, _ in found} == {0, 1, 2, 3, 4}
    books = "SELECT published, landed, in_flight, imbalance FROM read.ledger_totals WHERE source = 'growing'"
    assert until(lambda: mesh.query(books) == [(sent, sent, 0, 0)])
    assert mesh.service("ingest").get("/v1/sources/growing").json()["partitions"]["unordered_since"] is None

    through = (BEGIN + timedelta(hours=1)).isoformat()
    mesh.service("ingest").post("/v1/sources/growing/watermark", json={"through": through})
    sql = (
        "SELECT line, start, count(*), max(n) FROM (SELECT data ->> 'line' AS line, (data ->> 'n')::int AS n,"
        " time_bucket('10 s', event_time) AS start FROM read.events WHERE source = 'growing') e"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    values = (
        "SELECT series ->> 'line', window_start, value::bigint, (measures ->> 'last')::float::int"
        " FROM (SELECT DISTINCT ON (series_key, window_start) * FROM read.observations WHERE kpi = 'growing_events'"
        " AND status <> 'provisional' ORDER BY series_key, window_start, revision DESC) o ORDER BY 1, 2"
    )
    expected = mesh.query(sql)
    assert len(expected) > 8
    assert until(lambda: mesh.query(values) == expected)
    assert mesh.query("SELECT 1 FROM read.late_events WHERE kpi = 'growing_events'") == []


def test_a_partition_that_is_new_and_empty_holds_values_back_no_longer_than_the_source_says(
    mesh: Mesh,
) -> None:
    before = source("quiet", partitions=1, watermark={"idle": "1s"})
    defined(mesh, before)
    mesh.define(
        {
            "kind": "kpi", "id": "quiet_events", "title": "Events", "owner": "fleet", "source": "quiet",
            "value": "count(*)", "window": {"tumbling": "10s"},
        }
    )  # fmt: skip
    assert post(mesh, "quiet", [event("only", 1)]).status_code == 200
    mesh.define(before | {"partitions": 3})
    until(lambda: count(mesh, "quiet") == 3)
    until(lambda: post(mesh, "quiet", [event("only", 2)]).status_code == 200)
    assert until(lambda: post(mesh, "quiet", [event("only", 30)]).status_code == 200)
    values = "SELECT value FROM read.observations WHERE kpi = 'quiet_events' AND status = 'final' ORDER BY window_start"
    assert until(lambda: mesh.query(values)) == [(2.0,)]
    last = mesh.query("SELECT data ->> 'n' FROM read.events WHERE source = 'quiet' ORDER BY event_time")
    assert json.dumps(last) == json.dumps([["1"], ["2"], ["30"]])


def test_readers_that_do_not_get_on_are_waited_for_so_long_and_then_it_is_said(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    with running(servers, namespace, database, tmp_path, SEXTANT_REPARTITION_SECONDS="3") as ingest:
        bodies = [json.dumps({"id": f"{number}", "at": AT}).encode() for number in range(20)]
        for body in bodies:
            until(lambda body=body: (answer := ingest.push(body)) is not None and answer.status_code == 200)
        migrate(database, "archive")
        with psycopg.connect(database) as connection:
            connection.execute(
                "INSERT INTO archive.offsets VALUES ('events.drops', 0, 0), ('events.drops', 1, 0)"
            )
        asyncio.run(define(ingest.settings, SOURCE | {"partitions": 5}, 2))

        def shown() -> dict[str, Any]:
            return httpx.get(f"{ingest.url}/v1/sources/drops", trust_env=False).json()["partitions"]

        assert until(lambda: shown()["waits_for"]) == ["archive"]
        found = until(lambda: (now := shown())["unordered_since"] and now)
        assert (found["count"], found["waits_for"]) == (5, [])
        metrics = httpx.get(f"{ingest.url}/metrics", trust_env=False).text
        assert 'sextant_repartitions_total{result="unordered",source="drops"} 1.0' in metrics
        answers = [answer.json() for body in bodies if (answer := ingest.push(body)) is not None]
        assert [each["duplicate"] for each in answers] == [1] * 20
