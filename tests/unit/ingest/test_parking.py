"""A writer's transactions with events that wait: the books are exact and every event is in one place, restarts or not."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from libs.common import clock
from libs.common.catalog import DEFINITION, Catalog, Source
from libs.common.events import DeadLetter, DisposalChanged, ErasureSubject, LedgerEntry
from libs.common.kafka import Headers
from libs.common.topics import DEAD, DISPOSALS, LEDGER, PARKED
from services.ingest.core.admission import Admission
from services.ingest.core.contract import Contract
from services.ingest.core.records import Good
from services.ingest.handlers.batch import Batch
from services.ingest.handlers.known import Followed, Known
from services.ingest.handlers.layout import Layout
from services.ingest.handlers.parking import Parking, recalled
from services.ingest.handlers.shredding import unpark
from services.ingest.handlers.submission import Submission
from services.ingest.handlers.writer import Writer
from services.ingest.settings import Settings
from tests.examples import examples
from tests.unit.common.test_retry import DEFINITIONS, LANDINGS

SETTINGS = Settings(
    kafka="", database="", redis="", registry="", receipt_secret=SecretStr("of these tests alone"), parked_events=6,
)  # fmt: skip
SOURCE: dict[str, Any] = LANDINGS | {
    "key": ["berth"],
    "fields": [*LANDINGS["fields"], {"name": "berth", "type": "string"}],
}
START = clock.moment(1_763_978_400_000)


@dataclass(frozen=True)
class Written:
    """A record of a topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    offset: int = 0
    timestamp: int = 0


