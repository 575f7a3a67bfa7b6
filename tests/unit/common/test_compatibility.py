"""A changed source is held to its mode against every version that the mode speaks of, as Avro reads."""

import io
from itertools import product
from random import Random
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Source
from libs.common.catalog.check import check
from libs.common.catalog.compatibility import breaks, unreadable
from libs.common.catalog.models import Team
from tests.evolution import MODES, TYPES, changed, some_field, source

VALUES: dict[str, Any] = {
    "string": "x", "int": 1, "long": 2**40, "double": 1.5, "boolean": True, "timestamp": 1_000, "date": 20_000,
}  # fmt: skip


def records(writer: Source) -> list[dict[str, Any]]:
    """Of every field a value, and null where that is allowed."""
    full = {field.name: VALUES[field.type] for field in writer.fields}
    return [full, *({**full, field.name: None} for field in writer.fields if field.nullable)]


def reads(reader: Source, writer: Source) -> bool:
    """Whether Avro's own resolution reads all that the writer may write."""
    parsed = fastavro.parse_schema(writer.avro_schema())
    for record in records(writer):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, record)
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, parsed, fastavro.parse_schema(reader.avro_schema()))
        except SchemaResolutionError:
            return False
    return True


@given(st.integers(0, 10**9))
def test_what_cannot_be_read_is_what_avro_cannot_read(seed: int) -> None:
    random = Random(seed)
    fields = [some_field(random, name) for name in ("a", "b")]
    one, other = source(fields), source(changed(random, fields))
    assert (list(unreadable(other, one)) == []) == reads(other, one)
    assert (list(unreadable(one, other)) == []) == reads(one, other)


@given(st.integers(0, 10**9))
def test_what_avro_cannot_read_is_never_let_pass_and_a_time_is_no_number(seed: int) -> None:
    random = Random(seed)
    fields = [some_field(random, name, TYPES) for name in ("a", "b")]
    one, other = source(fields), source(changed(random, fields, TYPES))
    assert reads(other, one) or list(unreadable(other, one))


ONE: list[dict[str, Any]] = [{"name": "a", "type": "int"}]


