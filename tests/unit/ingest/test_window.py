"""The dedup window knows what was published within its time and its bound, and under which receipt."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.core.window import Publication, Window

A, B = "a" * 32, "0" * 31 + "b"


def test_an_id_is_known_with_its_receipt_until_its_time_is_over() -> None:
    window = Window(10, keep=100)
    window.remember(["x", "y"], A, at=1_000)
    window.remember(["z"], B, at=1_050)
    found = window.find("y", now=1_099)
    assert found is not None
    assert (found.receipt, found.at) == (A, 1_000)
    assert window.find("y", now=1_100) is None
    window.forget(now=1_100)
    assert (len(window), window.since) == (1, 1_050)


def test_of_too_many_the_oldest_are_forgotten_first() -> None:
    window = Window(2, keep=10**9)
    window.remember(["a", "b", "c"], A, at=1)
    assert [id for id in "abc" if window.find(id, 1)] == ["b", "c"]


def test_an_id_that_is_published_anew_has_its_new_receipt_when_the_old_one_is_forgotten() -> None:
    window = Window(10, keep=100)
    window.remember(["x"], A, at=0)
    window.remember(["x"], B, at=150)
    window.forget(now=160)
    found = window.find("x", now=160)
    assert found is not None
    assert found.receipt == B


def test_what_was_read_back_out_of_order_is_known_by_its_own_time() -> None:
    window = Window(10, keep=100)
    window.remember(["late"], A, at=200)
    window.remember(["early"], B, at=50)
    assert window.find("early", now=160) is None
    assert window.find("late", now=160) is not None


def test_ids_of_a_receipt_that_is_withdrawn_are_new_until_they_are_published_anew() -> None:
    window = Window(10, 1_000)
    window.remember(["a", "b"], A, 5)
    window.withdraw([A])
    assert (window.find("a", 6), window.find("b", 6)) == (None, None)
    window.remember(["c"], A, 7)  # read back after a start, when it is known that they are withdrawn
    assert window.find("c", 8) is None
    window.remember(["a"], B, 9)
    assert window.find("a", 10) == Publication(B, 9)


def test_a_delivery_is_no_event_of_the_same_name() -> None:
    window = Window(10, keep=100)
    window.remember([("delivery", "x")], A, at=0)
    assert window.find("x", now=1) is None
    assert window.find(("delivery", "x"), now=1) is not None


def test_a_receipt_in_another_form_is_forgotten_and_the_id_is_not() -> None:
    window = Window(10, keep=100)
    window.remember(["x"], "another", at=0)
    found = window.find("x", now=1)
    assert found is not None
    assert found.receipt == ""


@dataclass
class Model:
    """The same, plainly."""

    size: int
    keep: int

    def __post_init__(self) -> None:
        self.entries: list[tuple[str, str, int]] = []

    def remember(self, ids: list[str], receipt: str, at: int) -> None:
        self.entries += [(id, receipt, at) for id in ids]
        while self.entries and (len(self.entries) > self.size or self.entries[0][2] <= at - self.keep):
            self.entries.pop(0)

    def find(self, id: str, now: int) -> tuple[str, int] | None:
        last = next((each for each in reversed(self.entries) if each[0] == id), None)
        return (last[1], last[2]) if last and last[2] > now - self.keep else None


IDS = st.lists(st.integers(0, 80).map(str), max_size=40, unique=True)


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, st.integers(0, 40)), max_size=40), st.integers(1, 100), st.integers(1, 300))
def test_it_is_what_a_plain_list_would_be(steps: list[tuple[list[str], int]], size: int, keep: int) -> None:
    window, model, now = Window(size, keep), Model(size, keep), 0
    for number, (ids, pause) in enumerate(steps):
        now += pause
        window.remember(ids, f"{number + 1:032x}", now)
        model.remember(ids, f"{number + 1:032x}", now)
        assert len(window) == len(model.entries)
        for id in map(str, range(81)):
            found = window.find(id, now)
            assert (found and (found.receipt, found.at)) == model.find(id, now)
