"""What a source minimises is found nowhere afterwards: in no topic, table, log, answer or dead letter, nor in Redis."""

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from psycopg import sql

from libs.common.kafka import consumer, read_all
from services.ingest.core.records import MAX_RECORD
from tests.mesh import Mesh, until

CANARIES = {
    "email": "canary.bird@example.org", "phone": "+49 151 23456789", "card": "4539578763621486",
    "iban": "DE89370400440532013000", "name": "Canaria Vogelsang-Öhr", "ip": "203.0.113.177",
    "born": "1987-06-15", "passport": "C01X00T47",
}  # fmt: skip
IDENTITY = {"national_id": "RSSMRA85T10A562S", "mrz": "L898902C36UTO7408122F1204159ZE184226B<<<<<10"}
"""Kinds that are found in free text only."""
NOTE = "call {name} at {phone} or {email}, card {card}, IBAN {iban}, from {ip}, passport {passport}".format(
    **CANARIES
)
OPEN = "open-control-7731"
"""Of a field that is not minimised: what is searched is found where it is."""
AGE = 37.25
PSEUDONYM = {"kind": "pseudonym", "secret": "TESTS_PEOPLE"}
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "canaries", "title": "Canaries", "owner": "fleet", "event_id": "passport",
    "event_time": "at", "key": ["email"], "partitions": 2, "on_malformed": "dead_letter", "watermark": {"idle": "1s"},
    "fields": [
        {"name": "passport", "type": "string", "minimise": PSEUDONYM},
        {"name": "at", "type": "timestamp", "minimise": {"kind": "truncate", "to": "hour"}},
        {"name": "email", "type": "string", "minimise": PSEUDONYM},
        {"name": "phone", "type": "string", "minimise": {"kind": "truncate", "to": 3}},
        {"name": "card", "type": "string", "minimise": {"kind": "generalise", "prefix": 6}},
        {"name": "iban", "type": "string", "minimise": {"kind": "pseudonym", "secret": "TESTS_PEOPLE", "length": 16}},
        {"name": "name", "type": "string", "nullable": True, "minimise": {"kind": "drop"}},
        {"name": "ip", "type": "string", "minimise": {"kind": "generalise", "network": {}}},
        {"name": "born", "type": "date", "minimise": {"kind": "generalise", "to": "year"}},
        {"name": "age", "type": "double", "minimise": {"kind": "generalise", "step": 10}},
        {"name": "note", "type": "string", "nullable": True, "minimise": {"kind": "drop"}},
        {"name": "gate", "type": "int", "nullable": True},
        {"name": "shop", "type": "string"},
    ],
}  # fmt: skip
KPI = {
    "kind": "kpi", "id": "canary_visits", "title": "Visits", "owner": "fleet", "source": "canaries",
    "value": "count(*)", "by": ["email", "shop"], "window": {"tumbling": "1h"},
    "signals": [{"id": "any", "threshold": {"above": 0.5}}],
}  # fmt: skip
PUSH = "/v1/sources/canaries/events"
WAYS: dict[str, dict[str, Any]] = {
    "pseudonym": {"minimise": PSEUDONYM},
    "token": {"minimise": {"kind": "tokenise", "secret": "TESTS_PEOPLE"}},
    "encrypted": {"minimise": {"kind": "encrypt", "secret": "TESTS_PEOPLE", "subject": "person"}},
    "dropped": {"minimise": {"kind": "drop"}},
    "cut": {"minimise": {"kind": "truncate", "to": 2}},
    "general": {"minimise": {"kind": "generalise", "prefix": 2}},
    "redacted": {"scan": "redact"},
}
"""Every way that text is minimised."""
FORMED = {name: CANARIES[name] for name in ("email", "phone", "card", "iban", "ip")} | IDENTITY
"""What has a form by which it is found in free text."""
EVERYTHING = {
    f"{way}_{kind}": f"it is {text}, they say" if way == "redacted" else text
    for way in WAYS
    for kind, text in (FORMED if way == "redacted" else CANARIES | IDENTITY).items()
}
"""Every kind in every way, by field."""
EVERY: dict[str, Any] = {
    "kind": "source", "id": "canaries_every", "title": "Canaries, in every way", "owner": "fleet", "event_id": "id",
    "event_time": "at", "key": ["person"], "partitions": 2, "on_malformed": "dead_letter",
    "fields": [
        {"name": "id", "type": "string", **WAYS["token"]}, {"name": "at", "type": "timestamp"},
        {"name": "person", "type": "string", "classification": "personal", **WAYS["token"]},
        {"name": "gate", "type": "int", "nullable": True},
        *({"name": name, "type": "string", "nullable": True, "classification": "personal", **WAYS[name.split("_")[0]]}
          for name in EVERYTHING),
    ],
}  # fmt: skip
ENVELOPE = {"specversion": "1.0", "source": "/s", "type": "t"}


