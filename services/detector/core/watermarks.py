"""Watermarks: up to which event time a source is complete.

The watermark of a source is the least over its partitions; an idle partition does not hold it back; when all
are idle it stays where it is; it never goes back. A partition that was never heard of holds it back.
(Akidau et al., The Dataflow Model, VLDB 2015, section 2.3.)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass
class PartitionMark:
    """One input partition: `at` in ms of event time, None before its first event."""

    at: int | None = None
    idle: bool = False


@dataclass
class Watermark:
    """The watermark of a source of `partitions` input partitions; of more, once another is heard of."""

    partitions: int
    marks: dict[int, PartitionMark] = field(default_factory=dict)
    at: int | None = None

    def advance(self, partition: int, at: int | None, idle: bool) -> None:
        """What a partition reports; an earlier time than before is ignored."""
        self.partitions = max(self.partitions, partition + 1)
        mark = self.marks.setdefault(partition, PartitionMark())
        mark.idle = idle
        if at is not None and (mark.at is None or at > mark.at):
            mark.at = at
        active = [self.marks.get(number, PartitionMark()) for number in range(self.partitions)]
        active = [mark for mark in active if not mark.idle]
        if not active or any(mark.at is None for mark in active):
            return
        least = min(mark.at for mark in active if mark.at is not None)
        self.at = least if self.at is None else max(self.at, least)

    def after(self, reports: Iterable[tuple[int, int | None, bool]]) -> int | None:
        """Where the watermark would be after these reports (as `advance` takes them)."""
        trial = Watermark(
            self.partitions, {number: replace(mark) for number, mark in self.marks.items()}, self.at
        )
        for report in reports:
            trial.advance(*report)
        return trial.at

    @property
    def held_by(self) -> int | None:
        """The partition that holds the watermark back; None if all are idle."""
        waiting = {
            number: self.marks.get(number, PartitionMark())
            for number in range(self.partitions)
            if not self.marks.get(number, PartitionMark()).idle
        }
        return min(waiting, key=lambda number: waiting[number].at or -(2**62), default=None)

    def snapshot(self) -> dict[str, Any]:
        """JSON, for `resume`."""
        marks = {str(number): [mark.at, mark.idle] for number, mark in self.marks.items()}
        return {"partitions": self.partitions, "at": self.at, "marks": marks}

    @classmethod
    def resume(cls, snapshot: Mapping[str, Any]) -> "Watermark":
        marks = {int(number): PartitionMark(at, idle) for number, (at, idle) in snapshot["marks"].items()}
        return cls(snapshot["partitions"], marks, snapshot["at"])
