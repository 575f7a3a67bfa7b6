"""A source that gets partitions more while its KPIs run: no window closes without what comes on the new ones."""

from services.detector.core.combine import partials
from services.detector.core.engine import Engine
from services.detector.core.steps import Mark, Rows
from services.detector.core.watermarks import Watermark
from tests.unit.detector.test_engine import MINUTE, Event, frame
from tests.unit.detector.test_new_versions import OLD, begun, engine, live, marks, values


def rows(partition: int, minute: int) -> Rows:
    events = frame([(minute, Event(minute, "UA", 1, 0))])
    return Rows((OLD.name,), partition, partials(events, [OLD]))


def mark(partition: int, minute: int | None, *, idle: bool = False) -> Mark:
    return Mark("departures", partition, None if minute is None else minute * MINUTE, idle)


def running() -> Engine:
    """Two partitions are live, up to minute 5, with an event in the window of minute 0."""
    found = engine(OLD)
    found.step([rows(0, 1)], marks(5), [live(OLD, 0), live(OLD, 1)], 0)
    return found


def finals(found: Engine, given: list[Rows], told: list[Mark]) -> list[tuple[str, int, float | None, str]]:
    return [each for each in values(found.step(given, told, [], 0)) if each[3] == "final"]


def test_a_window_waits_for_a_partition_that_is_new_and_has_what_came_on_it() -> None:
    found = running()
    found.step((), (), [live(OLD, 2)], 0)
    assert finals(found, [], marks(15)) == []
    assert finals(found, [rows(2, 3)], [mark(2, 4)]) == []
    assert finals(found, [], [mark(2, 12)]) == [("flown@1", 0, 2.0, "final")]


def test_a_partition_that_is_new_and_stays_empty_holds_nothing_back_once_it_is_idle() -> None:
    found = running()
    found.step((), (), [live(OLD, 2)], 0)
    assert finals(found, [], marks(15)) == []
    assert finals(found, [], [mark(2, None, idle=True)]) == [("flown@1", 0, 1.0, "final")]


def test_what_came_before_stays_where_it_is_when_a_partition_is_added() -> None:
    found = begun()
    before = found.watermark(OLD.name)
    found.step((), (), [live(OLD, 2)], 0)
    assert found.watermark(OLD.name) == before


def test_an_engine_that_is_restored_knows_the_partition_too() -> None:
    found = running()
    found.step((), (), [live(OLD, 2)], 0)
    again = engine(OLD)
    again.restore(*found.snapshot())
    assert finals(again, [], marks(15)) == []
    assert finals(again, [], [mark(2, 15)]) == [("flown@1", 0, 1.0, "final")]


def test_a_watermark_grows_by_what_it_hears_of() -> None:
    found = Watermark(2)
    found.advance(0, 10, False)
    found.advance(1, 20, False)
    assert (found.at, found.partitions) == (10, 2)
    found.advance(4, None, False)
    assert (found.at, found.partitions, found.held_by) == (10, 5, 2)
