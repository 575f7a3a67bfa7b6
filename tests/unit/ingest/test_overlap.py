"""Whatever is committed no further behind than the cap is ingested, once: by a source that commits late, repeats,
reorders, refuses and breaks, read by a pull that dies and comes back with what it had stored. Here the test knows
the truth; the connector is the real one, its endpoint and its clock are made up."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Source
from libs.common.catalog.pulls import Overlapping
from services.ingest.core import overlap
from services.ingest.core.answers import Unreadable
from services.ingest.core.overlap import Limits, Overlap, Round
from services.ingest.core.pages import Page, Standing, text_of
from services.ingest.core.window import Window
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.http import http
from tests.examples import examples

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
CAP = timedelta(seconds=60)
ROWS = 200


@dataclass
class Row:
    id: str
    value: int
    """Milliseconds since BEGIN, or a number."""
    commits: float
    bad: bool = False


@dataclass
class World:
    """An endpoint, the clock, and what a writer would have published."""

    rows: list[Row]
    times: bool
    links: bool
    random: Random
    now: float = 0.0
    faults: bool = True
    window: Window = field(default_factory=lambda: Window(10_000, 1_000))
    published: Counter[str] = field(default_factory=Counter)
    letters: Counter[bytes] = field(default_factory=Counter)
    died: int = 0

    def clock(self) -> datetime:
        return BEGIN + timedelta(milliseconds=self.now)

    def shown(self, row: Row) -> dict[str, Any]:
        at = row.value
        if self.times:
            at = (BEGIN + timedelta(milliseconds=row.value)).isoformat()
        return {"at": at, **({} if row.bad else {"id": row.id})}

    def answer(self, request: httpx.Request) -> httpx.Response:
        """From a cursor on, in its order, ten at most; pages shuffled and with repetitions. With links: by place in
        a list that has the newest first."""
        self.now += self.random.uniform(0, 400)
        if self.faults and self.random.random() < 0.1:
            return httpx.Response(self.random.choice([429, 500, 503]))
        if self.faults and self.random.random() < 0.03:
            return httpx.Response(200, text="<html>")
        asked = request.url.params
        start = asked.get("from")
        found = [row for row in self.rows if row.commits <= self.now]
        if start is not None:
            begin = (
                (datetime.fromisoformat(start) - BEGIN) / timedelta(milliseconds=1)
                if self.times
                else int(start)
            )
            found = [row for row in found if row.value >= begin]
        found.sort(key=lambda row: row.value, reverse=self.links)
        skip, headers = int(asked.get("skip", 0)), {}
        if self.links and len(found) > skip + 10:
            link = request.url.copy_merge_params({"skip": skip + 10})
            headers["Link"] = f'<{link}>; rel="next"'
        page = found[skip : skip + 10] if self.links else found[:10]
        page = page + self.random.choices(page, k=2) if page else page
        self.random.shuffle(page)
        return httpx.Response(200, json=[self.shown(row) for row in page], headers=headers)

    def write(self, records: list[bytes]) -> list[str]:
        statuses = []
        for record in records:
            id = json.loads(record).get("id")
            if id is None:
                self.letters[record] += 1
                statuses.append("dead_lettered")
            elif self.window.find(id, 0):
                statuses.append("duplicate")
            else:
                self.window.remember([id], "", 0)
                self.published[id] += 1
                statuses.append("published")
        return statuses


SOURCE = {
    "kind": "source", "id": "late", "title": "Late", "owner": "fleet", "event_id": "id", "event_time": "at",
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


def source_of(*, times: bool) -> Source:
    cap = "60s" if times else 60
    pull = {
        "url": "http://source/list", "cursor_parameter": "from", "cursor_field": "at", "cursor_of": "record",
        "page_size": 10, "overlap": {"cap": cap, "safety": "2s"},
    }  # fmt: skip
    kind = "timestamp" if times else "long"
    fields = [{"name": "id", "type": "string"}, {"name": "at", "type": kind}]
    return Source.model_validate({**SOURCE, "fields": fields, "pull": pull})


@st.composite
def late_times(draw: st.DrawFn) -> list[Row]:
    gaps = draw(st.lists(st.integers(0, 900), min_size=1, max_size=ROWS))
    usual = draw(st.integers(0, 5_000))
    random = Random(draw(st.integers(0, 2**32)))
    rows, at = [], 0
    for number, gap in enumerate(gaps):
        at += gap
        late = (
            random.uniform(0, usual)
            if random.random() < 0.95
            else random.uniform(0, CAP.total_seconds() * 1000)
        )
        rows.append(Row(f"r{number}", at, at + late, random.random() < 0.02))
    return rows


@st.composite
def late_numbers(draw: st.DrawFn) -> list[Row]:
    """None is committed when the largest that is committed is more than 60 further."""
    count, random = draw(st.integers(1, ROWS)), Random(draw(st.integers(0, 2**32)))
    keys = [number + (random.uniform(0, 60) if random.random() < 0.2 else 0) for number in range(count)]
    return [Row(f"r{number}", number, key * 300) for number, key in enumerate(keys)]


def everything_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SWEEP_ROUNDS", 5)
    end = max(row.commits for row in world.rows) + 10_000
    asyncio.run(_everything(world, end))
    expected = {row.id for row in world.rows if not row.bad}
    assert world.published.keys() == expected
    assert set(world.published.values()) <= {1}
    assert len(world.letters) == len({json.dumps(world.shown(row)) for row in world.rows if row.bad})
    assert max(world.letters.values(), default=1) <= 1 + world.died


async def _everything(world: World, end: float) -> None:
    source, stored = source_of(times=world.times), json.dumps([None, None])
    quiet = 0
    async with httpx.AsyncClient(transport=httpx.MockTransport(world.answer)) as client:
        desk = Desk(settings=cast(Any, None), pool=cast(Any, None), http=client, now=world.clock)
        while quiet < 8:
            if world.now > end:
                world.faults, quiet = False, quiet + 1
            standing = Standing.of(*json.loads(stored))
            try:
                async for page in http(desk, source, standing):
                    statuses = world.write(standing.unknown(page))
                    if world.faults and world.random.random() < 0.05:
                        world.died += 1
                        break
                    standing.settle(page, statuses, ids=True)
                    stored = json.dumps([standing.cursor, standing.state()])
            except (httpx.HTTPStatusError, Unreadable):
                pass
            world.now += world.random.uniform(0, 3_000)


@examples(30)
@given(rows=late_times(), links=st.booleans(), seed=st.integers(0, 2**32))
def test_of_times_everything_within_the_cap_is_ingested_once(rows: list[Row], links: bool, seed: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        everything_once(World(rows, True, links, Random(seed)), monkeypatch)


@examples(30)
@given(rows=late_numbers(), links=st.booleans(), seed=st.integers(0, 2**32))
def test_of_numbers_everything_within_the_cap_is_ingested_once(
    rows: list[Row], links: bool, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        everything_once(World(rows, False, links, Random(seed)), monkeypatch)


def test_a_row_of_a_reference_that_is_as_it_was_before_the_last_is_published_again() -> None:
    standing, limits = Standing(), Overlapping(cap=10)
    published: list[bytes] = []
    for rows in ([(b"A", 1)], [(b"A", 1), (b"B", 2)], [(b"B", 2), (b"A", 3)], [(b"A", 3)]):
        standing.begin(limits, times=False, now=BEGIN)
        page = Page([record for record, _ in rows], values=[value for _, value in rows])
        published += standing.unknown(page)
        standing.settle(page, ["published"] * len(standing.unknown(page)), ids=False)
    assert published == [b"A", b"B", b"A"]


def test_junk_of_the_overlap_is_set_aside_once_however_much_it_is() -> None:
    standing, letters = Standing(), 0
    page = Page([b"junk %d" % number for number in range(5_000)], values=list(range(5_000)))
    for _ in range(3):
        standing.begin(Overlapping(cap=10_000), times=False, now=BEGIN)
        unknown = standing.unknown(page)
        letters += len(unknown)
        standing.settle(page, ["dead_lettered"] * len(unknown), ids=True)
    assert letters == 5_000
    stored = (standing.state() or {})["known"]
    assert len(stored) == 1_000
    assert Standing.of(None, {"known": stored}).unknown(page)[-1] == b"junk 3999"


def test_what_is_later_than_the_width_is_found_by_the_next_sweep() -> None:
    narrow = run([0] * 500)
    assert narrow.width == 10
    assert narrow.high is not None
    committed, limits, state, begins = narrow.high - 9_000, Limits(10, 10_000, 0), narrow, list[int]()
    while len(begins) < 101 and (not begins or begins[-1] > committed):
        round = Round(limits, state, None)
        begins.append(round.since if round.since is not None else 0)
        round.take([state.high], [False])
        state = round.done()
    assert begins[0] == narrow.high - 10, "it is nowhere near the width"
    assert begins[-1] <= committed, "and the source has nothing new"


def run(lateness: list[int], state: Overlap | None = None) -> Overlap:
    """A round each: one row on time, and one that was so late."""
    limits = Limits(10, 10_000, 0)
    state = state or Overlap(width=limits.cap)
    for late in lateness:
        round = Round(limits, state, None)
        high = state.high or 0
        round.take([high + 100, high - late], [True, late > 0])
        state = round.done()
    return state


def test_the_width_shrinks_to_its_floor_while_nothing_is_late() -> None:
    assert run([0] * 500).width == 10


def test_the_width_grows_at_once_with_what_is_found_late() -> None:
    narrow = run([0] * 500)
    assert 3_000 <= run([3_000], narrow).width <= 3_000 * 2
    assert run([3_000], narrow).late == 1
    assert run([3_000], narrow).longest == 3_000


def test_the_width_never_exceeds_the_cap() -> None:
    assert run([9_999] * 10).width == 10_000


def test_what_was_late_once_is_forgotten_slowly() -> None:
    after = run([3_000], run([0] * 500))
    assert run([0] * 100, after).width >= 3_000
    assert run([0] * 3_000, after).width == 10


def test_the_cursor_stays_behind_the_clock_whatever_a_record_says() -> None:
    round = Round(Limits(0, 60_000_000, 5_000_000), Overlap(width=60_000_000), 100_000_000)
    round.take([99_000_000, 10**15], [True, True])
    assert round.done().high == 95_000_000


def test_a_time_is_asked_with_in_rfc_3339() -> None:
    assert text_of(1_795_600_000_123_999, times=True) == "2026-11-25T09:46:40.123Z"
    assert text_of(-(10**20), times=True) == "0001-01-01T00:00:00.000Z"
