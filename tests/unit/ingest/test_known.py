"""The keys of a reference: known from when their row comes until it is gone."""

from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from libs.common.catalog import Source
from services.ingest.core.known import Keys
from services.ingest.handlers.known import Followed
from tests.ingests import settings

PLACE = TopicPartition("reference.berths", 0)


def test_a_key_is_known_while_it_has_a_row() -> None:
    keys = Keys(10, versioned=False)
    assert keys.take(b"N1", gone=False) == "N1"
    assert ("N1" in keys, "N2" in keys) == (True, False)
    keys.take(b"N1", gone=False)
    keys.take(b"N1", gone=True)
    assert "N1" not in keys
    assert len(keys) == 0


def test_of_a_reference_with_versions_a_key_is_known_without_the_time() -> None:
    keys = Keys(10, versioned=True)
    assert keys.take(b"N|1|1763971200000", gone=False) == "N|1"
    assert "N|1" in keys
    keys.take(b"N|1|1763971200000", gone=True)
    assert "N|1" in keys, "others of its versions may be there"


def test_of_too_many_keys_each_counts_as_known() -> None:
    """What cannot be judged is not held up."""
    keys = Keys(2, versioned=False)
    for key in (b"a", b"b"):
        keys.take(key, gone=False)
    assert "c" not in keys
    keys.take(b"c", gone=False)
    assert "whatever" in keys
    assert len(keys) == 0


@dataclass
class Client:
    """A consumer whose brokers are away for so many questions."""

    away: int = 0

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.away -= 1
        if self.away >= 0:
            raise KafkaTimeoutError("Failed to get offsets by times in 40000 ms")
        return dict.fromkeys(places, 5)

    async def position(self, place: TopicPartition) -> int:
        return 5


async def test_brokers_that_are_away_for_long_are_waited_for() -> None:
    source = Source.model_validate(
        {
            "id": "berths", "title": "Berths", "owner": "port", "reference": True, "key": ["id"],
            "fields": [{"name": "id", "type": "string"}],
        }
    )  # fmt: skip
    followed, client, asker = Followed(settings(), source), Client(), Client(away=3)
    given: Any = (client, asker)
    followed.client, followed.asker = given
    followed.loaded.set()
    await followed.caught_up()
    assert asker.away == -1
