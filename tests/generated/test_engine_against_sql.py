"""Whatever is defined and whatever comes, in whatever order: the engine publishes what SQL says of all the events.

Definitions with every window, zone, field, aggregate, reference (as it was at event time) and KPI over KPIs; events in
disorder, in batches of any cut, with restarts between. What came too late, and Kafka with its faults: `tests/sim`.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.generated.cases import CALENDAR, REGULAR, SESSION, Case, Run, cases, expected, same
from tests.generated.count import HELD

KINDS = {"regular": REGULAR, "calendar": CALENDAR, "sessions": SESSION}
EXAMPLES = 350
"""Of each kind: more than 1,000 in all."""


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_the_engine_publishes_what_sql_says_of_all_the_events(kind: str, data: st.DataObject) -> None:
    case: Case = data.draw(cases(KINDS[kind]))
    run = Run(case)
    found, wanted = run.windows(), expected(case)
    assert run.late == 0
    assert found.keys() == wanted.keys()
    assert [(key, found[key], row) for key, row in wanted.items() if not same(found[key], row)] == []
    HELD[f"engine against SQL, {kind}"] += 1
