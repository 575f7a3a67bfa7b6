"""Consumer groups of the broker in memory: who of the members has which partitions.

A member that joins, leaves or is silent for the session's time makes the group share its partitions out anew: all
members hear of it with their next heartbeat, give up what they have, join, and are told what is theirs. One that does
not join in time is put out. A member with an instance id takes the place of its former self at once, and leaves only by
silence. If its topics are others by now, the group shares anew: Kafka alone does not, `libs/common/groups.py` does.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from tests.sim.virtual import Host

HEARTBEAT_SECONDS = 3.0
METADATA_SECONDS = 3.0


@dataclass(eq=False)
class Member:
    host: Host
    instance: str | None
    session: float
    """Seconds of silence after which it is put out."""
    number: int = 0
    topics: frozenset[str] = frozenset()
    partitions: frozenset[TopicPartition] = frozenset()
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to join again."""
    joining: asyncio.Future[frozenset[TopicPartition]] | None = None


class Group:
    def __init__(self, dice: random.Random, topics: Mapping[str, Sequence[Any]]) -> None:
        self.dice, self.topics = dice, topics
        self.members: list[Member] = []
        self.counted = 0
        self.sharing: asyncio.TimerHandle | None = None
        """Ends the wait for members to join."""

    def join(self, member: Member) -> asyncio.Future[frozenset[TopicPartition]]:
        """What will be the member's partitions."""
        joining = member.joining = asyncio.get_running_loop().create_future()
        member.told.clear()
        former = next(
            (each for each in self.members if each.instance and each.instance == member.instance), None
        )
        if member not in self.members:
            self.counted += 1
            member.number = self.counted
            self.members.append(member)
            if former is not None:
                self.members.remove(former)
                former.told.set()
                if self.sharing is None and former.topics == member.topics:
                    member.partitions = former.partitions
                    joining.set_result(member.partitions)
                    return joining
        self.share()
        if all(each.joining is not None for each in self.members):
            self._assign()
        return joining

    def share(self) -> None:
        """Share the partitions out anew."""
        if self.sharing is not None:
            return
        loop = asyncio.get_running_loop()
        for member in self.members:
            if member.joining is None or member.joining.done():
                member.joining = None
                loop.call_later(self.dice.random() * HEARTBEAT_SECONDS, self._tell, member)
        wait = max((member.session for member in self.members), default=0.0)
        self.sharing = loop.call_later(wait, self._assign)

    def _tell(self, member: Member) -> None:
        if member.joining is None:
            member.told.set()

    def _assign(self) -> None:
        assert self.sharing is not None
        self.sharing.cancel()
        self.sharing = None
        for member in [each for each in self.members if each.joining is None]:
            self._put_out(member)
        wanted = frozenset[str]().union(*(member.topics for member in self.members))
        all_of = [
            TopicPartition(name, each)
            for name in sorted(wanted)
            for each in range(len(self.topics.get(name, ())))
        ]
        shares: dict[int, list[TopicPartition]] = {member.number: [] for member in self.members}
        ring = sorted(self.members, key=lambda member: member.number)
        for place, tp in enumerate(all_of):
            able = [member for member in ring[place % len(ring) :] + ring if tp.topic in member.topics]
            shares[able[0].number].append(tp)
        for member in self.members:
            member.partitions = frozenset(shares[member.number])
            if member.joining is not None and not member.joining.done():
                member.joining.set_result(member.partitions)

    def _put_out(self, member: Member) -> None:
        self.members.remove(member)
        member.partitions = frozenset()
        member.told.set()

    def leave(self, member: Member) -> None:
        if member in self.members:
            self._put_out(member)
            if self.members:
                self.share()
                if all(each.joining is not None for each in self.members):
                    self._assign()

    def silent(self, host: Host) -> None:
        """Nothing is heard from a host from now on: put its members out when their session is over."""
        loop = asyncio.get_running_loop()
        for member in self.members:
            if member.host is host:
                loop.call_later(member.session, self._over, member)

    def _over(self, member: Member) -> None:
        if member.host.dead or member.host.thaws_at > asyncio.get_running_loop().time():
            self.leave(member)

    def topic_created(self, name: str) -> None:
        if any(name in member.topics for member in self.members):
            asyncio.get_running_loop().call_later(self.dice.random() * METADATA_SECONDS, self.share)
