"""Erasure in merge: when all that could bring the subject back has been heard of, its rows go, and the log before.

Every combine partition of the source tells all merge partitions when it has passed the erasure and leaves the subject
out (round 0). A merge partition that has heard all of them drops the subject and says so to the others (round 1): KPIs
over KPIs take rows from all merge partitions, so they are gone through once more for each level (`rounds`). What was
heard and is lost in a crash is told again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from libs.common import clock
from libs.common.catalog import Catalog
from libs.common.events import ErasureSubject
from libs.common.kafka import Record
from libs.common.stream import Output
from libs.common.topics import PARTIALS
from services.detector.core.engine import Engine
from services.detector.core.erasure import concerned, erase
from services.detector.handlers import bus
from services.detector.handlers.erasures import AGAIN_SECONDS, STATE_STORE, Erasures, answer


@dataclass
class Erasing:
    """How far one merge partition is with the erasures that are open."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    """Erasure → rows found, rows dropped; kept in the snapshots."""
    heard: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    """(erasure, round) → who has told of it."""
    rounds: dict[str, int] = field(default_factory=dict)
    """Erasure → rounds that are done, by this process."""
    told: dict[str, float] = field(default_factory=dict)
    """Erasure → when (monotonic) the others were told last."""

    def hear(self, records: Sequence[Record]) -> None:
        for id, round, number in bus.erased_in(records):
            self.heard.setdefault((id, round), set()).add(number)

    def forget(self, open: set[str]) -> None:
        """Keep nothing of erasures that are over."""
        for kept in (self.counts, self.rounds, self.told):
            for id in kept.keys() - open:
                del kept[id]
        self.heard = {place: who for place, who in self.heard.items() if place[0] in open}


def due(
    erasures: Erasures, catalog: Catalog, number: int, state: Erasing, engine: Engine
) -> list[ErasureSubject]:
    """Those of which merge partition `number` can do a round now."""
    mine = [
        each
        for each in erasures.subjects.values()
        if f"{STATE_STORE}/{number}" in erasures.open_stores(each.id)
    ]
    state.forget({each.id for each in erasures.subjects.values() if erasures.open_stores(each.id)})
    found: list[ErasureSubject] = []
    for subject in mine:
        done = state.rounds.get(subject.id, 0)
        source = catalog.source(subject.source)
        inputs = source.partitions if source is not None else 0
        wanted = inputs if done == 0 else PARTIALS.partitions
        if not concerned(engine, subject.series):
            state.rounds[subject.id] = subject.rounds
            state.counts.setdefault(subject.id, [0, 0])
        elif done < subject.rounds and len(state.heard.get((subject.id, done), ())) >= wanted:
            found.append(subject)
    return found


def carry_out(subjects: Sequence[ErasureSubject], state: Erasing, engine: Engine) -> None:
    """One round of each; a snapshot is to follow in the same transaction."""
    for subject in subjects:
        found, dropped = erase(engine, subject.series, subject.id)
        before = state.counts.get(subject.id, [0, 0])
        state.counts[subject.id] = [before[0] + found, before[1] + dropped]
        state.rounds[subject.id] = state.rounds.get(subject.id, 0) + 1
        state.told.pop(subject.id, None)


def tell(erasures: Erasures, number: int, state: Erasing, *, settled: bool) -> Iterator[Output]:
    """To the other merge partitions which rounds are done, and, when the log before is deleted too (`settled`), that
    the subject is gone from here."""
    now = clock.monotonic()
    for subject in list(erasures.subjects.values()):
        done = state.rounds.get(subject.id, 0)
        if done == 0 or not erasures.open_stores(subject.id):
            continue
        if now - state.told.get(subject.id, -AGAIN_SECONDS) < AGAIN_SECONDS:
            continue
        store = f"{STATE_STORE}/{number}"
        is_open = store in erasures.open_stores(subject.id)
        if done >= subject.rounds and is_open and not settled:
            continue
        state.told[subject.id] = now
        for round in range(1, min(done, subject.rounds - 1) + 1):
            yield from bus.erased(subject.id, round, number)
        if done >= subject.rounds and is_open:
            found, dropped = state.counts.get(subject.id, [0, 0])
            yield answer(subject, store, found, dropped, _reason(found - dropped))


def _reason(renamed: int) -> str:
    return (
        f"{renamed} rows of KPIs that are not grouped by the subject keep counting, without its name"
        if renamed
        else ""
    )