def event(number: int, **more: Any) -> dict[str, Any]:
    """The canaries of one person; the passport, which names the event, is of each one."""
    passport = f"{CANARIES['passport']}-{number}"
    return {
        **CANARIES, "passport": passport, "at": "2026-11-24T10:34:56Z", "age": AGE, "note": NOTE, "shop": OPEN, **more,
    }  # fmt: skip


def bodies() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Content type, body and headers of everything that is pushed."""

    def as_json(value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=False).encode()

    yield "application/json", as_json([event(1), event(2)]), {}
    yield "application/json", as_json(event(1)), {}
    lines = [as_json(event(3)), as_json(event(4, born="the 15th of June, " + NOTE)), as_json(event(5))[:-20]]
    yield "application/x-ndjson", b"\n".join(lines), {}
    wrong: list[Any] = [
        event(6, gate=NOTE), event(7, gate={"of": CANARIES}), event(8, email=[CANARIES["email"]]),
        event(9, ip=CANARIES["email"]), event(10, ip=None), event(11, note=NOTE + "\0"), event(12, age="37"),
        event(13, seat="12A"), event(14, e_mail=CANARIES["email"]), event(15, **{CANARIES["email"]: 1}),
        event(16, at=NOTE), event(17, passport=17), event(18, shop=None), [event(19)], NOTE, list(CANARIES.values()),
    ]  # fmt: skip
    yield "application/json", as_json(wrong), {}
    yield "application/json", as_json(event(20, note="x" * MAX_RECORD)), {}
    envelope = {**ENVELOPE, "id": CANARIES["passport"], "data": event(21), "subject": CANARIES["email"]}
    yield "application/cloudevents+json", as_json(envelope), {}
    broken = [
        {**envelope, "data": NOTE},
        {"data": event(22), "subject": CANARIES["email"]},
        {"specversion": NOTE},
    ]
    yield "application/cloudevents-batch+json", as_json(broken), {}
    headers = {f"ce-{name}": value for name, value in ENVELOPE.items()}
    yield "application/json", as_json(event(23, gate="x")), {**headers, "ce-id": CANARIES["passport"]}
    yield "application/json", as_json(event(24))[:-9], {**headers, "ce-id": CANARIES["passport"]}
    yield "avro/binary", b"\0\0\x0f\xff\xff" + NOTE.encode(), {}
    yield "application/json", b'{"note": "' + NOTE.encode(), {}
    yield "text/plain", NOTE.encode(), {}


def every(number: int, **more: Any) -> dict[str, Any]:
    """One event of a person, each kind of whose data is in it in every way."""
    id = f"{CANARIES['passport']}-every-{number}"
    return {"id": id, "at": "2026-11-24T11:34:51Z", "person": CANARIES["name"], **EVERYTHING, **more}


def push_everything(mesh: Mesh) -> list[str]:
    """What was answered. What is malformed is driven again, and a steward asks what tokens stand for."""
    ingest, path = mesh.service("ingest"), "/v1/sources/canaries_every/events"
    mesh.define(EVERY)
    until(lambda: ingest.post(path, content="[]").status_code == 200)
    wrong = [
        every(3, gate=NOTE),
        every(4, seat=NOTE),
        every(11, dropped_email=NOTE + "\0"),
        every(5, encrypted_email=[NOTE]),
        every(6, person=None),
    ]
    wrong += [every(7, **{name: {"of": text} for name, text in EVERYTHING.items()}), [every(8)]]
    lines = [json.dumps(every(9)).encode(), json.dumps(every(10)).encode()[:-30]]
    said = [
        ingest.post(path, json=[every(1), every(2)]), ingest.post(path, json=[every(1), every(2)]),
        ingest.post(path, json=wrong),
        ingest.post(path, content=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"}),
    ]  # fmt: skip
    assert [answer.status_code for answer in said] == [200] * 4
    mesh.define(EVERY | {"fields": [*EVERY["fields"], {"name": "seat", "type": "string", "nullable": True}]})
    until(lambda: ingest.get("/v1/sources/canaries_every").json()["version"] == 2)
    letters = "SELECT count(*) FROM read.dead_letters WHERE source = 'canaries_every'"
    until(lambda: mesh.query(letters)[0][0] == 8)
    order = ingest.post("/v1/redrives", json={"source": "canaries_every"}).json()["id"]
    until(lambda: ingest.get(f"/v1/redrives/{order}").json()["state"] == "done")
    said.append(ingest.get(f"/v1/redrives/{order}"))
    events = "SELECT data FROM read.events WHERE source = 'canaries_every'"
    until(lambda: len(mesh.query(events)) == 4)
    for data in (row[0] for row in mesh.query(events)):
        for way in ("token", "encrypted"):
            body = {
                "source": "canaries_every",
                "field": f"{way}_email",
                "values": [data[f"{way}_email"]],
                "reason": "x",
            }
            shown = mesh.as_("stew").post("/v1/reveals", json=body).json()["items"]
            assert [each["clear"] for each in shown] == [CANARIES["email"]]
        assert data["redacted_card"] == "it is <card>, they say"
    return [answer.text for answer in said]


def forms(text: str) -> set[bytes]:
    """How it may stand somewhere: as it is, escaped, in hex."""
    return {text.encode(), json.dumps(text)[1:-1].encode(), text.encode().hex().encode()}


def opened(content: bytes) -> bytes:
    """Also what stands in it in base64."""
    coded = re.findall(rb"(?:[A-Za-z0-9+/]{4}){4,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", content)
    return b"\n".join([content, *map(base64.b64decode, coded)])


async def written(mesh: Mesh) -> dict[str, bytes]:
    """Topic → all that is on it."""
    prefix = mesh.settings.prefix
    client = consumer(mesh.settings)
    await client.start()
    topics = [name.removeprefix(prefix) for name in await client.topics() if name.startswith(prefix)]
    await client.stop()
    found = {}
    for topic in topics:
        parts: list[bytes] = []
        async for records in read_all(mesh.settings, topic):
            for record in records:
                headers = [text for name, value in record.headers for text in (name.encode(), value)]
                parts += [record.key or b"", record.value or b"", *headers]
        found[topic] = b"\n".join(parts)
    return found


def stored(mesh: Mesh) -> dict[str, bytes]:
    """Table → all its rows as text."""
    tables = mesh.query(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    found = {}
    for schema, name in tables:
        query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, name)).as_string()
        found[f"{schema}.{name}"] = "\n".join(row for (row,) in mesh.query(query)).encode()
    return found


def cached(mesh: Mesh) -> dict[str, bytes]:
    """Key → all that Redis has under it."""
    client: Any = redis.Redis.from_url(
        mesh.stack.env["SEXTANT_REDIS"], decode_responses=True, encoding_errors="backslashreplace"
    )
    reads = {
        "string": client.get, "hash": client.hgetall, "set": client.smembers, "stream": client.xrange,
        "list": lambda key: client.lrange(key, 0, -1), "zset": lambda key: client.zrange(key, 0, -1),
    }  # fmt: skip
    with client:
        return {
            f"redis {key}": repr((key, reads[client.type(key)](key))).encode()
            for key in client.scan_iter(count=1000)
        }


def holding(places: dict[str, bytes], texts: set[bytes]) -> set[str]:
    return {place for place, content in places.items() if any(text in content for text in texts)}


@pytest.fixture(scope="module")
def answers(mesh: Mesh) -> list[str]:
    """Everything is pushed, driven again, and has reached the archive."""
    mesh.define(SOURCE, KPI)
    ingest = mesh.service("ingest")
    until(lambda: ingest.post(PUSH, content="[]").status_code == 200)
    said = []
    for kind, body, headers in bodies():
        answer = ingest.post(PUSH, content=body, headers={"Content-Type": kind, **headers})
        assert answer.status_code < 500, answer.text
        said.append(answer.text)
    fields = [*SOURCE["fields"], {"name": "seat", "type": "string", "nullable": True}]
    mesh.define(SOURCE | {"fields": fields})
    until(lambda: ingest.get("/v1/sources/canaries").json()["version"] == 2)
    books = "SELECT sum(in_flight)::int, sum(dead_lettered)::int FROM read.ledger_totals WHERE source = 'canaries'"
    until(lambda: (found := mesh.query(books)[0]) and found[0] == 0 and found[1])
    letters = "SELECT count(*) FROM read.dead_letters WHERE source = 'canaries'"
    until(lambda: mesh.query(letters)[0][0] == mesh.query(books)[0][1])
    order = ingest.post("/v1/redrives", json={"source": "canaries"}).json()["id"]
    until(lambda: ingest.get(f"/v1/redrives/{order}").json()["state"] == "done")
    said.append(ingest.get(f"/v1/redrives/{order}").text)
    ingest.post("/v1/sources/canaries/watermark", json={"through": "2026-11-24T12:00:00Z"})
    values = "SELECT 1 FROM read.observations WHERE kpi = 'canary_visits'"
    until(lambda: mesh.query(values))
    return [*push_everything(mesh), *said]


def test_no_topic_table_log_or_answer_holds_a_canary(mesh: Mesh, answers: list[str]) -> None:
    logs = {path.name: path.read_bytes() for path in (mesh.stack.home / "log").glob("*.log")}
    until(lambda: holding(cached(mesh), forms(OPEN)))
    places = asyncio.run(written(mesh)) | stored(mesh) | logs | cached(mesh)
    assert "ingest.log" in logs
    places |= {f"answer {number}": text.encode() for number, text in enumerate(answers)}
    places = {place: opened(content) for place, content in places.items()}
    assert holding(places, forms(OPEN)) >= {"events.canaries", "events.dead", "kpi.observations"}
    parts = ("canary.bird", "Vogelsang", "23456789", "10:34:56")
    for canary in (*CANARIES.values(), *IDENTITY.values(), *parts):
        assert holding(places, forms(canary)) == set(), canary


def test_a_dead_letter_that_passes_later_has_the_pseudonym_of_a_good_event(
    mesh: Mesh, answers: list[str]
) -> None:
    assert json.loads(answers[-1])["published"] == 1
    series = mesh.query("SELECT DISTINCT series_key FROM read.observations WHERE kpi = 'canary_visits'")
    assert len(series) == 1


def test_a_dead_letter_says_field_and_rule_and_keeps_what_may_be_kept(mesh: Mesh, answers: list[str]) -> None:
    letters = mesh.query(
        "SELECT field, rule, value, payload FROM read.dead_letters WHERE source = 'canaries' AND field = 'gate'"
    )
    assert letters
    for _, rule, value, payload in letters:
        kept = json.loads(payload)
        assert (rule[:8], value) == ("Expected", None)
        assert kept["gate"]["dropped"] in ("text", "object")
        assert (kept["phone"], kept["name"], kept["shop"]) == ("+49", None, OPEN)


def test_without_its_secret_nothing_is_taken(mesh: Mesh) -> None:
    fields = [{**SOURCE["fields"][0], "minimise": PSEUDONYM | {"secret": "NOWHERE"}}, *SOURCE["fields"][1:]]
    mesh.define(SOURCE | {"id": "canaries_unkeyed", "fields": fields})
    path = "/v1/sources/canaries_unkeyed/events"

    def answered() -> tuple[int, str] | None:
        """None as long as its writer starts."""
        answer = mesh.service("ingest").post(path, json=event(1))
        code = answer.json().get("code", "")
        return None if code in ("overloaded", "unknown_source") else (answer.status_code, code)

    assert until(answered) == (503, "minimise_secret_missing")
