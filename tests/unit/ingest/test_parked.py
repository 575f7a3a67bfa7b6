"""Parked events keep their order per key, hold up nobody else, and none is lost or doubled, whatever comes."""

from collections import Counter, defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadMessage
from services.ingest.core.parked import Lot, Missing, Parked, awaited
from services.ingest.core.records import Good
from tests.examples import examples

TIERS = (10, 60, 600)
TOTAL = sum(TIERS)


class Writer:
    """What the edge does, without the edge: a topic, rows that have come, and a clock."""

    def __init__(self, most: int = 1_000) -> None:
        self.now, self.most = 0, most
        self.rows: set[str] = set()
        self.topic: dict[str, Parked] = {}
        """What is parked by what was committed, in order."""
        self.needs: dict[str, str | None] = {}
        """Of every event that was accepted, in order, the row that it refers to."""
        self.keys: dict[str, bytes] = {}
        self.published: list[str] = []
        self.dead: dict[str, BadMessage] = {}
        self.erased: list[str] = []
        self.lot = Lot(TIERS, most, 10**9, self.now)

    def missing(self, need: str | None) -> Missing | None:
        return None if need is None or need in self.rows else Missing("row", need, "rows")

    def judge(self, event: Parked) -> Good | BadMessage:
        need = self.needs[event.id]
        if need == "unfit":
            return BadMessage("it does not fit any more")
        return self.missing(need) or Good(0, (), event.key, event.id, None, b"")

    def accept(self, key: str, need: str | None = None) -> str:
        id = f"e{len(self.needs)}"
        self.needs[id], self.keys[id] = need, key.encode()
        missing = self.missing(need)
        if missing is None and key.encode() not in self.lot.keys:
            self.published.append(id)
            return id
        event = self.topic[id] = Parked(id, key.encode(), self.now, "receipt", b"body")
        self.lot.park(event, missing, self.now)
        self.settle(self.lot.shed())
        return id

    def settle(self, settled: list[Any]) -> None:
        for event, result in ((each.event, each.result) for each in settled):
            del self.topic[event.id]
            if isinstance(result, Good):
                ahead = [id for id in self.topic if self.keys[id] == event.key]
                assert all(int(id[1:]) > int(event.id[1:]) for id in ahead), "one before it waits still"
                assert self.missing(self.needs[event.id]) is None
                self.published.append(event.id)
            elif result is None:
                self.erased.append(event.id)
            else:
                if isinstance(result, Missing):
                    assert self.now >= event.at + TOTAL, "given up too early"
                self.dead[event.id] = result

    def step(self, most: int = 1_000) -> None:
        if self.lot.next is not None and self.lot.next <= self.now:
            self.settle(self.lot.step(self.judge, self.now, most))

    def erase(self, *ids: str) -> None:
        self.settle(self.lot.erase([self.topic[id] for id in ids]))

    def row(self, row: str) -> None:
        self.rows.add(row)
        self.lot.arrived(awaited("rows", row))
        self.step()

    def wait(self, until: int) -> None:
        """Time passes, and whatever is due is done in time."""
        while self.lot.next is not None and self.lot.next <= until:
            self.now = max(self.now, self.lot.next)
            self.step()
        self.now = until

    def restart(self) -> None:
        self.lot = Lot(TIERS, self.most, 10**9, self.now)
        for event in self.topic.values():
            self.lot.park(event, None, self.now)

    def check(self) -> None:
        assert list(self.lot.events) == list(self.topic)
        places = Counter([*self.published, *self.dead, *self.erased, *self.topic])
        assert places == Counter(self.needs.keys()), "lost or doubled"
        by_key: dict[bytes, list[int]] = defaultdict(list)
        for id in self.published:
            by_key[self.keys[id]].append(int(id[1:]))
        assert all(places == sorted(places) for places in by_key.values()), "out of order"
        queued = [event.id for queue in self.lot.keys.values() for event in queue]
        assert sorted(queued) == sorted(self.lot.events)
        assert all(self.lot.keys.values())
        assert self.lot.bytes == sum(event.size for event in self.lot.events.values())
        assert len(self.lot.events) <= self.most
        assert self.lot.ready.keys() <= self.lot.keys.keys()
        assert self.lot.awaits.keys() == self.lot.due.keys() <= self.lot.keys.keys()


KEYS, NEEDS = st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "r0", "r1", "r2", "unfit"])
ONE_OR_ALL = st.one_of(st.none(), KEYS.map(str.encode))
DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("event"), KEYS, NEEDS),
        st.tuples(st.just("event"), KEYS, NEEDS),
        st.tuples(st.just("row"), st.sampled_from(["r0", "r1"])),
        st.tuples(st.just("gone"), st.sampled_from(["r0", "r1"])),
        st.tuples(st.just("pass"), st.sampled_from([1, 9, 61, 300, 700])),
        st.tuples(st.just("step"), st.integers(1, 3)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("hurry"), ONE_OR_ALL),
        st.tuples(st.just("give up"), ONE_OR_ALL),
        st.tuples(st.just("erase"), st.sets(st.integers(0, 9))),
        st.tuples(st.just("retime")),
    ),
    max_size=60,
)


