"""What a KPI needs and costs follows from its definition."""

from typing import Any

import pytest

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.catalog.cost import Cost, cost
from tests import flink_sample as sample
from tests.unit.common.test_check import FLIGHTS, PLANE, PLANES, kpi, over

SPREAD = FLIGHTS | {"key": ["carrier"], "partitions": 4}


def found(definition: dict[str, Any]) -> Cost:
    catalog = Catalog.of([DEFINITION.validate_python(each) for each in (SPREAD, PLANES, kpi(), definition)])
    target = catalog.kpi(definition["id"])
    assert isinstance(target, Kpi)
    result = cost(target, catalog)
    assert result is not None
    return result


def test_a_series_that_contains_the_key_comes_from_one_partition() -> None:
    assert found(kpi(by=["carrier"])).rows == 2
    assert found(kpi(by=[])).rows == 8


def test_a_sliding_window_costs_its_panes_and_lateness_and_no_more() -> None:
    sliding = found(kpi(window={"sliding": "24h", "every": "1m"}, lateness="2h"))
    assert (sliding.panes, sliding.rows) == (1440, 1 + 1440 + 120)


def test_shared_states_are_counted_once() -> None:
    assert found(kpi(value="avg(delay)")).row_bytes == found(kpi(value="sum(delay) / count(delay)")).row_bytes
    both = kpi(value="avg(delay)", measures={"sum": "sum(delay)"})
    assert found(both).row_bytes == found(kpi(value="avg(delay)")).row_bytes


@pytest.mark.parametrize(
    ("changes", "need"),
    [
        ({"enrich": [PLANE]}, "enrichment"),
        ({"let": {"x": "delay"}}, "derived fields"),
        ({"value": "approx_quantile(delay, 0.9)"}, "sketches"),
        ({"value": "last(delay)"}, "order"),
        ({"window": {"session": "5m"}}, "sessions"),
        ({"window": {"calendar": "week", "zone": "Asia/Tokyo"}}, "calendar"),
        ({"window": {"sliding": "6h", "every": "1h"}}, "panes"),
        ({"window": {"each": "event"}, "value": "delay"}, "pass-through"),
    ],
)
def test_what_it_needs_is_named(changes: dict[str, Any], need: str) -> None:
    assert need in {each.split(":")[0] for each in found(kpi(**changes)).needs}
    assert need not in {each.split(":")[0] for each in found(kpi()).needs}


def test_single_events_keep_no_state_and_a_kpi_over_others_names_them() -> None:
    assert found(kpi(window={"each": "event"}, value="delay")).text() == "no state"
    assert "final values of late" in found(over()).needs[0]


def test_the_bound_of_sketches_is_told_apart() -> None:
    assert found(kpi(value="approx_count_distinct(tail)")).sketch_bytes > 0
    assert found(kpi()).sketch_bytes == 0


def test_what_runs_on_flink_costs_no_state_here() -> None:
    found = cost(
        sample.kpi("one", source="flights", value="count(*)", window={"tumbling": "1h"}), sample.catalog()
    )
    assert found is not None
    assert found.needs[0].startswith("Flink: a job")
    assert found.text() == "no state here: the Flink job keeps it"
