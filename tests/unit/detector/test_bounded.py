"""State does not grow with the keys that ever were: in a long run whose keys come and go it stays flat."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from libs.common.catalog import DEFINITION, Kpi, Source
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.wire import SCHEMA_ID
from services.detector.core.combine import partials
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.derived import contributions
from services.detector.core.engine import INPUT, Engine
from services.detector.core.forgetting import Forgetting
from services.detector.core.signals import RuleOnKpi, SeriesState
from services.detector.core.steps import Announcement, Mark, Rows

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "visits", "title": "Visits", "owner": "ops", "event_id": "id", "event_time": "at",
        "partitions": 1, "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }
)  # fmt: skip


def kpi(id: str, **more: Any) -> CompiledKpi:
    definition = DEFINITION.validate_python(
        {
            "kind": "kpi", "id": id, "title": id, "owner": "ops", "value": "count(*)", "by": ["id"], "lateness": "10m",
            **more,
        }
    )  # fmt: skip
    assert isinstance(definition, Kpi)
    assert isinstance(SOURCE, Source)
    return compile_kpi(definition, 1, None if definition.over else SOURCE)


def sizes(window: dict[str, str], steps: int, minutes: int) -> list[int]:
    """Bytes of state after each step of so many minutes, in which 50 keys come that never come again."""
    base = kpi("seen", source="visits", window=window)
    kpis = [base]
    if "session" not in window:
        kpis.append(kpi("over", over={"a": "seen"}, value="sum(a)", window=window))
    engine = Engine(1)
    engine.define({each.name: each for each in kpis})
    engine.step((), (), [Announcement(each.name, 0, None, True) for each in kpis], 0)
    found = []
    for step in range(steps):
        now = step * minutes * MINUTE
        frame = pl.DataFrame(
            {
                "id": [f"{step}-{number}" for number in range(50)], TIME: [now] * 50,
                OFFSET: range(step * 50, step * 50 + 50), PARTITION: [0] * 50, SCHEMA_ID: [7] * 50,
                "assessed": [True] * 50, "suspect": [False] * 50, "worst": [0] * 50,
            },
            schema_overrides={PARTITION: pl.Int32, "worst": pl.UInt8},
        )  # fmt: skip
        rows = [Rows((base.name,), 0, partials(frame, [base]))]
        for emission in engine.step(rows, [Mark("visits", 0, now, False)], (), now):
            mark = Mark(f"{INPUT}seen", 0, emission.watermark, False)
            onward = [
                Rows((each.name,), 0, contributions(each, base, emission.due, emission.due["series_key"]))
                for each in kpis[1:]
                if emission.compiled is base
            ]
            engine.step(onward, [mark], (), now)
        found.append(sum(state.size for state in engine.states.values()))
    return found


@pytest.mark.parametrize(
    "window",
    [
        {"tumbling": "10m"}, {"sliding": "30m", "every": "10m"}, {"sliding": "2h", "every": "10m"}, {"session": "7m"},
        {"calendar": "day"},
    ],
    ids=str,
)  # fmt: skip
def test_the_state_of_merge_stays_flat_however_many_keys_come_and_go(window: dict[str, str]) -> None:
    steps = 160
    found = sizes(window, steps, 60 if "calendar" in window else 5)
    early, late = found[steps // 4 : steps * 5 // 8], found[steps * 5 // 8 :]
    assert max(late) <= 1.3 * max(early)


def rule(forget_after: str = "2d") -> RuleOnKpi:
    definition = DEFINITION.validate_python(
        {
            "kind": "kpi", "id": "seen", "title": "Seen", "owner": "ops", "source": "visits", "value": "count(*)",
            "by": ["id"], "window": {"tumbling": "1h"}, "forget_after": forget_after,
            "signals": [{"id": "many", "threshold": {"above": 5}}],
        }
    )  # fmt: skip
    assert isinstance(definition, Kpi)
    return RuleOnKpi.of(definition, 1, definition.signals[0])


def test_signal_models_stay_as_many_as_there_are_series_that_are_heard_of() -> None:
    of, models, forgetting = rule(), dict[str, SeriesState](), Forgetting()
    most = 0
    for hour in range(24 * 60):
        models["seen@1/many|id=always"] = SeriesState(hour * HOUR)
        models[f"seen@1/many|id={hour}"] = SeriesState(hour * HOUR)
        forgetting.see(of.name, hour * HOUR)
        for name in forgetting.due({of.name: of}, models):
            del models[name]
        most = max(most, len(models))
    assert 48 <= most <= 48 + 48 // 20 + 3
    assert "seen@1/many|id=always" in models


def test_a_source_that_stands_still_forgets_nothing_and_what_was_seen_outlives_a_restart() -> None:
    of = rule()
    models = {f"seen@1/many|id={day}": SeriesState(day * DAY) for day in range(5)}
    assert Forgetting.of(models).due({of.name: of}, models) == ["seen@1/many|id=0", "seen@1/many|id=1"]
    kept = {name: state for name, state in models.items() if (state.last or 0) >= 2 * DAY}
    again = Forgetting.of(kept)
    assert again.due({of.name: of}, kept) == []
    assert again.due({of.name: of}, kept) == []


def test_less_than_an_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="forget_after"):
        rule("1m")
    assert rule().kpi.forget_after == timedelta(days=2)
