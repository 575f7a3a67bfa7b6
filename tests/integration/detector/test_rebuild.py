"""A state whose log is lost is noticed and made anew from the events: nothing is missing, doubled or wrong."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import TopicPartition

from libs.common.kafka import committed_of, delete_before, high_watermarks, producer, read_between
from libs.common.settings import ServiceSettings
from libs.common.topics import EVENTS, STATE
from tests.mesh import Mesh, until

SOURCE: dict[str, Any] = {
    "kind": "source", "id": "lifts", "title": "Lifts", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "lift", "type": "string"},
        {"name": "load", "type": "double"},
    ],
}  # fmt: skip


def kpi(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": id, "title": id, "owner": "fleet", "value": "sum(load)", "by": ["lift"], "lateness": "2h",
        "window": {"tumbling": "10m"}, **more,
    }  # fmt: skip


KPIS = [
    kpi("loads", source="lifts", measures={"rides": "count(*)"}, early="1s"),
    kpi("loads_sliding", source="lifts", window={"sliding": "30m", "every": "10m"}, value="avg(load)"),
    kpi("trips", source="lifts", window={"session": "4m"}, value="count(*)"),
    kpi("loads_in_all", over={"load": "loads"}, by=[], value="sum(load)"),
]
LIFTS = ["a", "b", "c=ü"]


class Feed:
    """Events of a minute each, one per lift and two in every third minute; it counts them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.sent = mesh, list[tuple[int, str]]()

    def send(self, *minutes: int) -> None:
        events = [
            (minute, lift) for minute in minutes for lift in LIFTS for _ in range(1 + (minute % 3 == 0))
        ]
        batch = [
            {"id": f"l{len(self.sent) + place}", "at": _at(minute), "lift": lift, "load": float(minute)}
            for place, (minute, lift) in enumerate(events)
        ]
        self.sent += events
        answer = self.mesh.service("ingest").post("/v1/sources/lifts/events", content=json.dumps(batch))
        assert answer.status_code == 200, answer.text

    def through(self, minute: int) -> None:
        body = {"through": _at(minute)}
        assert self.mesh.service("ingest").post("/v1/sources/lifts/watermark", json=body).status_code == 200

    def loads(self) -> list[tuple[Any, ...]]:
        """What `loads` has to be."""
        found: dict[tuple[str, int], list[int]] = {}
        for minute, lift in self.sent:
            found.setdefault((lift, minute // 10 * 10), []).append(minute)
        return sorted((lift, start, float(sum(each)), len(each)) for (lift, start), each in found.items())

    def in_all(self) -> list[tuple[Any, ...]]:
        starts = sorted({minute // 10 * 10 for minute, _ in self.sent})
        return [
            (start, float(sum(minute for minute, _ in self.sent if start <= minute < start + 10)))
            for start in starts
        ]


def _at(minute: int) -> str:
    return f"2025-07-01T{6 + minute // 60:02}:{minute % 60:02}:00Z"


def final(mesh: Mesh, id: str, columns: str) -> list[tuple[Any, ...]]:
    return mesh.query(
        f"SELECT {columns} FROM (SELECT DISTINCT ON (series_key, window_start) *, (extract(epoch FROM window_start"
        " - '2025-07-01T06:00:00Z') / 60)::int AS minute FROM read.observations WHERE kpi = %s"
        " ORDER BY series_key, window_start, revision DESC) newest WHERE status = 'final' ORDER BY 1, 2",
        id,
    )


def revisions(mesh: Mesh) -> list[tuple[Any, ...]]:
    """Windows whose revisions are not 1, 2, 3 …, or are told twice."""
    return mesh.query(
        "SELECT kpi, series_key, window_start, array_agg(revision ORDER BY revision) FROM read.observations"
        " WHERE kpi = ANY(%s) GROUP BY 1, 2, 3 HAVING max(revision) <> count(*) OR count(DISTINCT revision) <> count(*)",
        [each["id"] for each in KPIS],
    )


def rebuilds(mesh: Mesh) -> float:
    text = mesh.service("detector").get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("sextant_detector_rebuilds_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def delete(found: ServiceSettings, topic: str) -> None:
    """All records of a topic."""
    for number, end in (await high_watermarks(found, found.prefix + topic)).items():
        await delete_before(found, TopicPartition(found.prefix + topic, number), end)


async def delete_log(found: ServiceSettings) -> None:
    await delete(found, STATE.name)


async def corrupt(found: ServiceSettings) -> None:
    writer = producer(found)
    await writer.start()
    for number in range(STATE.partitions):
        await writer.send_and_wait(found.prefix + STATE.name, b"\0no step", key=b"step", partition=number)
    await writer.stop()


async def is_combined(found: ServiceSettings) -> bool:
    """Whether combine has taken in all events that there are."""
    done = await committed_of(found, "detector.combine")
    name, left = found.prefix + EVENTS.of("lifts"), list[object]()
    for number, end in (await high_watermarks(found, name)).items():
        tp = TopicPartition(name, number)
        left += [records async for records in read_between(found, tp, done.get(tp, 0), end)]
    return not left


async def delete_log_and_events(found: ServiceSettings) -> None:
    await delete_log(found)
    await delete(found, EVENTS.of("lifts"))


@pytest.fixture(scope="module")
def feed(mesh: Mesh) -> Feed:
    mesh.define(SOURCE, *KPIS)
    service = mesh.service("ingest")
    until(lambda: service.post("/v1/sources/lifts/events", content="[]").status_code == 200)
    found = Feed(mesh)
    found.send(*range(0, 45))
    found.through(45)
    until(lambda: len(final(mesh, "loads", "series_key, minute")) == 12, seconds=90)
    until(lambda: len(final(mesh, "loads_in_all", "minute, value")) == 4, seconds=90)
    return found


@pytest.mark.parametrize(
    ("loss", "minutes"),
    [(delete_log, range(45, 63)), (corrupt, range(63, 84)), (delete_log_and_events, range(84, 105))],
    ids=["the log is deleted", "a record of the log is corrupt", "the topic lacks the events too"],
)
def test_a_state_whose_log_is_lost_is_made_anew_from_the_events(
    mesh: Mesh, feed: Feed, loss: Callable[[ServiceSettings], Coroutine[Any, Any, None]], minutes: range
) -> None:
    feed.send(*minutes)
    end = minutes.stop - minutes.stop % 10
    archived = "SELECT count(*) FROM read.events WHERE source = 'lifts'"
    until(lambda: mesh.query(archived) == [(len(feed.sent),)], seconds=60)
    until(lambda: asyncio.run(is_combined(mesh.settings)))  # the former loss may still be mended
    asyncio.run(loss(mesh.settings))
    mesh.kill("detector")
    feed.send(minutes.start - 4, minutes.start - 1)
    feed.through(minutes.stop)
    wanted = [row for row in feed.loads() if row[1] < end]
    shown = "series->>'lift', minute, value, count::int"
    try:
        until(lambda: final(mesh, "loads", shown) == wanted, seconds=120)
    except AssertionError:
        assert final(mesh, "loads", shown) == wanted
    in_all = [row for row in feed.in_all() if row[0] < end]
    until(lambda: final(mesh, "loads_in_all", "minute, value") == in_all, seconds=60)
    assert revisions(mesh) == []
    assert rebuilds(mesh) == STATE.partitions
    sliding = {(lift, start): (total, count) for lift, start, total, count in feed.loads()}
    for lift, minute, value in final(mesh, "loads_sliding", "series->>'lift', minute, value"):
        parts = [sliding[lift, each] for each in range(minute, minute + 30, 10) if (lift, each) in sliding]
        assert value == pytest.approx(sum(part[0] for part in parts) / sum(part[1] for part in parts))
    assert final(mesh, "trips", "series->>'lift', minute, count::int") == []  # one session, which goes on


def test_sessions_go_on_where_they_were(mesh: Mesh, feed: Feed) -> None:
    feed.send(130)
    feed.through(150)
    counts = {lift: sum(1 for minute, each in feed.sent if each == lift and minute < 110) for lift in LIFTS}
    wanted = sorted((lift, 0, count) for lift, count in counts.items())
    shown = "series->>'lift', minute, count::int"
    assert until(
        lambda: (found := [row for row in final(mesh, "trips", shown) if row[1] == 0]) == wanted and found
    )
    assert revisions(mesh) == []
