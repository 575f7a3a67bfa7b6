"""What was once put on the bus can be read for ever: events only gain fields, and these have defaults."""

import json
from pathlib import Path

import pytest

from libs.common.events import OBSERVATION_SCHEMA, Event, Observation
from libs.common.topics import TOPICS
from libs.common.wire import Codec, record

EXAMPLES = Path(__file__).parent / "examples"
EVENTS: dict[str, type[Event]] = {topic.name: topic.event for topic in TOPICS if topic.event is not None}
FILES = sorted(EXAMPLES.glob("*/v1/*.json"))
AVRO = EXAMPLES / "kpi.observations" / "v1"
WRITTEN = json.loads((AVRO / "schema.avsc").read_text())
"""The schema that the Avro examples were written with, under the id 7. Like every example it is never edited."""


def name(file: Path) -> str:
    return str(file.relative_to(EXAMPLES))


def event_of(file: Path) -> type[Event]:
    return EVENTS[file.parts[-3]]


def test_every_event_of_the_bus_has_an_example() -> None:
    assert {file.parts[-3] for file in FILES} == EVENTS.keys()


@pytest.mark.parametrize("file", FILES, ids=name)
def test_an_example_parses_and_nothing_that_it_says_is_lost(file: Path) -> None:
    event = event_of(file).decode(file.read_bytes())
    assert json.loads(event.model_dump_json(exclude_unset=True)) == json.loads(file.read_text())


@pytest.mark.parametrize("topic", sorted(EVENTS))
def test_the_examples_of_an_event_give_and_leave_out_each_field_that_has_a_default(topic: str) -> None:
    optional = {name for name, field in EVENTS[topic].model_fields.items() if not field.is_required()}
    given = [set(json.loads(file.read_text())) for file in FILES if file.parts[-3] == topic]
    assert optional - {"version"} <= set.union(*given)
    assert not (optional - {"version"}) & set.intersection(*given)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_field_that_a_reader_does_not_know_is_passed_over(file: Path) -> None:
    newer = {**json.loads(file.read_text()), "field_of_tomorrow": 1}
    assert event_of(file).decode(json.dumps(newer).encode()) == event_of(file).decode(file.read_bytes())


def test_a_builder_may_not_invent_a_field() -> None:
    fields = json.loads((EXAMPLES / "ledger/v1/transaction.json").read_text())
    with pytest.raises(TypeError, match="field_of_tomorrow"):
        EVENTS["ledger"].build(**fields, field_of_tomorrow=1)


@pytest.mark.parametrize("file", sorted(AVRO.glob("*.avro")), ids=name)
def test_an_avro_observation_says_what_its_json_says(file: Path) -> None:
    found = record(file.read_bytes(), {7: Codec(WRITTEN, OBSERVATION_SCHEMA)})
    assert Observation.model_validate(found) == Observation.decode(file.with_suffix(".json").read_bytes())


def test_an_observation_from_before_a_field_was_added_has_its_default() -> None:
    tomorrow = {"name": "field_of_tomorrow", "type": "int", "default": 7}
    newer = {**OBSERVATION_SCHEMA, "fields": [*OBSERVATION_SCHEMA["fields"], tomorrow]}
    found = record((AVRO / "final.avro").read_bytes(), {7: Codec(WRITTEN, newer)})
    assert found["field_of_tomorrow"] == 7


def test_the_avro_schema_of_observations_has_the_fields_of_the_event() -> None:
    assert {field["name"] for field in OBSERVATION_SCHEMA["fields"]} == Observation.model_fields.keys()
