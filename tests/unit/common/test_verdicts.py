"""What makes an event suspect."""

import polars as pl
import pytest

from libs.common.catalog import DEFINITION, Rule, Source
from libs.common.errors import DefinitionError
from libs.common.rules import compile_rules, verdicts

SOURCE = DEFINITION.validate_python(
    {
        "kind": "source", "id": "probe", "title": "Probe", "owner": "ops", "event_time": "at",
        "fields": [{"name": "at", "type": "timestamp"}, {"name": "level", "type": "int", "nullable": True}],
    }
)  # fmt: skip


@pytest.mark.parametrize(("severity", "suspect"), [("info", False), ("warning", True), ("critical", True)])
def test_a_rule_that_only_informs_makes_no_event_suspect(severity: str, suspect: bool) -> None:
    rule = DEFINITION.validate_python(
        {
            "kind": "rule", "id": "level_given", "title": "Given", "owner": "ops", "source": "probe",
            "severity": severity, "check": {"not_null": {"field": "level"}},
        }
    )  # fmt: skip
    assert isinstance(SOURCE, Source)
    assert isinstance(rule, Rule)
    events = pl.DataFrame({"level": [None, 1]}, schema={"level": pl.Int32})
    judged = events.with_columns(verdicts(compile_rules([rule], SOURCE), {}))
    assert judged["suspect"].to_list() == [suspect, False]
    assert judged["assessed"].to_list() == [True, True]
    assert judged["worst"].to_list() == [{"info": 1, "warning": 2, "critical": 3}[severity], 0]


def test_a_pattern_that_cannot_be_read_is_said_so_before_events_come() -> None:
    rule = DEFINITION.validate_python(
        {
            "kind": "rule", "id": "named", "title": "Named", "owner": "ops", "source": "probe",
            "check": {"pattern": {"field": "name", "matches": "(?=x)x"}},
        }
    )  # fmt: skip
    assert isinstance(SOURCE, Source)
    assert isinstance(rule, Rule)
    with pytest.raises(DefinitionError, match="look-around"):
        compile_rules([rule], SOURCE)