@examples(500)
@given(DOINGS, st.sampled_from([3, 1_000]))
def test_whatever_comes_order_holds_per_key_and_nothing_is_lost_or_doubled(
    doings: list[tuple[Any, ...]], most: int
) -> None:
    writer = Writer(most)
    for what, *how in doings:
        match what:
            case "event":
                writer.accept(*how)
            case "row":
                writer.row(*how)
            case "gone":
                writer.rows.discard(*how)
            case "pass":
                writer.now += how[0]  # what is due in between is done later, or all at once
            case "step":
                writer.step(*how)
            case "restart":
                writer.restart()
            case "hurry":
                writer.lot.hurry(*how)
            case "give up":
                writer.settle(writer.lot.give_up(*how, most=2))
            case "erase":
                writer.erase(*(id for place, id in enumerate(writer.topic) if place in how[0]))
            case _:
                writer.lot.retime(TIERS)
        writer.check()
    writer.wait(writer.now + TOTAL + TIERS[-1] + 1)
    writer.check()
    assert not writer.topic, "something waits for ever"


def test_other_keys_flow_while_one_waits() -> None:
    writer = Writer()
    first, behind = writer.accept("a", "r0"), writer.accept("a")
    other = writer.accept("b")
    assert writer.published == [other]
    writer.row("r0")
    assert writer.published == [other, first, behind]


def test_what_comes_is_tried_at_once_and_what_nobody_waits_for_is_not() -> None:
    writer = Writer()
    writer.accept("a", "r0")
    assert writer.lot.next == TIERS[0]
    assert not writer.lot.arrived(awaited("rows", "r1"))
    assert not writer.lot.arrived(awaited("other", "r0"))
    assert writer.lot.next == TIERS[0]
    assert writer.lot.arrived(awaited("rows", "r0"))
    assert writer.lot.next == 0


def test_it_is_tried_when_a_tier_ends_and_given_up_after_the_last() -> None:
    writer = Writer()
    id = writer.accept("a", "r0")
    tried = []
    while writer.topic:
        tried.append(writer.lot.next)
        writer.wait(writer.lot.next or 0)
    assert tried == [10, 70, 670]
    assert (writer.dead[id].code, writer.dead[id].rule) == ("reference_missing", "in rows")
    assert writer.lot.attempts(Parked(id, b"a", 0, "", b""), 670) == 4


def test_what_never_comes_holds_its_key_up_once_and_not_for_each_event() -> None:
    writer = Writer()
    missing = [writer.accept("a", f"gone {number}") for number in range(5)]
    fine = writer.accept("a")
    writer.wait(TOTAL)
    assert (list(writer.dead), writer.published) == (missing, [fine])


def test_after_a_start_nothing_is_given_up_before_the_last_tier_has_passed_again() -> None:
    """Rows cannot come while this process, which takes them too, is away."""
    writer = Writer()
    id = writer.accept("a", "r0")
    writer.now = 10 * TOTAL
    writer.restart()
    writer.step()
    assert id in writer.topic
    writer.wait(10 * TOTAL + TIERS[-1] - 1)
    assert id in writer.topic
    writer.wait(10 * TOTAL + TIERS[-1])
    assert id in writer.dead


def test_of_too_many_the_oldest_are_given_up_and_those_behind_them_go_on() -> None:
    writer = Writer(most=3)
    first, behind = writer.accept("a", "r0"), writer.accept("a")
    second = writer.accept("b", "r0")
    third = writer.accept("c", "r0")
    assert {id: fault.code for id, fault in writer.dead.items()} == {first: "parked_full"}
    writer.step()
    assert writer.published == [behind]
    assert list(writer.topic) == [second, third]


def test_one_step_judges_so_many_and_the_rest_is_ready() -> None:
    writer = Writer()
    ids = [writer.accept("a", "r0"), *(writer.accept("a") for _ in range(4))]
    writer.rows.add("r0")
    writer.lot.hurry()
    writer.step(2)
    assert (writer.published, writer.lot.next) == (ids[:2], 0)
    writer.accept("a")
    writer.step()
    assert writer.published == list(writer.needs)
    assert writer.lot.next is None


def test_a_steward_gives_a_key_up_or_has_it_tried() -> None:
    writer = Writer()
    kept, gone = writer.accept("a", "r0"), [writer.accept("b", "r0"), writer.accept("b")]
    writer.settle(writer.lot.give_up(b"b", 10))
    assert {id: fault.code for id, fault in writer.dead.items()} == dict.fromkeys(gone, "given_up")
    writer.rows.add("r0")
    assert (writer.lot.hurry(b"b"), writer.lot.hurry(b"a")) == (0, 1)
    writer.step()
    assert writer.published == [kept]


def test_what_is_erased_is_gone_wherever_it_waits_and_those_behind_it_go_on() -> None:
    writer = Writer()
    first, second, third = writer.accept("a", "r0"), writer.accept("a"), writer.accept("a")
    alone, other = writer.accept("b", "r0"), writer.accept("c", "r0")
    before = writer.topic[second]
    writer.erase(second, alone)
    assert (list(writer.topic), set(writer.lot.keys)) == ([first, third, other], {b"a", b"c"})
    assert writer.lot.erase([before]) == []
    writer.erase(first)
    writer.step()
    assert (writer.published, list(writer.topic)) == ([third], [other])


def test_what_does_not_fit_any_more_is_a_dead_letter_and_its_key_goes_on() -> None:
    writer = Writer()
    writer.accept("a", "r0")
    spoilt, fine = writer.accept("a", "unfit"), writer.accept("a")
    writer.row("r0")
    assert list(writer.dead) == [spoilt]
    assert writer.published[-1] == fine


def test_plans_that_came_to_nothing_do_not_pile_up() -> None:
    writer = Writer()
    writer.accept("a", "r0")
    for _ in range(1_000):
        writer.lot.hurry()
        writer.step()
    assert len(writer.lot.agenda) < 200
