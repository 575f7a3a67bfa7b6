"""Contracts of sources against the real registry: the same verdict in every mode, evidence, and readers that go on."""

import io
import json
import secrets
from collections.abc import AsyncGenerator
from random import Random
from typing import Any

import fastavro
import httpx
import pytest
from typer.testing import CliRunner

from libs.cli.main import app
from libs.common.catalog.compatibility import breaks
from libs.common.kafka import producer, read_all
from libs.common.registry import Registry
from libs.common.settings import ServiceSettings
from libs.common.topics import EVENTS
from libs.common.wire import Codec, split
from tests.evolution import MODES, changed, definition, some_field, source
from tests.mesh import Mesh, until

ONE: list[dict[str, Any]] = [{"name": "level", "type": "int"}]
HISTORIES = 25


@pytest.fixture
async def registry(mesh: Mesh) -> AsyncGenerator[Registry]:
    """With subjects of its own."""
    env = mesh.stack.env
    settings = ServiceSettings(
        kafka=env["SEXTANT_KAFKA"], database="", redis="", registry=env["SEXTANT_REGISTRY"], port=1,
        prefix=f"{env.get('SEXTANT_PREFIX', '')}{secrets.token_hex(4)}.",
    )  # fmt: skip
    found = Registry(settings)
    yield found
    await found.close()


async def test_the_registry_gives_the_same_verdict_in_every_mode(registry: Registry) -> None:
    """Over histories from seeds; what stays readable for ever is held beyond the registry's rules, and left out here."""
    random, verdicts = Random(7), set[tuple[str, bool]]()
    for number in range(HISTORIES):
        subject, versions = f"history{number}-value", [[some_field(random, name) for name in ("a", "b")]]
        while len(versions) < 4:
            after = changed(random, versions[-1])
            if after not in versions:  # a schema that is known already is no version of its own
                versions.append(after)
        for place, fields in enumerate(versions[:-1]):
            await registry.register(subject, source(fields, f"history{number}").avro_schema())
            if place == 0:
                await registry.set_compatibility(subject, "NONE")
        earlier = [
            (place, source(fields, f"history{number}")) for place, fields in enumerate(versions[:-1], 1)
        ]
        for mode in MODES:
            candidate = source(versions[-1], f"history{number}", compatibility=mode)
            await registry.set_compatibility(subject, mode)
            theirs = await registry.incompatibilities(subject, candidate.avro_schema(), mode)
            ours = [
                each
                for each in breaks(candidate, earlier)
                if each.refused and each.rule == f"compatibility {mode}"
            ]
            assert (theirs == []) == (ours == []), (mode, versions, theirs, ours)
            verdicts.add((mode, not ours))
    both = {(mode, verdict) for mode in MODES[:-1] for verdict in (True, False)} | {("NONE", True)}
    assert verdicts == both  # of every mode some were let in and some were not


def apply(mesh: Mesh, wanted: dict[str, Any]) -> httpx.Response:
    return mesh.service("strategy").post("/v1/catalog/apply", json={"definitions": [wanted]})


