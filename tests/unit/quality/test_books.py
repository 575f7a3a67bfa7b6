"""A minute that does not balance: record by record, what is missing and what is in no books."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.quality.core.books import NAMED, Found, Line, Seen, compare, letters, told

MINUTE = datetime(2026, 11, 24, 10, 2, tzinfo=UTC)


def line(accepted: int, landed: int, **more: int) -> Line:
    said = {"published": accepted, "duplicate": 0, "dead_lettered": 0} | more
    return Line(MINUTE, accepted=accepted, landed=landed, **said)


def seen(offset: int, receipt: str | None = "r", partition: int = 0) -> Seen:
    return Seen("events.drops", partition, offset, f"e{partition}.{offset}", receipt)


def test_an_event_of_the_topic_that_is_not_archived_is_named_with_its_place() -> None:
    events = [seen(0), seen(1), seen(2)]
    found = compare(line(3, 2), events, {(0, 0), (0, 2)}, {"r": 3}, produced_by_others=False)
    assert (found.missing, found.unbooked, found.nowhere) == (1, 0, 0)
    (named,) = found.named
    assert (named.why, named.topic, named.partition, named.offset, named.event_id) == (
        "not_archived", "events.drops", 0, 1, "e0.1",
    )  # fmt: skip


def test_an_event_that_is_on_no_topic_is_known_by_its_receipt() -> None:
    found = compare(line(3, 1), [seen(0)], {(0, 0)}, {"r": 2, "s": 1}, produced_by_others=False)
    assert (found.missing, found.nowhere, found.receipts, found.named) == (2, 2, ["r", "s"], [])
    assert "2 of them are not on the topic either (receipts r, s)" in told([line(3, 1)], found)


def test_an_event_that_is_in_no_books_is_told_unless_others_are_to_write_the_topic() -> None:
    events = [seen(0), seen(1, None), seen(2, "unheard of")]
    places = {(0, 0), (0, 1), (0, 2)}
    found = compare(line(1, 3), events, places, {"r": 1}, produced_by_others=False)
    assert (found.missing, found.unbooked) == (0, 2)
    assert [(each.why, each.offset) for each in found.named] == [("not_in_books", 1), ("not_in_books", 2)]
    assert compare(line(1, 3), events, places, {"r": 1}, produced_by_others=True) == Found()


def test_dead_letters_that_are_not_archived_are_named() -> None:
    written = [Seen("events.dead", 0, at, f"x/{at}", "r") for at in range(3)]
    found = letters(line(3, 0, published=0, dead_lettered=2), written, {"x/0", "x/2"})
    assert [(each.offset, each.event_id) for each in found.named] == [(1, None)]


def test_what_was_erased_while_it_was_parked_is_no_missing_letter() -> None:
    assert line(5, 2, published=2, dead_lettered=1, parked=1, erased=1).letters == 0
    assert line(5, 2, published=2, dead_lettered=1, erased=1).letters == 1


def test_a_flood_is_counted_and_named_in_part() -> None:
    found = compare(
        line(100, 0), [seen(at) for at in range(100)], set(), {"r": 100}, produced_by_others=False
    )
    assert (found.missing, len(found.named)) == (100, NAMED)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), st.booleans()), max_size=40),
)
def test_what_is_found_is_what_the_books_lack(
    events: list[tuple[str, bool, bool, bool]],
) -> None:
    """Of each event: its receipt, whether it is in the books, on the topic, archived (which it is only from there)."""
    booked = Counter(receipt for receipt, in_books, _, _ in events if in_books)
    on_topic = [
        Seen("t", 0, at, None, receipt if in_books else None)
        for at, (receipt, in_books, written, _) in enumerate(events)
        if written
    ]
    archived = {(0, at) for at, (_, _, written, kept) in enumerate(events) if written and kept}
    books = line(booked.total(), len(archived))
    found = compare(books, on_topic, archived, booked, produced_by_others=False)
    assert found.missing == sum(
        (in_books or written) and not (written and kept) for _, in_books, written, kept in events
    )
    assert found.unbooked == sum(written and not in_books for _, in_books, written, _ in events)
    assert books.events == found.missing - found.unbooked
