"""Who is let in: what waits is bounded in bytes and in records, and no source takes the room of the others.

A source may hold as much as is left free: alone half of the room, of n that flood each 1/(n+1). So whoever comes
next finds room at once, and who comes is never counted beforehand (dynamic thresholds, Choudhury and Hahne 1998).
"""

from types import TracebackType
from typing import Literal

from libs.common.errors import Overloaded

Scope = Literal["system", "source"]


class Room:
    """So much of one unit, and which source holds how much of it."""

    def __init__(self, unit: str, total: int) -> None:
        self.unit, self.total, self.used = unit, total, 0
        self.held: dict[str, int] = {}

    def refused(self, source: str, amount: int) -> Scope | None:
        """Why so much more is not let in: the room is full, or the source has its share of it. None: it is.

        Who holds nothing is let in as long as there is room, however much it brings.
        """
        held, free = self.held.get(source, 0), self.total - self.used - amount
        if free < 0:
            return "system"
        return "source" if held and held + amount > free else None

    def add(self, source: str, amount: int) -> None:
        self.used += amount
        self.held[source] = self.held.get(source, 0) + amount
        if not self.held[source]:
            del self.held[source]


class Admission:
    """The room of the whole process."""

    def __init__(self, bytes: int, records: int) -> None:
        self.bytes, self.records = Room("bytes", bytes), Room("records", records)

    def hold(self, source: str) -> "Hold":
        return Hold(self, source)


class Hold:
    """What one request holds, from before its body is read until it is answered."""

    def __init__(self, admission: Admission, source: str) -> None:
        self.admission, self.source = admission, source
        self.bytes, self.records = 0, 0
        self.passed_on = False
        """Whoever it was passed on to gives it back."""

    def take(self, *, bytes: int = 0, records: int = 0) -> None:
        """Hold so much more; Overloaded, and nothing more is held, if that is not let in."""
        for room, amount in ((self.admission.bytes, bytes), (self.admission.records, records)):
            scope = room.refused(self.source, amount) if amount else None
            if scope is not None:
                held = room.used if scope == "system" else room.held[self.source]
                whose = "in all" if scope == "system" else f"of {self.source}, its share"
                raise Overloaded(
                    f"{held} {room.unit} wait {whose}; {amount} more are too many",
                    scope=scope,
                    retryable=True,
                    retry_after=1,
                    unit=room.unit,
                )
        self.admission.bytes.add(self.source, bytes)
        self.admission.records.add(self.source, records)
        self.bytes += bytes
        self.records += records

    def give_back(self) -> None:
        self.admission.bytes.add(self.source, -self.bytes)
        self.admission.records.add(self.source, -self.records)
        self.bytes, self.records = 0, 0

    def __enter__(self) -> "Hold":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.passed_on:
            self.give_back()
