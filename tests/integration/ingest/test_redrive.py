"""Dead letters are known by their cause, and driven again by orders that outlive the process."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from libs.cli.main import app
from libs.common.kafka import read_all
from tests.mesh import Mesh, until

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "litres", "type": "int"},
]  # fmt: skip
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "tanked", "title": "Tanked", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter", "fields": FIELDS,
}  # fmt: skip


def define(mesh: Mesh, id: str) -> None:
    mesh.define(SOURCE | {"id": id})
    until(lambda: mesh.service("ingest").post(f"/v1/sources/{id}/events", content=b"[]").status_code == 200)


def event(id: str, **changes: Any) -> dict[str, Any]:
    return {"id": id, "at": "2026-11-24T10:00:00Z", "litres": 7, **changes}


def push(mesh: Mesh, source: str, records: list[Any]) -> list[str]:
    """The ids of the dead letters that they became, once they are stored."""
    body = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in records).encode()
    answer = mesh.service("ingest").post(
        f"/v1/sources/{source}/events", content=body, headers={"Content-Type": "application/x-ndjson"}
    )
    letters = [each["dead_letter"] for each in answer.json()["results"] if "dead_letter" in each]
    count = "SELECT count(*) FROM read.dead_letters WHERE id = ANY(%s)"
    until(lambda: mesh.query(count, letters) == [(len(letters),)])
    return letters


def groups(mesh: Mesh, source: str) -> dict[str, dict[str, Any]]:
    answer = mesh.as_("stew").get("/v1/dead-letters/groups", params={"source": source})
    assert answer.status_code == 200, answer.text
    return {f"{each['code']} {each['field']}": each for each in answer.json()["items"]}


def order(mesh: Mesh, source: str, *, until_: str = "done", **said: Any) -> dict[str, Any]:
    """A re-drive, when it has come to that state."""
    answer = mesh.as_("operator").post("/v1/redrives", json={"source": source, **said})
    assert answer.status_code == 200, answer.text
    return reached(mesh, answer.json()["id"], until_)


def reached(mesh: Mesh, id: str, state: str) -> dict[str, Any]:
    found = until(lambda: shown if (shown := show(mesh, id))["state"] in (state, "failed") else None)
    assert found is not None
    assert found["state"] == state, found
    return found


def show(mesh: Mesh, id: str) -> dict[str, Any]:
    return mesh.as_("operator").get(f"/v1/redrives/{id}").json()


def command(mesh: Mesh, id: str, word: str) -> httpx.Response:
    return mesh.as_("operator").post(f"/v1/redrives/{id}/{word}")


def stored(mesh: Mesh, source: str) -> list[str]:
    """The ids of the source's events in the archive."""
    rows = mesh.query("SELECT event_id FROM read.events WHERE source = %s ORDER BY event_id", source)
    return [row[0] for row in rows]


def balanced(mesh: Mesh, source: str) -> bool:
    query = "SELECT in_flight, imbalance, accepted > 0 FROM read.ledger_totals WHERE source = %s"
    return mesh.query(query, source) == [(0, 0, True)]


def done(mesh: Mesh, statement: str, *parameters: Any) -> None:
    assert mesh.query(f"{statement} RETURNING 1", *parameters)


def sextant(mesh: Mesh, *words: str) -> Result:
    env = {"SEXTANT_SERVER": mesh.stack.gateway, "SEXTANT_TOKEN": mesh.token("operator")}
    return CliRunner().invoke(app, words, env=env)


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    for id in (
        "tanked",
        "retanked",
        "mended",
        "canaried",
        "killed",
        "exhausted",
        "commanded",
        "quoted",
        "made_up",
    ):
        define(mesh, id)


def test_letters_of_one_cause_are_one_group_wherever_in_the_text_the_fault_stands(mesh: Mesh) -> None:
    extra = [event(f"g{number}", note=number) for number in range(3)]
    texts = [event(f"h{number}", litres="many") for number in range(2)]
    ids = push(mesh, "tanked", [*extra, *texts, '{"id": !', '{    "id": !', event("fine")])
    found = groups(mesh, "tanked")
    counts = {name: each["letters"] for name, each in found.items()}
    assert counts == {"unknown_field note": 3, "wrong_type litres": 2, "malformed None": 2}
    assert len({each["cause"] for each in found.values()}) == 3
    assert set(found["unknown_field note"]["examples"]) == set(ids[:3])
    listed = mesh.as_("stew").get("/v1/dead-letters", params={"source": "tanked"}).json()["items"]
    causes = {each["id"]: each["cause"] for each in listed}
    assert {causes[id] for id in ids[:3]} == {found["unknown_field note"]["cause"]}
    assert all(each["schema_ids"] and each["code_version"] for each in listed)


