"""KPIs that share a state have the values that each has alone, whatever parts them."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Kpi, Source
from services.detector.core.combine import partials, split
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.engine import Engine
from services.detector.core.rows import ROWS
from services.detector.core.steps import CLOSED, Announcement, Emission, Mark, Rows
from tests.examples import examples
from tests.unit.detector.test_engine import EVENTS, MINUTE, PARTITIONS, SOURCE, Event, frame

LATE = [*ROWS, CLOSED]
VALUES = {"total": "sum(delay)", "mean": "avg(delay)", "flown": "count(*)"}


def compiled(id: str, window: dict[str, str], lateness: str = "5m") -> CompiledKpi:
    kpi = Kpi.model_validate(
        {
            "id": id, "title": id, "owner": "ops", "source": "departures", "value": VALUES[id], "by": ["carrier"],
            "window": window, "lateness": lateness,
        }
    )  # fmt: skip
    assert isinstance(SOURCE, Source)
    return compile_kpi(kpi, 1, SOURCE)


def emitted(emissions: list[Emission], names: set[str]) -> dict[str, Any]:
    return {
        each.compiled.name: (
            each.due.to_dicts(),
            each.late.select(*LATE).sort("series_key", "start", "first").to_dicts()
            if each.late.height
            else [],
            each.watermark,
        )
        for each in emissions
        if each.compiled.name in names
    }


def rows_of(events: list[Event], kpis: list[CompiledKpi], first: int) -> list[Rows]:
    names = tuple(kpi.name for kpi in kpis)
    parts = split(partials(frame(list(enumerate(events, first))), kpis), 1) if events and kpis else {}
    return [Rows(names, events[0].partition, part) for part in parts.values()]


@pytest.mark.parametrize("window", [{"tumbling": "10m"}, {"sliding": "100m", "every": "10m"}], ids=str)
@examples(60)
@given(batches=st.lists(EVENTS, min_size=1, max_size=6), data=st.data())
def test_kpis_that_share_a_state_have_the_values_that_each_has_alone(
    window: dict[str, str], batches: list[list[Event]], data: st.DataObject
) -> None:
    kpis = {f"{id}@1": compiled(id, window) for id in VALUES}
    together, alone = Engine(1), {name: Engine(1) for name in kpis}
    together.define(kpis)
    assert len(together.states.leaders()) == 1
    for name, engine in alone.items():
        engine.define({name: kpis[name]})
    live = [Announcement(name, number, None, True) for name in kpis for number in range(PARTITIONS)]
    together.step([], [], live, 0)
    for engine in alone.values():
        engine.step([], [], live, 0)
    offset = 0
    for now, batch in enumerate(batches):
        events = [event for event in batch if event.partition == batch[0].partition]
        behind = data.draw(st.sampled_from([None, None, None, *kpis]))
        if behind in kpis and data.draw(st.booleans()):
            together.define({name: kpi for name, kpi in kpis.items() if name != behind})
            del kpis[behind]
        given = [kpi for name, kpi in kpis.items() if name != behind]
        marks = [
            Mark("departures", number, max(e.minute for e in events) * MINUTE, False)
            for number in range(PARTITIONS)
        ]
        if data.draw(st.booleans()):
            value, frames = together.snapshot()
            together = Engine(1)
            together.define(kpis)
            together.restore(value, frames)
        found = emitted(together.step(rows_of(events, given, offset), marks, [], now * 2000), set(kpis))
        for name, kpi in kpis.items():
            rows = rows_of(events, [kpi], offset) if name != behind else []
            assert found.get(name) == emitted(alone[name].step(rows, marks, [], now * 2000), {name}).get(name)
        offset += len(events)
    assert together.parked == {}


def test_kpis_of_another_lateness_or_begun_later_have_a_state_of_their_own() -> None:
    window = {"tumbling": "10m"}
    first = {"total@1": compiled("total", window), "mean@1": compiled("mean", window, "7m")}
    engine = Engine(1)
    engine.define(first)
    engine.define({**first, "flown@1": compiled("flown", window)})
    assert engine.states.leaders() == {"total@1": ["total@1"], "mean@1": ["mean@1"], "flown@1": ["flown@1"]}


def test_a_state_is_restored_beside_that_of_a_kpi_that_began_after_the_snapshot() -> None:
    window = {"tumbling": "10m"}
    before = {"total@1": compiled("total", window)}
    both = {**before, "mean@1": compiled("mean", window)}
    live = [Announcement("total@1", number, None, True) for number in range(PARTITIONS)]
    engine = Engine(1)
    engine.define(before)
    engine.step(rows_of([Event(1, "UA", 5, 0)], list(before.values()), 0), [], live, 0)
    restored = Engine(1)
    restored.define(both)
    restored.restore(*engine.snapshot())
    marks = [Mark("departures", number, 60 * MINUTE, False) for number in range(PARTITIONS)]
    found = restored.step([], marks, [], 0)
    assert [(each.compiled.name, each.due["value"].to_list()) for each in found if each.due.height] == [
        ("total@1", [5.0])
    ]


def test_a_kpi_whose_value_cannot_be_computed_is_parked_and_those_beside_it_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = {"tumbling": "10m"}
    kpis = {f"{id}@1": compiled(id, window) for id in VALUES}
    engine = Engine(1)
    engine.define(kpis)
    engine.step(
        [], [], [Announcement(name, number, None, True) for name in kpis for number in range(PARTITIONS)], 0
    )
    monkeypatch.setattr(
        CompiledKpi,
        "finals",
        lambda self: [pl.col("nowhere" if self.kpi.id == "mean" else "count").alias("value")],
    )
    events = [Event(1, "UA", 5, 0)]
    marks = [Mark("departures", number, 60 * MINUTE, False) for number in range(PARTITIONS)]
    emissions = engine.step(rows_of(events, list(kpis.values()), 0), marks, [], 0)
    assert engine.parked.keys() == {"mean@1"}
    assert {each.compiled.kpi.id for each in emissions if each.due.height} == {"total", "flown"}
    assert sorted(map(sorted, engine.states.leaders().values())) == [["flown@1", "total@1"], ["mean@1"]]
