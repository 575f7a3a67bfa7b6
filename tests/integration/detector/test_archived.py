"""The detector reads events of the archive: by time, and those of a partition by offset."""

import json
from typing import Any

import pytest

from libs.common.catalog import DEFINITION, Source
from libs.common.clock import moment
from libs.common.expressions import OFFSET, PARTITION, TIME
from services.detector.handlers.archived import Archive
from services.detector.settings import Settings
from tests.mesh import Mesh, until

DEFINED: dict[str, Any] = {
    "kind": "source", "id": "archived_till", "title": "Till", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2,
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip
EVENTS = 3_000


@pytest.fixture(scope="module")
def archive(mesh: Mesh) -> Archive:
    mesh.define(DEFINED)
    ingest = mesh.service("ingest")
    until(lambda: ingest.post("/v1/sources/archived_till/events", content="[]").status_code == 200)
    # From the last to the first: the order of time is not that of arrival.
    batch = [{"id": f"e{number}", "at": moment(number).isoformat()} for number in reversed(range(EVENTS))]
    assert ingest.post("/v1/sources/archived_till/events", content=json.dumps(batch)).status_code == 200
    stored = "SELECT count(*) FROM read.events WHERE source = 'archived_till'"
    until(lambda: mesh.query(stored)[0][0] == EVENTS)
    names = ("kafka", "database", "redis", "registry", "prefix")
    addresses: dict[str, Any] = {name: mesh.stack.env[f"SEXTANT_{name.upper()}"] for name in names}
    return Archive(Settings(**addresses))


async def test_events_come_by_time_a_bounded_number_at_a_time(archive: Archive) -> None:
    source = DEFINITION.validate_python(DEFINED)
    assert isinstance(source, Source)
    times = [time async for frame in archive.between(source, 100, 2_900) for time in frame[TIME]]
    assert times == list(range(100, 2_900))
    pieces = [piece async for piece in archive.lines("SELECT generate_series(1, 1000000)", most=10_000)]
    assert b"".join(pieces) == b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert len(pieces) > 50


async def test_events_of_a_partition_come_by_offset_from_the_one_asked_for(archive: Archive) -> None:
    source = DEFINITION.validate_python(DEFINED)
    assert isinstance(source, Source)
    known = await archive.next_offsets("events.archived_till")
    assert known.keys() == {0, 1}
    places = [
        place
        async for frame in archive.since(source, 1, 5, known[1])
        for place in frame.select(PARTITION, OFFSET).rows()
    ]
    assert places == [(1, offset) for offset in range(5, known[1])]


async def test_the_archive_has_all_when_only_ends_of_transactions_are_beyond_it(archive: Archive) -> None:
    known = await archive.next_offsets("events.archived_till")
    beyond = {number: offset + 1 for number, offset in known.items()}
    assert await archive.lacks("events.archived_till", beyond) == 0
    assert await archive.lacks("events.archived_till", {0: 0, 1: 0}) == 0
