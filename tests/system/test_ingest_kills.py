"""A real ingest, killed with -9 fifty times while clients push and repeat: the books are exact."""

import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ingests import Sender, compare, pushing, running
from tests.mesh import until

KILLS = 50


@pytest.mark.timeout(600)
def test_killed_whenever_it_keeps_what_it_acknowledged_exactly_once(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    """Killed while it starts too; every request is repeated until it is acknowledged."""
    dice = random.Random(11)
    with running(servers, namespace, database, tmp_path) as ingest:
        with pushing(ingest, 4, seed=11) as senders:
            for kill in range(KILLS):
                if kill % 2:
                    taken = _taken(senders)
                    until(lambda taken=taken: _taken(senders) > taken, seconds=60)
                threading.Event().wait(dice.uniform(0, 0.3 if kill % 2 else 1.6))
                ingest.kill()
        books = compare(ingest.settings, senders)
    assert books.ledger["duplicate"] > 0
    assert sum(sender.answers["cut"] for sender in senders) > KILLS


def _taken(senders: Sequence[Sender]) -> int:
    return sum(sender.answers["200"] for sender in senders)
