"""A partition that gets nothing else gets a heartbeat; it is no event to anybody."""

import asyncio
import json
import threading
from collections import Counter
from itertools import count
from pathlib import Path

from libs.common.batches import HEARTBEAT
from libs.common.kafka import read_all
from libs.common.topics import EVENTS
from tests.ingests import AT, SOURCE, Ingest, books, running
from tests.mesh import until


async def _beats(ingest: Ingest) -> Counter[int]:
    found: Counter[int] = Counter()
    for partition in range(2):
        async for records in read_all(ingest.settings, EVENTS.of("drops"), partitions=[partition]):
            for record in records:
                if not record.value:
                    assert (record.key, list(record.headers)) == (None, [HEARTBEAT])
                    found[partition] += 1
    return found


def beats(ingest: Ingest) -> Counter[int]:
    return asyncio.run(_beats(ingest))


def test_an_idle_source_gets_heartbeats_that_are_in_no_books(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    with running(servers, namespace, database, tmp_path, SEXTANT_HEARTBEAT_SECONDS="0.5") as ingest:
        until(lambda: (answer := ingest.push(b"[]")) is not None and answer.status_code == 200)
        until(lambda: all(beats(ingest)[partition] >= 2 for partition in range(2)))
        event = json.dumps({"id": "one", "at": AT}).encode()
        assert (answer := ingest.push(event)) is not None
        assert answer.json()["published"] == 1
        ingest.kill()
        until(lambda: (answer := ingest.push(event)) is not None and answer.json().get("duplicate") == 1)
        before = beats(ingest).total()
        until(lambda: beats(ingest).total() > before)
        found = asyncio.run(books(ingest.settings))
        assert found.ids == Counter({"one": 1})
        assert (found.ledger["accepted"], found.ledger["published"], found.ledger["duplicate"]) == (2, 1, 1)


def test_a_partition_that_events_go_to_gets_none(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    """All events have one key, so that one partition is busy and the other idle."""
    keyed = {**SOURCE, "key": ["place"], "fields": [*SOURCE["fields"], {"name": "place", "type": "string"}]}
    with running(servers, namespace, database, tmp_path, keyed, SEXTANT_HEARTBEAT_SECONDS="2") as ingest:
        until(lambda: (answer := ingest.push(b"[]")) is not None and answer.status_code == 200)
        stopping, pushed = threading.Event(), set[str]()

        def push() -> None:
            for number in count():
                if stopping.wait(0.05):
                    return
                answer = ingest.push(json.dumps({"id": str(number), "at": AT, "place": "here"}).encode())
                assert answer is not None
                pushed.update(answer.json()["proof"]["offsets"])

        worker = threading.Thread(target=push)
        worker.start()
        try:
            until(lambda: pushed)
            before = beats(ingest)
            until(lambda: beats(ingest).total() >= before.total() + 3)
            after = beats(ingest)
        finally:
            stopping.set()
            worker.join()
        (busy,) = map(int, pushed)
        assert after[busy] == before[busy]