def plan(mesh: Mesh, *wanted: dict[str, Any]) -> dict[str, Any]:
    answer = mesh.as_("operator").post("/v1/catalog/plan", json={"definitions": list(wanted)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def push(mesh: Mesh, id: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    body = "\n".join(json.dumps({"at": "2026-11-24T10:00:00Z", **each}) for each in records)
    headers = {"Content-Type": "application/x-ndjson"}
    path = f"/v1/sources/{id}/events"
    until(lambda: mesh.service("ingest").post(path, content="[]").status_code == 200)
    return mesh.service("ingest").post(path, content=body, headers=headers).json()["results"]


def stored(mesh: Mesh, id: str) -> dict[str, Any]:
    return dict(mesh.query("SELECT event_id, data FROM read.events WHERE source = %s", id))


def in_force(mesh: Mesh, id: str, version: int) -> bool:
    return mesh.service("ingest").get(f"/v1/sources/{id}").json().get("version") == version


CHANGES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "BACKWARD": ([{"name": "level", "type": "long"}], [*ONE, {"name": "gate", "type": "string"}]),
    "FORWARD": ([*ONE, {"name": "gate", "type": "string"}], []),
    "FULL": ([*ONE, {"name": "gate", "type": "string", "default": "none"}], []),
    "NONE": ([{"name": "level", "type": "string"}], []),
}
"""Mode → fields that it lets in, and fields that it does not ([]: without `level`; of NONE there are none)."""


@pytest.mark.parametrize("mode", MODES)
async def test_in_every_mode_a_change_has_evidence_and_the_mode_decides(
    mesh: Mesh, registry: Registry, mode: str
) -> None:
    id = f"ev_{mode.lower()}"
    kpi = {
        "kind": "kpi", "id": f"{id}_levels", "title": "Levels", "owner": "fleet", "source": id, "value": "sum(level)",
        "window": {"tumbling": "1h"},
    }  # fmt: skip
    mesh.define(definition(ONE, id, compatibility=mode), kpi)
    push(mesh, id, *({"id": str(number), "level": number} for number in range(10)))
    until(lambda: len(stored(mesh, id)) == 10)
    letting, refusing = CHANGES[mode.removesuffix("_TRANSITIVE")]

    bare = plan(mesh, definition([], id, compatibility=mode), kpi)
    (evidence,) = bare["evidence"]
    assert evidence["replay"]["records"] == evidence["replay"]["broken"] == 10
    assert "breaks 100 % of the last 10 records" in evidence["text"]
    assert f"KPI {id}_levels" in evidence["text"]
    gone = [each for each in evidence["breaks"] if each["direction"] == "forward"]
    assert [(each["field"], each["version"]) for each in gone] == [("level", 1)]
    assert gone[0]["refused"] == mode.startswith(("FORWARD", "FULL"))

    if mode != "NONE":
        refused = definition(refusing, id, compatibility=mode)
        (problem, *_) = [each for each in plan(mesh, refused)["problems"] if each["kind"] == "source"]
        assert problem["rule"] == f"compatibility {mode}"
        assert "against version 1" in problem["message"]
        assert apply(mesh, refused).status_code == 422
        schema, subject = source(refusing, id).avro_schema(), f"events.{id}-value"
        theirs = await of(registry, mesh).incompatibilities(subject, schema, mode)
        assert theirs, "the registry holds those to it who produce straight to the topic"

    wanted = definition(letting, id, compatibility=mode)
    kept = {**kpi, "value": "count(*)"}
    answer = plan(mesh, wanted, kept)
    assert answer["problems"] == []
    assert len(answer["evidence"]) == 1
    assert mesh.define(wanted, kept)["changes"][0]["version"] == 2
    assert await of(registry, mesh).compatibility(f"events.{id}-value") == mode


async def test_a_breaking_change_comes_with_mode_none_and_the_old_mode_holds_again_after_it(
    mesh: Mesh, registry: Registry
) -> None:
    id, text = "broken", [{"name": "level", "type": "string"}]
    mesh.define(definition(ONE, id, compatibility="FULL"))
    assert apply(mesh, definition(text, id, compatibility="FULL")).status_code == 422
    answer = plan(mesh, definition(text, id, compatibility="NONE"))
    assert answer["problems"] == []
    assert (
        "let in by compatibility NONE: level changes from int to string (version 1)"
        in answer["evidence"][0]["text"]
    )
    mesh.define(definition(text, id, compatibility="NONE"))
    mesh.define(definition(text, id, compatibility="FULL"))
    assert await of(registry, mesh).compatibility(f"events.{id}-value") == "FULL"
    assert plan(mesh, definition(ONE, id, compatibility="FULL"))["problems"]
    more = [*text, {"name": "more", "type": "int", "nullable": True}]
    assert mesh.define(definition(more, id, compatibility="FULL"))["changes"][0]["version"] == 4


async def test_a_schema_that_a_producer_registered_is_in_the_way_of_another_like_it(
    mesh: Mesh, registry: Registry
) -> None:
    id, subject = "shared", "events.shared-value"
    mesh.define(definition(ONE, id))
    theirs = [*ONE, {"name": "more", "type": "string", "nullable": True}]
    await of(registry, mesh).register(subject, source(theirs, id).avro_schema())
    ours = definition([*ONE, {"name": "more", "type": "boolean", "nullable": True}], id)
    assert {each["rule"] for each in plan(mesh, ours)["problems"]} == {"compatibility BACKWARD"}
    refused = apply(mesh, ours)
    assert (refused.status_code, refused.json()["code"]) == (422, "inconsistent_catalog")
    changing = apply(mesh, {**ours, "compatibility": "FULL"})  # judged by us alone until it is applied
    assert (changing.status_code, changing.json()["code"]) == (422, "inconsistent_catalog")
    assert await registry.compatibility(subject) == "BACKWARD"
    mesh.define(definition(theirs, id))


def of(registry: Registry, mesh: Mesh) -> Registry:
    """The registry as the mesh names its subjects."""
    registry.prefix = mesh.settings.prefix
    return registry


async def test_the_old_reader_reads_the_new_writer_and_the_new_one_the_old_and_our_own_go_on(
    mesh: Mesh, registry: Registry
) -> None:
    """Under FULL: by Avro's resolution, as any consumer of the topic reads, and in the archive and the engine."""
    id, gate = "evolved", {"name": "gate", "type": "string", "default": "none"}
    kpi = {
        "kind": "kpi", "id": "evolved_levels", "title": "Levels", "owner": "fleet", "source": id, "value": "sum(level)",
        "window": {"tumbling": "1h"},
    }  # fmt: skip
    old = definition(ONE, id, compatibility="FULL_TRANSITIVE")
    new = definition([*ONE, gate], id, compatibility="FULL_TRANSITIVE")
    mesh.define(old, kpi)
    push(mesh, id, {"id": "a", "level": 1})
    mesh.define(new, {**kpi, "id": "evolved_gates", "by": ["gate"]})
    until(lambda: in_force(mesh, id, 2))
    push(mesh, id, {"id": "b", "level": 2}, {"id": "c", "level": 4, "gate": "B7"})

    schemas = {"old": source(ONE, id).avro_schema(), "new": source([*ONE, gate], id).avro_schema()}
    batches = [batch async for batch in read_all(mesh.settings, EVENTS.of(id))]
    values = [record.value for batch in batches for record in batch if record.value]
    found: dict[str, dict[str, Any]] = {"old": {}, "new": {}}
    for value in values:
        schema_id, body = split(value)
        writer = fastavro.parse_schema(await registry.schema(schema_id))
        for name, schema in schemas.items():
            read: Any = fastavro.schemaless_reader(io.BytesIO(body), writer, fastavro.parse_schema(schema))
            found[name][read["id"]] = (read["level"], read.get("gate"))
    assert found["old"] == {"a": (1, None), "b": (2, None), "c": (4, None)}
    assert found["new"] == {"a": (1, "none"), "b": (2, "none"), "c": (4, "B7")}

    until(lambda: len(stored(mesh, id)) == 3)
    assert stored(mesh, id)["b"]["gate"] == "none"
    declared = mesh.service("ingest").post(
        f"/v1/sources/{id}/watermark", json={"through": "2026-11-24T12:00:00Z"}
    )
    assert declared.status_code == 200, declared.text
    values = (
        "SELECT kpi, series->>'gate', value FROM read.latest WHERE kpi LIKE 'evolved%%' AND status = 'final'"
    )
    expected = {("evolved_levels", None, 7.0), ("evolved_gates", "none", 3.0), ("evolved_gates", "B7", 4.0)}
    assert until(lambda: set(mesh.query(values)) == expected), mesh.query(values)


async def test_who_produces_straight_to_the_topic_may_be_on_either_schema(
    mesh: Mesh, registry: Registry
) -> None:
    """BACKWARD: a producer that is still on the old schema goes on after the change."""
    id = "straight"
    mesh.define(definition(ONE, id))
    push(mesh, id, {"id": "a", "level": 1})
    old_id = mesh.query("SELECT schema_id FROM read.catalog WHERE kind = 'source' AND id = %s", id)[0][0]
    mesh.define(
        definition([{"name": "level", "type": "long"}, {"name": "x", "type": "int", "nullable": True}], id)
    )
    until(lambda: in_force(mesh, id, 2))
    push(mesh, id, {"id": "b", "level": 2**40})
    codec = Codec(await registry.schema(old_id))
    value = codec.encode(old_id, {"id": "c", "at": 1_795_000_000_000, "level": 3})
    async with producer(mesh.settings) as out:
        await out.send_and_wait(mesh.settings.prefix + EVENTS.of(id), value, key=b"c", partition=0)
    until(lambda: set(stored(mesh, id)) == {"a", "b", "c"})
    levels = {name: (data["level"], data.get("x")) for name, data in stored(mesh, id).items()}
    assert levels == {"a": (1, None), "b": (2**40, None), "c": (3, None)}


def test_letters_that_would_pass_are_counted_and_a_policy_for_unknown_fields_lets_them_in(mesh: Mesh) -> None:
    id = "letters_let_in"
    before = definition(ONE, id, on_malformed="dead_letter")
    mesh.define(before)
    push(mesh, id, {"id": "a", "level": 1}, {"id": "b", "level": 2, "extra": 5}, {"id": "c", "level": "x"})
    count = "SELECT count(*) FROM read.dead_letters WHERE source = %s"
    until(lambda: mesh.query(count, id) == [(2,)])
    (evidence,) = plan(mesh, {**before, "unknown_fields": "drop"})["evidence"]
    assert (evidence["replay"]["letters"], evidence["replay"]["mended"]) == (2, 1)
    assert "1 of the last 2 dead letters would pass" in evidence["text"]


def test_the_command_shows_the_evidence_of_a_refused_change_too(mesh: Mesh, tmp_path: Any) -> None:
    id = "shown"
    mesh.define(definition(ONE, id))
    push(mesh, id, {"id": "a", "level": 1})
    until(lambda: len(stored(mesh, id)) == 1)
    (tmp_path / "sources").mkdir()
    (tmp_path / "teams").mkdir()
    wanted = definition([{"name": "level", "type": "string"}], id)
    (tmp_path / "sources/shown.yaml").write_text(json.dumps(wanted))
    team = {"id": "fleet", "title": "Fleet management", "department": "technics"}
    (tmp_path / "teams/fleet.yaml").write_text(json.dumps(team))
    arguments = ["plan", str(tmp_path), "--server", mesh.stack.gateway]
    result = CliRunner().invoke(app, arguments, env={"SEXTANT_TOKEN": mesh.token("operator")})
    assert result.exit_code == 1
    assert "level changes from int to string, against version 1 (compatibility BACKWARD)" in result.stderr
    assert "contract of shown: refused by compatibility BACKWARD" in result.stdout
    assert (
        "breaks 100 % of the last 1 records of shown (field level: Expected `str`, got `int`)"
        in result.stdout
    )


def test_a_change_of_unit_is_refused_though_every_record_fits(mesh: Mesh) -> None:
    id = "measured"
    mesh.define(definition([{**ONE[0], "unit": "km"}], id))
    answer = plan(mesh, definition([{**ONE[0], "unit": "mi"}], id))
    (problem,) = answer["problems"]
    assert (problem["rule"], problem["path"]) == ("declared meaning", "fields.2")
    assert "the unit of level was km and becomes mi" in answer["evidence"][0]["text"]
