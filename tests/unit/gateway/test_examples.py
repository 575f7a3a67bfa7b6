"""Whatever a source's definition says, the example event is one that it accepts."""

import json
import shlex
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.catalog.rules import Rule
from services.gateway.core.examples import curl, event_of, needs, python
from services.ingest.core.records import Good, Validator

NOW = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
TYPES = ["string", "int", "long", "double", "boolean", "timestamp", "date"]
URL = "http://127.0.0.1:8080/v1/sources/s/events"


def source_of(kinds: list[str], **more: Any) -> Source:
    fields = [
        {"name": f"f_{place}", "type": kind, "nullable": place % 2 == 0} for place, kind in enumerate(kinds)
    ]
    fields += [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]
    source = DEFINITION.validate_python(
        {"kind": "source", "id": "s", "title": "S", "owner": "ops", "event_id": "id", "event_time": "at",
         "key": ["id"], "fields": fields, **more}
    )  # fmt: skip
    assert isinstance(source, Source)
    return source


@given(st.lists(st.sampled_from(TYPES), max_size=12))
def test_an_example_is_accepted_by_the_validator_of_ingest(kinds: list[str]) -> None:
    source = source_of(kinds)
    event = event_of(source, [], NOW)
    assert event.keys() == {field.name for field in source.fields}
    assert isinstance(Validator(source).single(0, json.dumps(event).encode()), Good)


def test_numbers_lie_within_the_ranges_of_the_rules() -> None:
    def rule(field: str, **bounds: float) -> Rule:
        body = {"kind": "rule", "id": f"of_{field}", "title": field, "owner": "ops", "source": "s"}
        return Rule.model_validate({**body, "check": {"range": {"field": field, **bounds}}})

    event = event_of(source_of(["int", "double"]), [rule("f_0", min=10, max=900), rule("f_1", max=0.5)], NOW)
    assert (event["f_0"], event["f_1"]) == (10, 0.5)


def test_what_is_shown_is_a_shell_command_and_a_program() -> None:
    source = source_of(["string"])
    event = {**event_of(source, [], NOW), "f_0": 'it\'s "quoted" $HOME'}
    words = shlex.split(curl(source, URL, event))
    assert json.loads(words[words.index("--data-binary") + 1]) == event
    names: dict[str, Any] = {}
    program = python(source, URL, event)
    compile(program, "example", "exec")
    exec(program[program.index("event = ") : program.index("answer = ")], names)
    assert names["event"] == event


def test_a_source_whose_pushes_are_signed_asks_for_its_secret() -> None:
    source = source_of([], webhook={"secret": "TOLLS"})
    assert "SEXTANT_SECRET_TOLLS" in needs(source)[1]
    compile(python(source, URL, event_of(source, [], NOW)), "example", "exec")
