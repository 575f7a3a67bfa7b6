"""A KPI that is switched to Flink: everything behind the observations goes on as before."""

import json
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from libs.common.kafka import read_all
from libs.common.registry import Codecs, Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import OBSERVATIONS
from libs.common.wire import record
from tests.backing import Flink
from tests.mesh import Mesh, running_mesh, until

pytestmark = pytest.mark.timeout(240)
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "till", "title": "Till", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "watermark": {"idle": "1h"},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "amount", "type": "double"},
    ],
}  # fmt: skip


def takings(**more: Any) -> dict[str, Any]:
    return {
        "kind": "kpi", "id": "takings", "title": "Takings", "owner": "fleet", "source": "till", "value": "sum(amount)",
        "window": {"tumbling": "1h"}, "lateness": "1h", **more,
        "signals": [{"id": "high", "threshold": {"above": 2.5}, "sustained_after": 1}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def mesh(servers: dict[str, str], flink_cluster: Flink) -> Generator[Mesh]:
    more = {**flink_cluster.addresses, "SEXTANT_FLINK_PARALLELISM": "2"}
    with running_mesh({**servers, **more}, "flink") as mesh:
        mesh.define(SOURCE)
        times = [
            "2024-03-10T04:59:59Z",
            "2024-03-10T05:00:00Z",
            "2024-03-10T05:59:59Z",
            "2024-03-10T06:00:00Z",
        ]
        batch = [{"id": f"e{number}", "at": at, "amount": 2.0**number} for number, at in enumerate(times)]
        service = mesh.service("ingest")
        until(lambda: service.post("/v1/sources/till/events", content=json.dumps(batch)).status_code == 200)
        service.post("/v1/sources/till/watermark", json={"through": "2024-03-20T00:00:00Z"})
        yield mesh


def values(mesh: Mesh, version: int) -> list[tuple[Any, ...]]:
    return mesh.query(
        "SELECT extract(hour FROM window_start AT TIME ZONE 'UTC')::int, value, count FROM read.observations"
        " WHERE kpi = 'takings' AND kpi_version = %s AND status = 'final' ORDER BY 1",
        version,
    )


def jobs(mesh: Mesh) -> list[dict[str, Any]]:
    return mesh.service("detector").get("/v1/state").json()["flink"]["jobs"]


EXPECTED = [(4, 1.0, 1), (5, 6.0, 2), (6, 8.0, 1)]


def test_its_values_and_signals_are_those_of_the_embedded_engine(mesh: Mesh) -> None:
    mesh.define(takings(engine="flink"))
    assert until(lambda: (found := values(mesh, 1)) == EXPECTED and found, seconds=90)
    assert until(lambda: mesh.query("SELECT 1 FROM read.signals WHERE kpi = 'takings'"))
    assert until(lambda: [(job["version"], job["state"]) for job in jobs(mesh)] == [(1, "RUNNING")])


def test_a_new_version_replaces_the_job_and_switching_back_ends_it(mesh: Mesh) -> None:
    mesh.define(takings(engine="flink", unit="EUR"))
    assert until(lambda: (found := values(mesh, 2)) == EXPECTED and found, seconds=90)
    assert until(lambda: [job["version"] for job in jobs(mesh)] == [2])
    mesh.define(takings(unit="EUR"))
    assert until(lambda: (found := values(mesh, 3)) == EXPECTED and found, seconds=90)
    assert until(lambda: not jobs(mesh))


def test_what_flink_cannot_express_is_refused_by_name(mesh: Mesh) -> None:
    wanted = takings(engine="flink", window={"calendar": "month"}, value="approx_count_distinct(id)")
    answer = mesh.service("strategy").post("/v1/catalog/plan", json={"definitions": [wanted]}).json()
    found = {
        (problem["path"], problem["rule"]) for problem in answer["problems"] if problem["id"] == "takings"
    }
    assert found == {("window.calendar", "engine flink"), ("value", "engine flink")}


async def test_a_killed_task_manager_loses_and_doubles_nothing(mesh: Mesh, flink_cluster: Flink) -> None:
    mesh.define(
        {**SOURCE, "id": "shop"}, takings(id="sales", source="shop", engine="flink", lateness="0s", by=["id"])
    )
    until(lambda: [job["state"] for job in jobs(mesh)] == ["RUNNING"], seconds=60)
    sell(mesh, range(100))
    until(lambda: len(sold(mesh)) >= 40, seconds=60)
    flink_cluster.kill_tasks()
    sell(mesh, range(100, 200))
    flink_cluster.mend()
    mesh.service("ingest").post("/v1/sources/shop/watermark", json={"through": "2024-03-20T00:00:00Z"})
    assert until(lambda: len(sold(mesh)) == 200, seconds=120)
    seen = await records(mesh, "sales")
    assert len(seen) == 200
    assert set(seen.values()) == {1}


def sell(mesh: Mesh, numbers: range) -> None:
    """One sale a minute, each in a series of its own."""
    batch = [
        {"id": f"s{each}", "at": f"2024-03-{10 + each // 60}T04:{each % 60:02}:00Z", "amount": 1.0}
        for each in numbers
    ]
    service = mesh.service("ingest")
    until(lambda: service.post("/v1/sources/shop/events", content=json.dumps(batch)).status_code == 200)


def sold(mesh: Mesh) -> list[tuple[Any, ...]]:
    return mesh.query("SELECT series_key FROM read.observations WHERE kpi = 'sales' AND status = 'final'")


async def records(mesh: Mesh, kpi: str) -> Counter[tuple[str, Any]]:
    """How often each window of the KPI was published, by what a consumer can read."""
    env = mesh.stack.env
    settings = ServiceSettings(
        kafka=env["SEXTANT_KAFKA"], database="", redis="", registry=env["SEXTANT_REGISTRY"],
        prefix=env["SEXTANT_PREFIX"], port=0,
    )  # fmt: skip
    registry, found = Registry(settings), Counter[tuple[str, Any]]()
    codecs = Codecs(registry)
    async for batch in read_all(settings, OBSERVATIONS.name):
        values = [each.value for each in batch]
        for value in values:
            row = record(value, await codecs.of(values))
            found[row["series_key"], row["window_start"]] += row["kpi"] == kpi
    await registry.close()
    return +found