def test_as_many_causes_as_anybody_makes_up_fill_no_answer_and_what_is_left_out_is_counted(
    mesh: Mesh,
) -> None:
    push(mesh, "made_up", [event(f"m{number}", **{f"field{number // 2}": 1}) for number in range(211)])
    found = mesh.as_("stew").get("/v1/dead-letters/groups", params={"source": "made_up"}).json()
    assert [each["letters"] for each in found["items"]] == [2] * 100
    assert (found["groups_left_out"], found["letters_left_out"]) == (6, 11)
    assert "6 more causes, of 11 letters" in sextant(mesh, "dead-letters", "made_up").output


async def test_letters_that_fit_after_a_change_are_driven_once_and_keep_their_origin(mesh: Mesh) -> None:
    ids = push(mesh, "retanked", [event(f"r{number}", note="new") for number in range(3)])
    mesh.define(
        SOURCE | {"id": "retanked", "fields": [*FIELDS, {"name": "note", "type": "string", "nullable": True}]}
    )
    until(lambda: mesh.service("ingest").get("/v1/sources/retanked").json()["version"] == 2)
    found = order(mesh, "retanked")
    assert (found["letters"], found["published"], found["waiting"], found["failures"]) == (3, 3, 0, [])
    again = order(mesh, "retanked")
    assert (again["published"], again["before"]) == (0, 3)
    until(lambda: stored(mesh, "retanked") == ["r0", "r1", "r2"])
    until(lambda: balanced(mesh, "retanked"))
    (group,) = groups(mesh, "retanked").values()
    assert group["driven"] == group["letters"]
    origins = set()
    async for records in read_all(mesh.settings, "events.retanked"):
        origins |= {value.decode() for each in records for name, value in each.headers if name == "sx-letter"}
    assert set(ids) <= origins


