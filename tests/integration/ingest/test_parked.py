"""Events whose reference has not come wait, in order per key, while the rest flows; killed whenever, none is lost."""

import base64
import io
import json
import random
import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import fastavro
import httpx
import pytest
from typer.testing import CliRunner, Result

from libs.cli.main import app
from libs.common.events import ParkedEvent
from libs.common.kafka import read_all
from libs.common.topics import EVENTS, PARKED
from tests.mesh import Mesh, until

HANGARS: dict[str, Any] = {
    "kind": "source", "id": "hangars", "title": "Hangars", "owner": "fleet", "reference": True, "key": ["name"],
    "fields": [{"name": "name", "type": "string"}, {"name": "doors", "type": "int"}],
}  # fmt: skip
LANDINGS: dict[str, Any] = {
    "kind": "source", "id": "landings", "title": "Landings", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["tail"], "partitions": 2, "on_malformed": "dead_letter", "retry": {"tiers": ["1h"]},
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "tail", "type": "string"},
        {"name": "hangar", "type": "string", "nullable": True},
    ],
}  # fmt: skip
RULE: dict[str, Any] = {
    "kind": "rule", "title": "The hangar is known", "owner": "fleet",
    "check": {"reference": {"field": "hangar", "in": "hangars"}},
}  # fmt: skip


def define(mesh: Mesh, id: str, **changes: Any) -> None:
    """A source like landings, with its rule, in force."""
    where = changes.pop("where", None)
    mesh.define(LANDINGS | {"id": id} | changes, RULE | {"id": f"{id}_known", "source": id, "where": where})
    until(lambda: "hangars" in (described(mesh, id).get("parked") or {"references": {}})["references"])


def described(mesh: Mesh, source: str) -> dict[str, Any]:
    return mesh.service("ingest").get(f"/v1/sources/{source}").json()


def event(id: str, tail: str, hangar: str | None = None) -> dict[str, Any]:
    return {"id": id, "at": "2026-11-24T10:00:00Z", "tail": tail, "hangar": hangar}


def push(mesh: Mesh, source: str, records: Sequence[dict[str, Any]]) -> httpx.Response:
    body = "\n".join(json.dumps(each) for each in records).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=body, headers=headers)


def statuses(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["status"] for each in answer.json()["results"]]


def hangar(mesh: Mesh, *names: str) -> None:
    assert set(statuses(push(mesh, "hangars", [{"name": name, "doors": 2} for name in names]))) == {
        "published"
    }


