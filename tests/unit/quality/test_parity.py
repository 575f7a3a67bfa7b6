"""What is published of a window is compared with what plain SQL makes of it: value, count, measures, and being there."""

import pytest

from libs.common.catalog import DEFINITION, Catalog, Kpi, Source
from services.quality.core.parity import Figures, differences, incomparable

ONE, TWO = ("carrier=UA", 0, 60_000), ("carrier=B6", 60_000, 120_000)
FIGURES = Figures(0.5, 4, (1.0, None))


def kpi(**more: object) -> Kpi:
    definition = {
        "kind": "kpi", "id": "k", "title": "K", "owner": "o", "source": "s", "value": "count(*)",
        "window": {"tumbling": "1m"}, **more,
    }  # fmt: skip
    found = DEFINITION.validate_python(definition)
    assert isinstance(found, Kpi)
    return found


def test_the_same_windows_are_no_difference_and_sums_in_another_order_neither() -> None:
    assert differences({ONE: FIGURES}, {ONE: Figures(0.5 + 1e-13, 4, (1.0, None))}) == []


@pytest.mark.parametrize(
    "other",
    [
        Figures(0.6, 4, (1.0, None)),
        Figures(0.5, 5, (1.0, None)),
        Figures(0.5, 4, (None, None)),
        Figures(None, 4, (1.0, None)),
    ],
)
def test_another_value_count_or_measure_is_a_difference(other: Figures) -> None:
    (found,) = differences({ONE: FIGURES}, {ONE: other})
    assert (found.key, found.published, found.batch) == (ONE, FIGURES, other)


def test_a_window_that_one_side_lacks_is_a_difference_and_the_first_comes_first() -> None:
    first, second = differences({TWO: FIGURES}, {ONE: FIGURES})
    assert (first.key, first.published) == (ONE, None)
    assert (second.key, second.batch) == (TWO, None)


def test_what_cannot_be_compared_while_it_runs_says_why() -> None:
    source = DEFINITION.validate_python(
        {
            "kind": "source", "id": "s", "title": "S", "owner": "o", "event_id": "id", "event_time": "at", "key": ["id"],
            "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
        }
    )  # fmt: skip
    assert isinstance(source, Source)
    catalog = Catalog.of([source])
    assert incomparable(kpi(), catalog) is None
    assert "sessions" in (incomparable(kpi(window={"session": "5m"}), catalog) or "")
    assert "approximate" in (incomparable(kpi(value="approx_count_distinct(id)"), catalog) or "")
    assert incomparable(kpi(let={"approx": "length(id)"}, value="sum(approx)"), catalog) is None
