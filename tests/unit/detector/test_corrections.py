"""Events that are withdrawn: who reads the past leaves them out, and what had counted them is computed again."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import clock
from libs.common.events import BackfillChanged, EventsWithdrawn
from libs.common.expressions import OFFSET
from libs.common.wire import INDEX
from services.detector.core.corrections import concerned, id_of, touched
from services.detector.core.windows import Aligned, Calendar
from services.detector.handlers.orders import Orders
from services.detector.handlers.withdrawals import Withdrawals
from tests.unit.detector.test_engine import WINDOWS, kpi

TIMES = st.integers(1_741_474_800_000, 1_741_561_200_000)
NOW = clock.now()


# --- who reads the past ----------------------------------------------------------------------------------


def withdrawals(*receipts: str) -> Withdrawals:
    settings: Any = None
    found = Withdrawals(settings)
    told = EventsWithdrawn.build(
        id="r/0", source="tanks", redrive="r", receipts=list(receipts), since={"0": 2}, upto={"0": 5}, by="ana",
        withdrawn_at=NOW,
    )  # fmt: skip
    record: Any = SimpleNamespace(value=told.encode())
    found.take("withdrawals", record)
    return found


def left(
    known: Withdrawals, source: str, partition: int, receipts: Sequence[str | None], first: int
) -> list[int]:
    """The offsets of the events that are left of some with these receipts, from the offset `first` on."""
    records: list[Any] = [
        SimpleNamespace(offset=offset, headers=[] if text is None else [("sx-receipt", text.encode())])
        for offset, text in enumerate(receipts, first)
    ]
    events = pl.DataFrame(
        {OFFSET: range(first, first + len(receipts)), INDEX: range(len(receipts))},
        schema={OFFSET: pl.Int64, INDEX: pl.UInt32},
    )
    return known.left(source, partition, events, records)[OFFSET].to_list()


def test_events_under_a_withdrawn_receipt_are_left_out_between_its_offsets_and_no_others() -> None:
    known, receipts = withdrawals("a", "b"), ["a", "a", "a", "other", "b", "a", None]
    assert left(known, "tanks", 0, receipts, 0) == [0, 1, 3, 5, 6]
    assert left(known, "tanks", 0, receipts, 4) == [5, 6, 7, 8, 9, 10]
    assert left(known, "tanks", 0, receipts, 5) == [5, 6, 7, 8, 9, 10, 11]
    assert left(known, "tanks", 1, receipts, 0) == [0, 1, 2, 3, 4, 5, 6]
    assert left(known, "others", 0, receipts, 0) == [0, 1, 2, 3, 4, 5, 6]


def test_what_is_told_twice_is_known_once() -> None:
    known = withdrawals("a")
    known.known["tanks"] |= withdrawals("a").known["tanks"]
    assert known.of("tanks") == ["r/0"]


# --- which windows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [each for each in WINDOWS if "session" not in each] + [{"calendar": "day", "zone": "Europe/Berlin"}],
)
@given(first=TIMES, more=st.integers(0, 7_200_000), at=st.floats(0, 1))
def test_every_window_that_an_event_is_in_begins_in_the_range_and_ends_by_its_end(
    window: dict[str, str], first: int, more: int, at: float
) -> None:
    compiled = kpi(window)
    windows = compiled.windows
    assert isinstance(windows, Aligned | Calendar)
    found = touched(compiled, first, first + more)
    panes = windows.pane_of(pl.Series([first, first + round(at * more), first + more], dtype=pl.Int64))
    _, starts = windows.windows_of(panes, None, None)
    ends = windows.stop_of(starts)
    assert [start for start in starts if not found.start <= start < found.stop] == []
    assert max(ends) == found.end
    assert found.start in starts, "and no window more before them"


def test_kpis_come_behind_all_that_they_are_over_and_others_not_at_all() -> None:
    base, over, top, other = (
        SimpleNamespace(name=f"{id}@1", kpi=SimpleNamespace(id=id, over=over), source=source)
        for id, over, source in (
            ("base", {}, SimpleNamespace(id="tanks")),
            ("over", {"a": "base"}, None),
            ("top", {"a": "base", "b": "over"}, None),
            ("other", {}, SimpleNamespace(id="pumps")),
        )
    )
    kpis: Any = [top, other, over, base]
    assert [each.name for each in concerned(kpis, "tanks")] == ["base@1", "over@1", "top@1"]


# --- when ------------------------------------------------------------------------------------------------


def order(id: str, seconds: int, **said: Any) -> BackfillChanged:
    at = NOW + timedelta(seconds=seconds)
    return BackfillChanged.build(
        id=id, kpi=said.pop("kpi", "k"), kpi_version=1, start=NOW, stop=NOW, state="queued", ordered_at=at,
        recorded_at=at, **said,
    )  # fmt: skip


def next_of(
    *known: BackfillChanged,
    closed: int | None,
    cancelled: str = "",
    kpis: Sequence[str] = ("k@1", "over@1"),
) -> str | None:
    settings: Any = SimpleNamespace(prefix="")
    definitions: Any = SimpleNamespace(kpis=dict.fromkeys(kpis))
    orders = Orders(settings, definitions)
    for each in known:
        orders.put(each)
    orders.cancelled = {cancelled}
    found = orders.next(lambda name: closed if name == "k@1" else None)
    return None if found is None else found.id


def test_an_order_that_awaits_closed_windows_lets_others_pass_but_not_those_of_the_same_withdrawal() -> None:
    at = clock.milliseconds(NOW)
    waits = order("waits", 1, withdrawal="w", awaits=NOW)
    over, other = order("over", 2, kpi="over", withdrawal="w"), order("other", 3)
    assert next_of(waits, over, other, closed=None) == "other"
    assert next_of(waits, over, other, closed=at - 1) == "other"
    assert next_of(waits, over, closed=at - 1) is None
    assert next_of(waits, over, other, closed=at) == "waits"
    assert next_of(waits, over, closed=None, cancelled="waits") == "waits", "it ends"
    assert next_of(waits, over, closed=None, kpis=["k@2"]) == "waits", "it fails: its version was replaced"


def test_a_correction_has_the_same_id_whoever_orders_it() -> None:
    assert id_of("r/0", "k@1") == id_of("r/0", "k@1")
    assert len({id_of("r/0", "k@1"), id_of("r/1", "k@1"), id_of("r/0", "k@2")}) == 3