def parked(mesh: Mesh, source: str) -> dict[str, Any]:
    answer = mesh.as_("operator").get(f"/v1/sources/{source}/parked")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def published(mesh: Mesh, source: str) -> dict[str, list[str]]:
    """Key → ids of the events on the topic, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    async for records in read_all(mesh.settings, EVENTS.of(source)):
        for record in records:
            found[(record.key or b"").decode()].append(dict(record.headers)["ce_id"].decode())
    return dict(found)


def books(mesh: Mesh, source: str) -> dict[str, int]:
    names = ("accepted", "landed", "dead_lettered", "duplicate", "in_flight", "parked", "erased", "imbalance")
    rows = mesh.query(f"SELECT {', '.join(names)} FROM read.ledger_totals WHERE source = %s", source)
    return dict(zip(names, rows[0], strict=True)) if rows else {}


def balanced(mesh: Mesh, source: str, **wanted: int) -> None:
    """Waits for these books; everything else of them is 0."""
    names = ("landed", "dead_lettered", "duplicate", "in_flight", "parked", "erased", "imbalance")
    expected = dict.fromkeys(names, 0)
    expected |= wanted | {"accepted": sum(wanted.values())}
    until(lambda: books(mesh, source) == expected)


def sextant(mesh: Mesh, *words: str) -> Result:
    env = {"SEXTANT_SERVER": mesh.stack.gateway, "SEXTANT_TOKEN": mesh.token("operator")}
    return CliRunner().invoke(app, words, env=env)


@pytest.fixture(scope="module", autouse=True)
def reference(mesh: Mesh) -> None:
    mesh.define(HANGARS)
    until(lambda: push(mesh, "hangars", []).status_code == 200)
    hangar(mesh, "north")


async def test_events_of_a_key_wait_for_its_row_in_order_and_other_keys_flow(mesh: Mesh) -> None:
    define(mesh, "landings")
    first = [event("a1", "A", "late"), event("b1", "B", "north"), event("a2", "A", "north"), event("c1", "C")]
    answer = push(mesh, "landings", first)
    assert statuses(answer) == ["parked", "published", "parked", "published"]
    waits = [each.get("waits_for") for each in answer.json()["results"]]
    assert waits == ["hangar late is not in hangars", None, "an event of its key that came before", None]
    assert answer.json()["proof"]["parked"] == 2
    receipt = mesh.service("ingest").post("/v1/receipts/verify", json=answer.json()["proof"])
    assert receipt.json()["valid"] is True

    assert statuses(push(mesh, "landings", [event("b2", "B"), event("a3", "A", "north")])) == [
        "published",
        "parked",
    ]
    again = push(mesh, "landings", first)
    assert statuses(again) == ["duplicate"] * 4
    assert {each["receipt"] for each in again.json()["results"]} == {answer.json()["receipt"]}
    assert (parked(mesh, "landings")["events"], parked(mesh, "landings")["keys"]) == (3, 1)
    balanced(mesh, "landings", landed=3, duplicate=4, parked=3)

    hangar(mesh, "late")
    until(lambda: parked(mesh, "landings")["events"] == 0)
    assert await published(mesh, "landings") == {"A": ["a1", "a2", "a3"], "B": ["b1", "b2"], "C": ["c1"]}
    assert statuses(push(mesh, "landings", [event("a4", "A", "north")])) == ["published"]
    assert statuses(push(mesh, "landings", [event("a1", "A", "late")])) == ["duplicate"]
    balanced(mesh, "landings", landed=7, duplicate=5)
    minutes = mesh.query(
        "SELECT DISTINCT accepted - landed - duplicate, parked FROM read.ledger WHERE source = 'landings'"
    )
    assert minutes == [(0, 0)], (
        "each minute balances by itself: what was parked lands under the one that accepted it"
    )


def test_a_row_that_was_acknowledged_before_is_known(mesh: Mesh) -> None:
    define(mesh, "prompt")
    for number in range(20):
        hangar(mesh, f"prompt {number}")
        assert statuses(push(mesh, "prompt", [event(f"p{number}", "A", f"prompt {number}")])) == ["published"]


def test_a_rule_that_does_not_apply_holds_nothing_up(mesh: Mesh) -> None:
    define(mesh, "conditional", where="tail like 'N%'")
    records = [event("c1", "N1", "nowhere"), event("c2", "D1", "nowhere")]
    assert statuses(push(mesh, "conditional", records)) == ["parked", "published"]


async def test_what_is_parked_is_minimised_before_and_lands_as_what_was_not(mesh: Mesh) -> None:
    pseudonym = {"kind": "pseudonym", "secret": "TESTS_PEOPLE"}
    pilot = {"name": "pilot", "type": "string", "classification": "personal", "minimise": pseudonym}
    define(mesh, "discreet", fields=[*LANDINGS["fields"], pilot])
    records = [event("a1", "A", "discreet") | {"pilot": "Amelia"}, event("b1", "B") | {"pilot": "Amelia"}]
    assert statuses(push(mesh, "discreet", records)) == ["parked", "published"]
    values = [each.value async for some in read_all(mesh.settings, PARKED.of("discreet")) for each in some]
    payloads = [base64.b64decode(ParkedEvent.decode(value or b"").payload_b64) for value in values]
    assert [b"Amelia" in payload for payload in payloads] == [False]
    hangar(mesh, "discreet")
    query = "SELECT data->>'pilot' FROM read.events WHERE source = 'discreet'"
    until(lambda: len(mesh.query(query)) == 2)
    assert len(set(mesh.query(query))) == 1, "of one name there is one pseudonym"


async def test_an_avro_record_lands_as_it_was(mesh: Mesh) -> None:
    types = ["string", {"type": "long", "logicalType": "timestamp-millis"}, "string", ["null", "string"]]
    fields = [
        {"name": field["name"], "type": kind} for field, kind in zip(LANDINGS["fields"], types, strict=True)
    ]
    define(mesh, "packaged")
    out, at = io.BytesIO(), datetime(2026, 11, 24, 10, 0, 0, 123_000, tzinfo=UTC)
    record = {"id": "a1", "at": at, "tail": "A", "hangar": "packaged"}
    fastavro.writer(out, {"type": "record", "name": "landing", "fields": fields}, [record])
    headers = {"Content-Type": "application/vnd.apache.avro"}
    answer = mesh.service("ingest").post(
        "/v1/sources/packaged/events", content=out.getvalue(), headers=headers
    )
    assert statuses(answer) == ["parked"]
    hangar(mesh, "packaged")
    query = "SELECT event_time, data->>'hangar', receipt FROM read.events WHERE source = 'packaged'"
    assert until(lambda: mesh.query(query)) == [(at, "packaged", answer.json()["receipt"])]


async def test_what_does_not_come_is_a_dead_letter_after_the_last_tier_and_can_be_driven_when_it_has(
    mesh: Mesh,
) -> None:
    define(mesh, "brief", retry={"tiers": ["1s", "1s"]})
    lost, fine = event("a1", "A", "never"), event("a2", "A", "north")
    assert statuses(push(mesh, "brief", [lost, fine])) == ["parked", "parked"]
    until(lambda: parked(mesh, "brief")["events"] == 0)
    assert await published(mesh, "brief") == {"A": ["a2"]}
    balanced(mesh, "brief", landed=1, dead_lettered=1)
    query = (
        "SELECT id, stage, code, field, rule, attempts, payload FROM read.dead_letters WHERE source = 'brief'"
    )
    ((id, *said, payload),) = mesh.query(query)
    assert said == ["refer", "reference_missing", "hangar", "in hangars", 3]
    assert json.loads(payload) == lost

    def drive() -> dict[str, Any]:
        order = mesh.as_("operator").post("/v1/redrives", json={"source": "brief", "ids": [id]}).json()
        return until(
            lambda: (
                shown
                if (shown := mesh.as_("operator").get(f"/v1/redrives/{order['id']}").json())["state"]
                == "done"
                else {}
            )
        )

    failed = drive()
    assert (failed["published"], failed["failures"][0]["code"]) == (0, "reference_missing")
    hangar(mesh, "never")
    assert drive()["published"] == 1
    assert await published(mesh, "brief") == {"A": ["a2", "a1"]}


def test_a_steward_has_what_waits_tried_or_gives_it_up(mesh: Mesh) -> None:
    define(mesh, "stewarded")
    push(mesh, "stewarded", [event("a1", "A", "gone"), event("a2", "A"), event("b1", "B", "gone")])
    assert "3 events of 2 keys" in sextant(mesh, "parked", "stewarded").stdout
    assert "2 keys of it were tried" in sextant(mesh, "parked", "stewarded", "--retry").stdout
    assert parked(mesh, "stewarded")["events"] == 3
    given = sextant(mesh, "parked", "stewarded", "--give-up", "--key", "A")
    assert (given.exit_code, "2 events were given up" in given.stdout) == (0, True), given.output
    balanced(mesh, "stewarded", dead_lettered=2, parked=1)
    codes = mesh.query("SELECT DISTINCT code FROM read.dead_letters WHERE source = 'stewarded'")
    assert codes == [("given_up",)]
    refused = mesh.as_("vic").post("/v1/sources/stewarded/parked", json={"do": "give_up"})
    assert refused.status_code == 403
    never = mesh.as_("operator").post("/v1/sources/hangars/parked", json={"do": "retry"})
    assert (never.status_code, never.json()["code"]) == (409, "never_parked")


async def test_an_erasure_takes_out_what_is_parked_of_a_subject_though_ingest_is_killed(mesh: Mesh) -> None:
    pilot = {"name": "pilot", "type": "string", "classification": "personal"}
    define(mesh, "forgetful", fields=[*LANDINGS["fields"], pilot])
    records = [
        event("a1", "A", "forgotten") | {"pilot": "Amelia"}, event("a2", "A") | {"pilot": "Bessie"},
        event("a3", "A") | {"pilot": "Amelia"}, event("b1", "B", "forgotten") | {"pilot": "Bessie"},
        event("c1", "C", "forgotten") | {"pilot": "Amelia"}, event("d1", "D") | {"pilot": "Amelia"},
    ]  # fmt: skip
    assert statuses(push(mesh, "forgetful", records)).count("parked") == 5
    given = mesh.as_("operator").post("/v1/sources/forgetful/parked", json={"do": "give_up", "key": "C"})
    assert given.is_success
    balanced(mesh, "forgetful", landed=1, dead_lettered=1, parked=4)
    order = {"source": "forgetful", "field": "pilot", "value": "Amelia", "reason": "asked"}
    answer = mesh.as_("stew").post("/v1/erasures", json=order)
    assert answer.status_code == 202, answer.text
    for _ in range(2):
        mesh.kill("ingest")

    def erasure() -> dict[str, Any]:
        return mesh.as_("stew").get(f"/v1/erasures/{answer.json()['id']}").json()

    until(lambda: erasure()["state"] == "done")
    lines = {line["store"]: line for line in erasure()["lines"]}
    rows = [lines["ingest.parked"][name] for name in ("rows_before", "rows_deleted", "rows_after")]
    assert rows == [2, 2, 0]
    assert lines["parked.forgetful"]["state"] == "expires"
    assert [lines[f"archive.{name}"]["rows_deleted"] for name in ("events", "dead_letters")] == [1, 1]
    balanced(mesh, "forgetful", landed=2, dead_lettered=1, parked=1, erased=2)  # who was behind goes on
    hangar(mesh, "forgotten")
    until(lambda: parked(mesh, "forgetful")["events"] == 0)
    assert await published(mesh, "forgetful") == {"A": ["a2"], "B": ["b1"], "D": ["d1"]}
    balanced(mesh, "forgetful", landed=3, dead_lettered=1, erased=2)
    last = {
        record.key: record.value
        async for records in read_all(mesh.settings, PARKED.of("forgetful"))
        for record in records
    }
    assert set(last.values()) == {None}
    assert mesh.query("SELECT DISTINCT data->>'pilot' FROM read.events WHERE source = 'forgetful'") == [
        ("Bessie",)
    ]


async def test_what_waits_is_published_when_the_source_takes_its_retry_back(mesh: Mesh) -> None:
    define(mesh, "relaxed")
    assert statuses(push(mesh, "relaxed", [event("a1", "A", "gone"), event("a2", "A")])) == [
        "parked",
        "parked",
    ]
    mesh.define(LANDINGS | {"id": "relaxed", "retry": None})
    until(lambda: parked(mesh, "relaxed")["events"] == 0)
    assert await published(mesh, "relaxed") == {"A": ["a1", "a2"]}
    balanced(mesh, "relaxed", landed=2)


def test_a_source_gets_its_retry_while_it_runs(mesh: Mesh) -> None:
    mesh.define(LANDINGS | {"id": "later", "retry": None}, RULE | {"id": "later_known", "source": "later"})
    until(lambda: push(mesh, "later", []).status_code == 200)
    assert statuses(push(mesh, "later", [event("a1", "A", "gone")])) == ["published"]
    mesh.define(LANDINGS | {"id": "later"})
    numbers = count(2)
    until(lambda: statuses(push(mesh, "later", [event(f"a{next(numbers)}", "A", "gone")])) == ["parked"])


@pytest.mark.timeout(300)
async def test_killed_again_and_again_it_publishes_each_event_once_and_in_order(mesh: Mesh) -> None:
    """Clients repeat what was not answered, as they should; rows come in between."""
    define(mesh, "shaken")
    dice, accepted = random.Random(5), defaultdict[str, list[str]](list)
    stopping, tails = threading.Event(), [f"T{number}" for number in range(4)]

    def send(tail: str) -> None:
        """One event after the other, each until it is accepted: the order of its key."""
        number = 0
        while not stopping.is_set():
            number += 1
            id, name = f"{tail}.{number}", f"shaken {dice.randint(0, 9)}" if number % 3 == 0 else "north"
            insist(mesh, "shaken", [event(id, tail, name)])
            accepted[tail].append(id)

    threads = [threading.Thread(target=send, args=[tail]) for tail in tails]
    for thread in threads:
        thread.start()
    try:
        for kill in range(5):
            before = sum(map(len, accepted.values()))
            until(lambda before=before: sum(map(len, accepted.values())) > before + 20)
            mesh.kill("ingest")
            insist(mesh, "hangars", [{"name": f"shaken {kill}", "doors": 1}])
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    waiting = parked(mesh, "shaken")["events"]
    assert waiting > 0
    mesh.kill("ingest")
    insist(mesh, "shaken", [])
    assert parked(mesh, "shaken")["events"] == waiting
    insist(mesh, "hangars", [{"name": f"shaken {number}", "doors": 1} for number in range(10)])
    until(lambda: parked(mesh, "shaken")["events"] == 0)
    landed = sum(map(len, accepted.values()))
    until(lambda: (found := books(mesh, "shaken"))["landed"] == landed and not found["in_flight"])
    assert await published(mesh, "shaken") == dict(accepted)
    balanced(mesh, "shaken", landed=landed, duplicate=books(mesh, "shaken")["duplicate"])
    left = [record async for records in read_all(mesh.settings, PARKED.of("shaken")) for record in records]
    assert {record.key for record in left if record.value} == {
        record.key for record in left if not record.value
    }


def insist(mesh: Mesh, source: str, records: Sequence[dict[str, Any]]) -> None:
    """Until it is accepted, as a client does."""

    def accepted() -> bool:
        try:
            return push(mesh, source, records).status_code == 200
        except httpx.TransportError:
            return False

    until(accepted)
