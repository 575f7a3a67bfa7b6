"""Parked events: accepted, and waiting for what they refer to. Those of a key wait behind its first, in order; all other
keys flow (per-key parking; retry topics of fixed delays, as others have them, lose the order). Pure.

The first of a key is judged when a tier ends, and whenever what it waits for comes. When it passes, or is given up,
the next one is judged at once. Each has so long as all tiers together, counted from when it was accepted: those
behind have waited as well, so that what never comes holds a key up for that time once, and not for each of its events.
"""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate

from libs.common.errors import BadMessage
from services.ingest.core.records import Good

WAITED = ("reference_missing", "parked_full", "given_up")
"""Codes of what was given up while it waited."""
OVERHEAD = 1_000
"""Bytes that a parked event takes beside its own."""


class Missing(BadMessage):
    """A record refers to a row that has not come: it may still."""

    def __init__(self, field: str, value: str, reference: str) -> None:
        super().__init__(
            f"{field} {value} is not in {reference}",
            field=field,
            value=value,
            rule=f"in {reference}",
            code="reference_missing",
        )
        self.awaited = awaited(reference, value)


def awaited(reference: str, value: str) -> Hashable:
    """How a row that is waited for is known: in bounded size."""
    return reference, hash(value)


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that waits."""

    id: str
    key: bytes
    at: int
    """When it was accepted, in ms."""
    receipt: str
    body: bytes
    """All of it, as it is on the topic."""
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.key) + len(self.body)


@dataclass(frozen=True, slots=True)
class Settled:
    """One that waits no longer."""

    event: Parked
    result: Good | BadMessage | None
    """To be published, or why it is a dead letter; None: nothing is left of it, for it is erased with its subject."""


Judge = Callable[[Parked], Good | BadMessage]
"""What an event is now: to be published, Missing, or unusable."""


class Lot:
    """What of one source is parked. `tiers` in ms; `started`: when this process began, in ms.

    Memory: `most_events`, `most_bytes`; of a key that waits an entry in each of a few tables.
    """

    def __init__(self, tiers: Sequence[int], most_events: int, most_bytes: int, started: int) -> None:
        self.most_events, self.most_bytes, self.started = most_events, most_bytes, started
        self.ends: list[int] = list(accumulate(tiers))
        """When each tier ends, from when an event was accepted."""
        self.last = tiers[-1] if tiers else 0
        self.events: dict[str, Parked] = {}
        """By id, in the order of acceptance: the first of all is the first of its key."""
        self.keys: dict[bytes, deque[Parked]] = {}
        self.bytes = 0
        self.ready: dict[bytes, None] = {}
        """Keys whose first is to be judged now."""
        self.due: dict[bytes, int] = {}
        """Of the other keys, when."""
        self.agenda: list[tuple[int, bytes]] = []
        """A heap of (due, key); what `due` does not say any more is passed over."""
        self.waiting: dict[Hashable, dict[bytes, None]] = {}
        """What is missing → the keys whose first waits for it."""
        self.awaits: dict[bytes, Hashable] = {}

    def retime(self, tiers: Sequence[int]) -> None:
        """A changed definition: everything is judged anew."""
        self.ends, self.last = list(accumulate(tiers)), tiers[-1] if tiers else 0
        self.hurry()

    def park(self, event: Parked, missing: Missing | None, now: int) -> None:
        """An event behind those of its key, or as their first for what it is missing. Whose key has none, and that is
        missing nothing, waits for nobody: it is judged at once (as when the lot is made anew at start)."""
        self.events[event.id] = event
        self.bytes += event.size
        queue = self.keys.setdefault(event.key, deque())
        queue.append(event)
        if len(queue) == 1:
            if missing is None:
                self.ready[event.key] = None
            else:
                self._wait(event, missing, now)

    def arrived(self, row: Hashable) -> bool:
        """Whether somebody waited for it."""
        found = self.waiting.get(row)
        self.ready.update(found or {})
        return bool(found)

    def hurry(self, key: bytes | None = None) -> int:
        """Judge the first of a key, or of all, whatever its tier; how many keys that are."""
        keys = self.keys if key is None else self.keys.keys() & {key}
        self.ready.update(dict.fromkeys(keys))
        return len(keys)

    @property
    def next(self) -> int | None:
        """When something is to be judged, in ms; None if nothing is parked."""
        if self.ready:
            return 0
        while self.agenda and self.due.get(self.agenda[0][1]) != self.agenda[0][0]:
            heappop(self.agenda)
        return self.agenda[0][0] if self.agenda else None

    @property
    def oldest(self) -> Parked | None:
        return next(iter(self.events.values()), None)

    def step(self, judge: Judge, now: int, most: int) -> list[Settled]:
        """What is settled by now, in order per key, after so many judgements at most. What is left is still ready."""
        while self.agenda and self.agenda[0][0] <= now:
            due, key = heappop(self.agenda)
            if self.due.get(key) == due:
                self.ready[key] = None
        settled: list[Settled] = []
        while self.ready and most > 0:
            key = next(iter(self.ready))
            while key in self.ready and most > 0:
                most -= 1
                event = self.keys[key][0]
                result = judge(event)
                if isinstance(result, Missing) and now < self._end(event):
                    self._wait(event, result, now)
                else:
                    settled.append(Settled(event, result))
                    self._drop(key)
        return settled

    def shed(self) -> list[Settled]:
        """What has no room: the oldest, which have had most of their time. The next of their keys are judged."""
        settled: list[Settled] = []
        while len(self.events) > self.most_events or self.bytes > self.most_bytes:
            oldest = next(iter(self.events.values()))
            rule = f"at most {self.most_events} events and {self.most_bytes} bytes of a source are parked"
            settled.append(
                Settled(oldest, BadMessage(f"too much is parked: {rule}", rule=rule, code="parked_full"))
            )
            self._drop(oldest.key)
        return settled

    def give_up(self, key: bytes | None, most: int) -> list[Settled]:
        """So many events of a key, or of all, because somebody says so."""
        queue = self.events.values() if key is None else self.keys.get(key, ())
        why = BadMessage("given up by a steward", rule="it waits no longer", code="given_up")
        settled = [Settled(event, why) for event, _ in zip(queue, range(most), strict=False)]
        for each in settled:
            self._drop(each.event.key)
        return settled

    def erase(self, events: Collection[Parked]) -> list[Settled]:
        """Those of these events that wait still, wherever among those of their key: nothing becomes of them."""
        settled = [Settled(event, None) for event in events if self.events.get(event.id) is event]
        gone = {each.event.id for each in settled}
        for key in {each.event.key for each in settled}:
            queue = self.keys[key]
            left = self.keys[key] = deque(event for event in queue if event.id not in gone)
            if queue[0].id in gone:
                self._forget(key)
                if left:
                    self.ready[key] = None
            if not left:
                del self.keys[key]
        for each in settled:
            del self.events[each.event.id]
            self.bytes -= each.event.size
        return settled

    def attempts(self, event: Parked, now: int) -> int:
        """Tries until now: the first when it came, and one for each tier that has ended."""
        return 1 + sum(event.at + end <= now for end in self.ends)

    @property
    def fullness(self) -> float:
        """Share of the room that is taken."""
        return max(len(self.events) / self.most_events, self.bytes / self.most_bytes)

    def _end(self, event: Parked) -> int:
        """When it is given up. Rows cannot come while this process is away, so it has the last tier once more."""
        return max(event.at + (self.ends[-1] if self.ends else 0), self.started + self.last)

    def _wait(self, event: Parked, missing: Missing, now: int) -> None:
        key = event.key
        self._forget(key)
        self.awaits[key] = missing.awaited
        self.waiting.setdefault(missing.awaited, {})[key] = None
        self.due[key] = next((event.at + end for end in self.ends if event.at + end > now), self._end(event))
        heappush(self.agenda, (self.due[key], key))
        if len(self.agenda) > 2 * len(self.due) + 100:
            self.agenda = sorted((due, key) for key, due in self.due.items())

    def _drop(self, key: bytes) -> None:
        """The first of a key is gone: the next one is to be judged."""
        queue = self.keys[key]
        event = queue.popleft()
        del self.events[event.id]
        self.bytes -= event.size
        self._forget(key)
        if queue:
            self.ready[key] = None
        else:
            del self.keys[key]

    def _forget(self, key: bytes) -> None:
        """What was known of a key's first."""
        self.ready.pop(key, None)
        self.due.pop(key, None)
        what = self.awaits.pop(key, None)
        if what is not None:
            keys = self.waiting[what]
            del keys[key]
            if not keys:
                del self.waiting[what]
