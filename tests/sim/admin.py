"""The admin client of `aiokafka`, as far as the project uses it, on a broker in memory."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.errors import TopicAlreadyExistsError
from aiokafka.structs import OffsetAndMetadata

from tests.sim.broker import BROKERS


class Admin:
    def __init__(self, *, bootstrap_servers: str, **_: object) -> None:
        self.broker = BROKERS[bootstrap_servers]

    async def start(self) -> None:
        await self.broker.travel()

    async def close(self) -> None: ...

    async def list_topics(self) -> list[str]:
        return await self.broker.call(lambda: list(self.broker.topics))

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        counts = await self.broker.call(lambda: {name: len(self.broker.topics[name]) for name in names})
        return [
            {"topic": name, "partitions": [{"partition": number} for number in range(count)]}
            for name, count in counts.items()
        ]

    async def list_consumer_group_offsets(self, group: str) -> dict[TopicPartition, OffsetAndMetadata]:
        committed = await self.broker.call(lambda: dict(self.broker.committed))
        return {tp: OffsetAndMetadata(at, "") for (name, tp), at in committed.items() if name == group}

    async def create_topics(self, topics: Sequence[NewTopic], **_: object) -> Any:
        def create() -> list[tuple[str, int, str | None]]:
            answers: list[tuple[str, int, str | None]] = []
            for topic in topics:
                taken = topic.name in self.broker.topics
                answers.append((topic.name, TopicAlreadyExistsError.errno if taken else 0, None))
                if not taken:
                    self.broker.create(topic.name, topic.num_partitions)
            return answers

        return SimpleNamespace(topic_errors=await self.broker.call(create))

    async def delete_records(self, wanted: Mapping[TopicPartition, RecordsToDelete]) -> None:
        def delete() -> None:
            for tp, each in wanted.items():
                self.broker.delete_before(tp, each.before_offset)

        await self.broker.call(delete)
