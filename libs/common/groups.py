"""What the client library leaves out of static membership: a leader that starts again leads again.

The broker gives a member that starts again under its instance id what its former self had, at once. It does not look
whether the member's topics are still the same (KAFKA-12759), and does not say that the member leads the group as its
former self did (KIP-814, of a later version of the protocol than the library speaks). So partitions of a topic that
came with the restart would be nobody's, and nobody would watch for new ones, until something else moved the group.
"""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import consumer, group_coordinator
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import JoinGroupRequest

_GroupCoordinator: Any = group_coordinator.GroupCoordinator
_CoordinatorGroupRebalance: Any = group_coordinator.CoordinatorGroupRebalance

UUID_LENGTH = 36
"""The broker names a static member by its instance id, a hyphen and a UUID."""


class _Coordinator(_GroupCoordinator):
    leader: str = ""
    """Member id, as the last join says."""

    async def _send_req(self, request: Any) -> Any:
        answer = await super()._send_req(request)
        if isinstance(request, JoinGroupRequest):
            self.leader = answer.leader_id or ""
        return answer

    @property
    def led_before(self) -> bool:
        """Whether the leader that the last join names is the former self of this member."""
        instance: str | None = self._group_instance_id
        return (
            instance is not None
            and self.leader != self.member_id
            and self.leader[: -UUID_LENGTH - 1] == instance
        )

    async def lead(self) -> bool:
        """Watch the group's topics from now on; whether exactly their partitions are shared out already."""
        topics, owned = set(self._subscription.topics), set[TopicPartition]()
        answer = await self._send_req(DescribeGroupsRequest([self.group_id]))
        for *_, subscribed, assigned in answer.groups[0][5]:
            if subscribed:
                topics.update(ConsumerProtocol.METADATA.decode(subscribed).subscription)
            if assigned:
                owned.update(ConsumerProtocol.ASSIGNMENT.decode(assigned).partitions())
        self._client.set_topics(topics)
        await self._client._maybe_wait_metadata()
        self._group_subscription, self._metadata_snapshot = topics, {}
        self._metadata_snapshot = self._get_metadata_snapshot()
        return owned == {
            TopicPartition(topic, number)
            for topic in topics
            for number in self._cluster.partitions_for_topic(topic) or ()
        }


class _Rebalance(_CoordinatorGroupRebalance):
    async def perform_group_join(self) -> Any:
        joined = await super().perform_group_join()
        if joined is None or not self._coordinator.led_before:
            return joined
        try:
            if await self._coordinator.lead():
                return joined
        except KafkaError:
            return None  # and the coordinator looks for the group again
        # When the leader joins, and that is this member by now, the group shares its partitions out anew.
        return await super().perform_group_join()


def mend() -> None:
    """Let consumers be made with what is here."""
    library: Any = group_coordinator
    library.CoordinatorGroupRebalance = _Rebalance
    library = consumer
    library.GroupCoordinator = _Coordinator
