"""Watermarks: up to which event time a source is complete.

The watermark of a source is the least over its partitions; an idle partition does not hold it back. When all are
idle, all that came was read, and it is the latest of them: in which order they fell silent does not matter. A source
that wakes was silent as a whole, and most of what it now brings is still unread: each of its partitions holds the
watermark back until it is heard of again, or says again that it is idle. It never goes back, and a partition that was
never heard of holds it back. (Akidau et al., The Dataflow Model, VLDB 2015, section 2.3; idle inputs as Flink's
StatusWatermarkValve has them, but for the waking.)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass
class PartitionMark:
    """One input partition: `at` in ms of event time, None before its first event."""

    at: int | None = None
    idle: bool = False


def later(*times: int | None) -> int | None:
    """The latest of them that is known."""
    return max((each for each in times if each is not None), default=None)


@dataclass
class Watermark:
    """The watermark of a source of `partitions` input partitions; of more, once another is heard of."""

    partitions: int
    marks: dict[int, PartitionMark] = field(default_factory=dict)
    at: int | None = None

    def advance(self, partition: int, at: int | None, idle: bool) -> None:
        """What a partition reports; an earlier time than before is ignored."""
        every = self._all
        if not idle and all(each.idle for each in every):
            for each in every:
                each.idle = False
        if partition not in self.marks:
            self.partitions = max(self.partitions, partition + 1)
            self.marks[partition] = PartitionMark()
            every = self._all
        mark = self.marks[partition]
        mark.idle, mark.at = idle, later(mark.at, at)
        active = [each for each in every if not each.idle]
        known = [each.at for each in active or every if each.at is not None]
        if not active:
            self.at = later(self.at, *known)
        elif len(known) == len(active):
            self.at = later(self.at, min(known))

    @property
    def _all(self) -> list[PartitionMark]:
        return [self.marks.get(number, PartitionMark()) for number in range(self.partitions)]

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