def refused(mode: str, *versions: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    """Of the last of the versions: field, direction and the version that it conflicts with."""
    earlier = [(number, source(fields)) for number, fields in enumerate(versions[:-1], 1)]
    found = breaks(source(versions[-1], compatibility=mode), earlier)
    return {(each.field, each.direction, each.version) for each in found if each.refused}


NEW: list[dict[str, Any]] = [*ONE, {"name": "b", "type": "int"}]
NULLABLE: list[dict[str, Any]] = [*ONE, {"name": "b", "type": "int", "nullable": True}]
DEFAULTED: list[dict[str, Any]] = [*ONE, {"name": "b", "type": "int", "default": 0}]


@pytest.mark.parametrize(
    ("before", "after", "letting"),
    [
        (ONE, NEW, {"FORWARD", "NONE"}),
        (NEW, ONE, {"BACKWARD", "NONE"}),
        (ONE, NULLABLE, {"BACKWARD", "FORWARD", "FULL", "NONE"}),
        (ONE, DEFAULTED, {"BACKWARD", "FORWARD", "FULL", "NONE"}),
        (NULLABLE, ONE, {"BACKWARD", "FORWARD", "FULL", "NONE"}),
        (NEW, NULLABLE, {"BACKWARD", "NONE"}),
        (NULLABLE, NEW, {"FORWARD", "NONE"}),
        (ONE, [{"name": "a", "type": "long"}], {"BACKWARD", "NONE"}),
        (ONE, [{"name": "a", "type": "string"}], {"NONE"}),
        ([{"name": "a", "type": "long"}], ONE, {"NONE"}),  # a forward change, but what is written would be lost
        (ONE, [{"name": "a", "type": "timestamp"}], {"NONE"}),
    ],
)  # fmt: skip
def test_each_mode_lets_in_what_its_name_says(
    before: list[dict[str, Any]], after: list[dict[str, Any]], letting: set[str]
) -> None:
    for mode in MODES:
        assert (refused(mode, before, after) == set()) == (mode.removesuffix("_TRANSITIVE") in letting), mode


def test_a_transitive_mode_speaks_of_every_version_and_names_the_one_in_conflict() -> None:
    assert refused("BACKWARD", ONE, NULLABLE, NEW) == {("b", "backward", 2)}
    assert refused("BACKWARD", ONE, DEFAULTED, NEW) == {("b", "meaning", 2)}
    gone = [ONE[0], {"name": "c", "type": "int", "nullable": True}]
    assert refused("BACKWARD", NEW, gone, NEW) == {("b", "backward", 2)}
    assert refused("FORWARD", NEW, [*NULLABLE], ONE) == set()
    assert refused("FORWARD_TRANSITIVE", NEW, [*NULLABLE], ONE) == {("b", "forward", 1)}
    assert refused("FULL_TRANSITIVE", NEW, [*NULLABLE], ONE) == {("b", "forward", 1)}


def test_what_was_ever_written_stays_readable_in_every_mode_but_none() -> None:
    text = [{"name": "a", "type": "string"}]
    for mode in MODES[:-1]:
        assert ("a", 1) in {(field, version) for field, _, version in refused(mode, ONE, [], text)}
    assert refused("NONE", ONE, [], text) == set()
    later = [*text, {"name": "b", "type": "int", "nullable": True}]
    assert refused("BACKWARD", ONE, text, later) == set()  # it was let in before: nobody is told twice


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"unit": "km"}, {"unit": "mi"}, "the unit of a was km and becomes mi"),
        ({"unit": "km"}, {}, "the unit of a was km and is taken back"),
        ({"default": 0}, {"default": 1}, "the default of a was 0 and becomes 1"),
    ],
)
def test_what_a_field_means_stays_in_every_mode_but_none(
    before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    for mode in MODES:
        earlier = [(4, source([{**ONE[0], **before}]))]
        (found,) = breaks(source([{**ONE[0], **after}], compatibility=mode), earlier)
        assert (found.message, found.rule, found.version) == (message, "declared meaning", 4)
        assert found.refused == (mode != "NONE")
    assert refused("FULL_TRANSITIVE", ONE, [{**ONE[0], "unit": "km"}]) == set()


def test_a_zone_is_kept_as_a_unit_is() -> None:
    berlin, vienna = (
        {"name": "t", "type": "timestamp", "zone": f"Europe/{city}"} for city in ("Berlin", "Vienna")
    )
    assert refused("BACKWARD", [berlin], [vienna]) == {("t", "meaning", 1)}


def test_where_only_the_mode_changes_nobody_is_asked() -> None:
    for mode in MODES:
        assert refused(mode, ONE, NEW, NEW) == set()


def test_what_lies_on_another_topic_is_nobody_s_past() -> None:
    table = source(ONE, reference=True)
    assert not list(breaks(source([{"name": "a", "type": "string"}]), [(1, table)]))


def test_a_problem_names_field_rule_and_version() -> None:
    team = Team(id="fleet", title="Fleet", department="operations")
    history = {"evolving": [(1, source(ONE)), (2, source(NULLABLE))]}
    wanted = source(NEW, compatibility="backward_transitive")
    (problem, _) = check([wanted, team], None, history)
    assert (problem.path, problem.rule) == ("fields.3", "compatibility BACKWARD_TRANSITIVE")
    assert problem.message == "b is no longer nullable: events written before may lack it, against version 2"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "int", "default": "x"}, "the default 'x' is no int"),
        ({"type": "int", "default": 2**31}, "the default 2147483648 is no int"),
        ({"type": "int", "default": True}, "the default True is no int"),
        ({"type": "timestamp", "default": "2026-01-01T00:00:00"}, "is no timestamp"),
        ({"type": "int", "default": 1, "nullable": True}, "a is nullable: its default is null"),
        ({"type": "date", "zone": "Europe/Berlin"}, "a is date: a zone is of a timestamp"),
        ({"type": "timestamp", "zone": "Mars/Olympus"}, "there is no time zone Mars/Olympus"),
    ],
)
def test_a_declaration_that_does_not_go_with_the_field_is_refused(field: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        source([{"name": "a", **field}])


def test_a_declaration_that_does_not_go_with_the_source_is_a_problem() -> None:
    team = Team(id="fleet", title="Fleet", department="operations")
    zoned = [{"name": "t", "type": "timestamp", "zone": "Europe/Berlin"}]
    (problem,) = check([source(zoned, format="json"), team])
    assert (problem.path, problem.rule) == ("fields.2", "applied by ingest")
    (problem,) = check([source([{**ONE[0], "default": 1}], event_id="a"), team])
    assert (problem.path, problem.rule) == ("fields.2", "no default")
    minimised = {**ONE[0], "default": 1, "minimise": {"kind": "generalise", "step": 5}}
    (problem,) = check([source([minimised]), team])
    assert (problem.path, problem.rule) == ("fields.2", "no default")


def test_every_pair_of_types_is_judged_as_avro_reads_or_stricter() -> None:
    for old, new in product(TYPES, TYPES):
        one, other = source([{"name": "a", "type": old}]), source([{"name": "a", "type": new}])
        timed = {"timestamp", "date"} & {old, new} and old != new
        assert (list(unreadable(other, one)) == []) == (reads(other, one) and not timed), (old, new)