@dataclass
class World:
    """The topics as they are committed, and a writer that works on them."""

    now: Any = START
    topics: dict[str, list[Written]] = field(default_factory=lambda: defaultdict(list))
    reference: Followed | None = None
    writer: Writer | None = None

    def start(self) -> "World":
        catalog = Catalog.of([DEFINITION.validate_python(each) for each in (*DEFINITIONS, SOURCE)])
        source, hangars = catalog.source("landings"), catalog.source("hangars")
        assert isinstance(source, Source)
        assert hangars is not None
        known = Known(SETTINGS, catalog)
        self.reference = known.followed["hangars"] = self.reference or Followed(SETTINGS, hangars)
        self.reference.listeners.clear()
        none: Any = None
        layout = Layout(SETTINGS, none, catalog, source)
        layout.lay(source.partitions)
        self.writer = Writer(SETTINGS, Admission(10**9, 10**9), layout, known, none, source, 1, 1)
        standing: dict[bytes | None, Written] = {}
        for record in self.topics[PARKED.of("landings")]:
            standing.pop(record.key, None)
            if record.value is not None:
                standing[record.key] = record
        for _, id, receipt in self.published():
            self.writer.window.remember([id], receipt, clock.milliseconds(self.now))
        events = [recalled(each) for each in standing.values()]
        self.writer.parking = Parking(self.writer, known, events, clock.milliseconds(self.now))
        return self

    @property
    def parking(self) -> Parking:
        assert self.writer is not None
        assert self.writer.parking is not None
        return self.writer.parking

    def commit(self, *submissions: Submission) -> None:
        assert self.writer is not None
        batch = Batch(self.writer, self.now)
        for submission in submissions:
            if submission.does is None:
                all(batch.take(submission).__await__())  # its turns
            else:
                submission.does(batch)
        batch.enter()
        for number, written in enumerate(batch.written()):
            self.topics[f"events {number}"] += [Written(*each) for each in written]
        for name, written in batch.others.items():
            self.topics[name] += [Written(*each) for each in written]
        for submission in submissions:
            self.writer.window.remember(submission.new, submission.receipt, batch.ms)
        self.parking.stop()

    def push(self, records: Sequence[dict[str, Any]]) -> list[str]:
        """What became of each record."""
        assert self.writer is not None
        body = "\n".join(json.dumps(each) for each in records).encode()
        submission = Submission(self.writer.contract, list(self.writer.contract.validator.lines(body)))
        self.commit(submission)
        found = {each["index"]: each["status"] for each in submission.results}
        return [found[index] for index in range(len(records))]

    def release(self) -> None:
        assert self.writer is not None
        self.commit(Submission(self.writer.contract, [], does=self.parking.release))

    def row(self, name: str) -> None:
        assert self.reference is not None
        self.reference.keys.take(name.encode(), gone=False)
        for listener in self.reference.listeners:
            listener("hangars", name)
        self.release()

    async def erase(self, hangar: str, id: str = "e") -> int:
        """Take out what waits for a hangar, as an order says that was given now; how many the answer names."""
        assert self.writer is not None
        subject = ErasureSubject.build(
            id=id, source="landings", field="hangar", value=hangar, series=[], rounds=1, upto={},
            stores=["ingest.parked"], ordered_at=self.now,
        )  # fmt: skip
        answers = self.topics[DISPOSALS.name]
        said = len(answers)
        self.writer.ready.set()
        unparking = asyncio.create_task(unpark(self.writer, subject))
        while len(answers) == said:  # a try that is due may be in the queue too
            submission = await self.writer.queue.get()
            self.commit(submission)
            submission.end()
        await unparking
        self.writer.ready.clear()
        answer = DisposalChanged.decode(answers[-1].value or b"")
        assert (answer.id, answer.erasure, answer.rows_after) == (f"{id}/ingest.parked", id, 0)
        assert answer.rows_before == answer.rows_deleted
        return answer.rows_deleted or 0

    def published(self) -> list[tuple[str, str, str]]:
        """(key, id, receipt), in order."""
        found = []
        for name in sorted(name for name in self.topics if name.startswith("events ")):
            for record in self.topics[name]:
                headers = dict(record.headers)
                key, receipt = (record.key or b"").decode(), headers["sx-receipt"].decode()
                found.append((key, headers["ce_id"].decode(), receipt))
        return found

    def books(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for record in self.topics[LEDGER.name]:
            entry = LedgerEntry.decode(record.value or b"")
            for name in ("accepted", "published", "dead_lettered", "duplicate", "parked", "erased"):
                total[name] += getattr(entry, name)
        return total

    def letters(self) -> list[DeadLetter]:
        return [DeadLetter.decode(record.value or b"") for record in self.topics[DEAD.name]]


def event(id: str, hangar: str, berth: str = "A") -> dict[str, Any]:
    return {"id": id, "at": "2026-11-24T10:00:00Z", "hangar": hangar, "berth": berth}


HANGARS, BERTHS = st.sampled_from(["north", "south", "late"]), st.sampled_from(["A", "B"])
IDS = st.integers(0, 12).map(lambda number: f"e{number}")
DOINGS = st.lists(
    st.one_of(
        st.lists(st.builds(event, IDS, HANGARS, BERTHS), min_size=1, max_size=5),
        st.sampled_from(["south", "restart", "pass", "release", "erase"]),
    ),
    max_size=25,
)


@examples(150)
@given(DOINGS)
async def test_accepted_is_published_dead_duplicate_parked_or_erased_whatever_comes(
    doings: list[Any],
) -> None:
    world = World().start()
    world.row("north")
    said: Counter[str] = Counter()
    places: dict[str, int] = {}
    """Of each id, where in the order of acceptance it is."""
    for doing in doings:
        if isinstance(doing, list):
            statuses = world.push(doing)
            new = [each["id"] for each, status in zip(doing, statuses, strict=True) if status != "duplicate"]
            places |= {id: said.total() + number for number, id in enumerate(new)}
            said.update(statuses)
        elif doing == "restart":
            world.start()
        elif doing == "pass":
            world.now += timedelta(seconds=40)
        elif doing == "south":
            world.row(doing)
        elif doing == "erase":
            await world.erase("late")
        else:
            world.release()
        books, parked = world.books(), world.parking.lot.events
        published, letters = world.published(), world.letters()
        ids = [id for _, id, _ in published]
        for berth in ("A", "B"):
            order = [places[id] for key, id, _ in published if key == berth]
            assert order == sorted(order), "out of order"
        assert len(ids) == len(set(ids)), "an event is published twice"
        assert not set(ids) & parked.keys(), "an event is published and waits"
        assert len({letter.id for letter in letters}) == len(letters)
        assert books["accepted"] == said.total()
        assert books["parked"] == len(parked) <= SETTINGS.parked_events
        assert (books["published"], books["dead_lettered"]) == (len(ids), len(letters))
        assert books["accepted"] == sum(books[name] for name in books if name != "accepted")


async def test_each_record_of_a_request_is_answered_whatever_became_of_it() -> None:
    world = World().start()
    world.row("north")
    records = [
        event("a", "late"), event("b", "north", "B"), event("a", "late"), {"id": "c"}, event("d", "north"),
        event("b", "north", "B"),
    ]  # fmt: skip
    assert world.push(records) == ["parked", "published", "duplicate", "refused", "parked", "duplicate"]
    assert world.push([event("a", "late")]) == ["duplicate"]


async def test_an_event_lands_with_the_receipt_and_the_minute_under_which_it_was_accepted() -> None:
    world = World().start()
    world.push([event("a", "late")])
    world.now += timedelta(seconds=65)
    world.start()
    world.row("late")
    ((key, id, receipt),) = world.published()
    (written,) = (
        world.topics["events 0"]
        + world.topics["events 1"]
        + world.topics["events 2"]
        + world.topics["events 3"]
    )
    headers = dict(written.headers)
    entries = [LedgerEntry.decode(record.value or b"") for record in world.topics[LEDGER.name]]
    assert [(each.minute, each.receipt) for each in entries] == [(START, receipt)] * 2
    assert (key, id, headers["sx-ingested"]) == ("A", "a", str(clock.milliseconds(START)).encode())
    assert world.push([event("a", "late")]) == ["duplicate"]


async def test_what_became_a_dead_letter_is_a_new_event_when_it_is_sent_again() -> None:
    """Its row may have come by now."""
    world = World().start()
    world.push([event("a", "late")])
    world.now += timedelta(seconds=70)
    world.release()
    (letter,) = world.letters()
    assert (letter.stage, letter.code, letter.attempts) == ("refer", "reference_missing", 3)
    assert world.push([event("a", "late")]) == ["parked"]
    world.row("late")
    assert [id for _, id, _ in world.published()] == ["a"]


async def test_of_an_erased_subject_nothing_is_left_that_waits_and_the_books_say_so() -> None:
    world = World().start()
    world.push([event("a", "late"), event("b", "south"), event("c", "late", "B")])
    world.now += timedelta(seconds=65)
    assert await world.erase("late") == 2
    assert (list(world.parking.lot.events), world.books()["erased"]) == (["b"], 2)
    last = {record.key: record.value for record in world.topics[PARKED.of("landings")]}
    assert (last[b"a"], last[b"c"], last[b"b"] is None) == (None, None, False)
    entries = [LedgerEntry.decode(record.value or b"") for record in world.topics[LEDGER.name]]
    assert [(each.minute, each.parked, each.erased) for each in entries] == [(START, 3, 0), (START, -2, 2)]
    world.start()  # killed: the order is carried out again
    assert await world.erase("late") == 0
    world.row("late")
    assert world.published() == []
    world.row("south")
    assert [id for _, id, _ in world.published()] == ["b"]


async def test_what_is_parked_after_an_order_is_a_new_fact() -> None:
    world = World().start()
    ordered = world.now
    world.now += timedelta(milliseconds=1)
    world.push([event("a", "late")])
    later, world.now = world.now, ordered
    assert await world.erase("late") == 0
    world.now = later
    world.row("late")
    assert [id for _, id, _ in world.published()] == ["a"]


async def test_a_subject_is_found_in_clear_and_by_the_pseudonym_that_what_waits_would_have_now() -> None:
    world = World().start()
    world.push([event("a", "late")])
    (waiting,) = world.parking.lot.events.values()
    assert world.writer is not None
    pseudonym: dict[str, Any] = {"kind": "pseudonym", "secret": "PEOPLE"}
    fields = [
        field | {"classification": "personal", "minimise": pseudonym} if field["name"] == "hangar" else field
        for field in SOURCE["fields"]
    ]
    changed = DEFINITION.validate_python(SOURCE | {"fields": fields})
    assert isinstance(changed, Source)
    secrets = {"PEOPLE": b"a secret of sixteen bytes or more"}
    world.writer.contract = Contract.of(changed, 1, 2, secrets)
    minimiser = world.writer.contract.minimiser
    assert minimiser is not None
    (found,) = minimiser.all(world.writer.contract.validator.lines(json.dumps(event("a", "late")).encode()))
    assert isinstance(found, Good)
    name = str(found.values[world.writer.contract.validator.names.index("hangar")])
    assert name != "late"
    named = [world.parking.names(waiting, "hangar", value) for value in ("late", name, "north", "None")]
    assert named == [True, True, False, False]
    assert not world.parking.names(waiting, "berth", "late")
    assert not world.parking.names(waiting, "what it lacks", "None")


async def test_an_order_to_drive_letters_again_is_not_parked() -> None:
    world = World().start()
    assert world.writer is not None
    body = json.dumps(event("a", "late")).encode()
    contract = world.writer.contract
    submission = Submission(contract, list(contract.validator.lines(body)), letters=["letter"])
    world.commit(submission)
    assert submission.results[0]["status"] == "published"