def test_a_dry_run_checks_every_letter_says_why_some_fail_and_writes_nothing(
    mesh: Mesh, tmp_path: Path
) -> None:
    good = [event(f"m{number}", litres=f" {number} ") for number in range(20)]
    push(mesh, "mended", [*good, event("bad", litres="plenty"), event("extra", note=1), '{"id": !'])
    cause = groups(mesh, "mended")["wrong_type litres"]["cause"]
    found = order(mesh, "mended", dry_run=True, until_="checked")
    assert (found["checked"], found["waiting"], found["failing"]) == (23, 0, 23)
    file = tmp_path / "fix.yaml"
    file.write_text("- {do: number, field: litres}\n- {do: drop, field: unheard}\n")
    dry = sextant(mesh, "redrive", "mended", "--cause", cause, "--fix", str(file), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "21 of 21 checked · 20 to drive · 1 fail" in dry.output
    assert "1 × unmended: litres: number" in dry.output
    assert stored(mesh, "mended") == []
    id = dry.output.partition("--go ")[2].split(",")[0]
    listed = sextant(mesh, "redrives", "--go", id, "--json")
    assert id in [each["id"] for each in json.loads(listed.output)]
    assert reached(mesh, id, "done")["published"] == 20
    until(lambda: stored(mesh, "mended") == sorted(f"m{number}" for number in range(20)))
    assert mesh.query("SELECT sum((data->>'litres')::int) FROM read.events WHERE source = 'mended'") == [
        (190,)
    ]
    until(lambda: balanced(mesh, "mended"))
    shown = sextant(mesh, "dead-letters", "mended")
    assert cause in shown.output


def test_a_canary_drives_so_many_and_waits(mesh: Mesh) -> None:
    push(mesh, "canaried", [event(f"c{number}", note=number) for number in range(30)])
    found = order(mesh, "canaried", canary=4, fix=[{"do": "drop", "field": "note"}], until_="tried")
    assert (found["published"], found["waiting"]) == (4, 26)
    until(lambda: len(stored(mesh, "canaried")) == 4)
    assert command(mesh, found["id"], "pause").status_code == 409
    assert command(mesh, found["id"], "go").status_code == 200
    assert reached(mesh, found["id"], "done")["published"] == 30
    until(lambda: len(stored(mesh, "canaried")) == 30)


def test_a_re_drive_outlives_kills_no_letter_twice_and_none_left_out(mesh: Mesh) -> None:
    push(mesh, "killed", [event(f"k{number:03}", note=number) for number in range(300)])
    said = (
        mesh.as_("operator")
        .post("/v1/redrives", json={"source": "killed", "rate": 60, "fix": [{"do": "drop", "field": "note"}]})
        .json()
    )

    def driven() -> int:
        try:
            answer = mesh.service("ingest").get(f"/v1/redrives/{said['id']}")
        except httpx.TransportError:
            return 0
        return answer.json()["driven"] if answer.status_code == 200 else 0

    for least in (1, 120):
        until(lambda least=least: driven() >= least)
        mesh.kill("ingest")
    until(lambda: driven() == 300)
    found = reached(mesh, said["id"], "done")
    assert (found["published"], found["duplicate"], found["waiting"]) == (300, 0, 0)
    until(lambda: balanced(mesh, "killed"))
    assert stored(mesh, "killed") == [f"k{number:03}" for number in range(300)]


def test_a_cancelled_re_drive_drives_no_more_and_says_that_what_is_published_stays(mesh: Mesh) -> None:
    push(mesh, "commanded", [event(f"x{number}", note=number) for number in range(40)])
    fix = [{"do": "drop", "field": "note"}]
    id = order(mesh, "commanded", rate=0.5, fix=fix, until_="running")["id"]
    until(lambda: show(mesh, id)["published"] >= 1)
    assert command(mesh, id, "pause").json()["state"] == "paused"
    found = command(mesh, id, "cancel").json()
    assert found["state"] == "cancelled"
    published = found["published"]
    assert (
        found["note"]
        == f"{published} of its events are published; what is published stays, unless it is undone"
    )
    assert command(mesh, id, "go").json()["code"] == "wrong_state"
    until(lambda: len(stored(mesh, "commanded")) == found["published"])
    rest = order(mesh, "commanded", fix=fix)
    assert (rest["before"], rest["published"]) == (found["published"], 40 - found["published"])
    actions = "SELECT action FROM read.audit WHERE actor = 'operator' AND resource = %s"
    until(
        lambda: (
            {"pause redrive", "cancel redrive"} <= {row[0] for row in mesh.query(actions, f"redrives/{id}")}
        )
    )


def test_a_letter_that_failed_three_times_or_is_gone_is_not_driven(mesh: Mesh) -> None:
    often, gone, _ = push(mesh, "exhausted", [event(f"e{number}", note=1) for number in range(3)])
    fix = [{"do": "drop", "field": "note"}]
    for number in range(3):
        done(
            mesh,
            "INSERT INTO ingest.redrives VALUES"
            " (%s, 'exhausted', NULL, '[]', false, NULL, 1, '', '', 'done', '', now(), now())",
            f"before {number}",
        )
        done(
            mesh,
            "INSERT INTO ingest.redrive_letters VALUES (%s, 1, %s, true, 'fails', 'unfit', NULL, NULL, now())",
            f"before {number}",
            often,
        )
    dry = order(mesh, "exhausted", dry_run=True, fix=fix, until_="checked")
    assert (dry["exhausted"], dry["waiting"]) == (1, 2)
    done(mesh, "DELETE FROM archive.dead_letters WHERE id = %s", gone)
    assert command(mesh, dry["id"], "go").status_code == 200
    found = reached(mesh, dry["id"], "done")
    assert (found["published"], found["gone"], found["exhausted"]) == (1, 1, 1)
    assert {each["code"] for each in found["failures"]} == {"gone", "driven_too_often"}


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"source": "nowhere"}, 404, "there is no source nowhere"),
        ({"source": "tanked", "cause": "none"}, 422, "no dead letters of tanked of cause none"),
        ({"source": "tanked", "ids": ["x/1"]}, 422, "x/1"),
        ({"source": "tanked", "ids": []}, 422, "ids"),
        ({"source": "tanked", "canary": 0}, 422, "canary"),
        ({"source": "tanked", "fix": [{"do": "eval", "field": "id"}]}, 422, "fix"),
        ({"source": "tanked", "fix": [{"do": "default", "field": "id", "value": [1]}]}, 422, "fix"),
        ({"source": "tanked", "rate": 0}, 422, "rate"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_says_what_is_wrong(
    mesh: Mesh, said: dict[str, Any], status: int, words: str
) -> None:
    answer = mesh.as_("operator").post("/v1/redrives", json=said)
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_causes_and_failures_quote_nothing_of_a_record_to_those_who_may_not_see_all_of_it(mesh: Mesh) -> None:
    push(mesh, "quoted", [event("q", **{"Eva Heimlich": 1}), event("p", litres="many")])
    found = order(mesh, "quoted", dry_run=True, until_="checked")
    assert {each["code"] for each in found["failures"]} == {"unknown_field", "wrong_type"}
    assert [each["field"] for each in found["failures"] if each["rule"]] == ["litres"]
    for path in ("/v1/dead-letters/groups?source=quoted", f"/v1/redrives/{found['id']}"):
        assert "Heimlich" not in mesh.as_("operator").get(path).text
        assert "Heimlich" in mesh.as_("stew").get(path).text


def test_only_those_who_may_ingest_or_are_stewards_order_and_see_re_drives(mesh: Mesh) -> None:
    assert mesh.as_("vic").get("/v1/redrives").status_code == 403
    assert mesh.as_("vic").post("/v1/redrives/none/cancel").status_code == 403
    assert mesh.as_("stew").get("/v1/redrives/none").json()["code"] == "unknown_redrive"
    assert mesh.as_("stew").post("/v1/redrives/none/explode").status_code == 422
