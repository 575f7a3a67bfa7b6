"""Tokens and keys of subjects: the same after restarts, sealed in the database, shown to few, gone when erased."""

import asyncio
import json
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from libs.cli.main import app
from libs.common.database import pool
from libs.common.errors import Overloaded
from libs.common.migrate import migrate
from services.ingest.core.vault import Scope
from services.ingest.handlers.vault import Vault
from services.ingest.settings import Settings
from tests.mesh import Mesh, until

SECRETS = {"PEOPLE": b"sixteen bytes or more"}
TOKENS, KEYS = Scope("token", "PEOPLE", "PEOPLE"), Scope("key", "guests/who", "PEOPLE")


def settings(database: str) -> Settings:
    return Settings(
        kafka="", database=database, redis="", registry="", receipt_secret=SecretStr("x" * 16), secrets={}
    )


async def test_entries_are_the_same_after_a_restart_and_however_many_ask_at_once(database: str) -> None:
    await asyncio.to_thread(migrate, database, "ingest")
    async with await pool(settings(database), "ingest") as connections:
        before, beside = Vault(connections, SECRETS), Vault(connections, SECRETS)
        texts = [f"person {number}" for number in range(500)]
        one, two = await asyncio.gather(before.entries(TOKENS, texts), beside.entries(TOKENS, texts[::-1]))
        keys = await before.entries(KEYS, ["jane"])
        after = Vault(connections, SECRETS)
        assert one == two == await after.entries(TOKENS, texts)
        sealed = keys["jane"].encrypted("guests/diet", "halal")
        assert (await after.entries(KEYS, ["jane"]))["jane"].encrypted("guests/diet", "halal") == sealed
        asked = [one["person 7"].id, sealed, "tok_" + "a" * 22, "halal"]
        shown = await after.reveal("guests/diet", asked, "PEOPLE")
    assert [each["clear"] for each in shown] == ["person 7", "halal", None, None]
    assert [each["reason"] for each in shown[2:]] == [
        "it is erased, or was never one of ours",
        "it is no token or encrypted text",
    ]
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT v::text, encode(sealed, 'escape') FROM ingest.vault v").fetchall()
    assert len(rows) == 501
    assert not [row for row in rows if "person" in str(row) or "jane" in str(row)]


async def test_without_the_database_what_is_known_goes_on_and_the_rest_is_refused_aloud(
    database: str,
) -> None:
    await asyncio.to_thread(migrate, database, "ingest")
    base, _, name = database.rpartition("/")
    async with await pool(settings(database), "ingest") as connections:
        vault = Vault(connections, SECRETS)
        known = await vault.entries(TOKENS, ["jane"])
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            try:
                assert await vault.entries(TOKENS, ["jane"]) == known
                with pytest.raises(Overloaded) as refused:
                    await vault.entries(TOKENS, ["jane", "bob"])
                with pytest.raises(Overloaded):
                    await vault.reveal("guests/email", [known["jane"].id], "PEOPLE")
            finally:
                connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        assert (refused.value.code, refused.value.more["retryable"]) == ("vault_away", True)
        assert (await vault.entries(TOKENS, ["jane", "bob"]))["jane"] == known["jane"]


async def test_who_asks_for_a_key_while_it_is_deleted_gets_another(database: str) -> None:
    await asyncio.to_thread(migrate, database, "ingest")
    async with await pool(settings(database), "ingest") as connections:
        vault = Vault(connections, SECRETS)
        old = (await vault.entries(KEYS, ["jane"]))["jane"]
        async with connections.acquire() as connection, connection.transaction():
            assert await vault.shred(connection, "guests", "who", "jane") == (1, 0)
            asked = asyncio.create_task(vault.entries(KEYS, ["jane"]))
            await connection.execute("SELECT 1")
            assert not asked.done()
        assert (await asked)["jane"].id != old.id


# --- in the mesh -----------------------------------------------------------------------------------------------

PERSONAL = {"classification": "personal"}
TOKENISE = {"kind": "tokenise", "secret": "TESTS_PEOPLE"}
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "guests", "title": "Guests", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter",
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "who", "type": "string", **PERSONAL},
        {"name": "email", "type": "string", **PERSONAL, "minimise": TOKENISE},
        {"name": "diet", "type": "string", **PERSONAL,
         "minimise": {"kind": "encrypt", "secret": "TESTS_PEOPLE", "subject": "who"}},
        {"name": "shop", "type": "string"},
    ],
}  # fmt: skip
OTHER = SOURCE | {"id": "guests_again"}


@pytest.fixture(scope="module")
def guests(mesh: Mesh) -> None:
    mesh.define(SOURCE, OTHER)
    for source in (SOURCE, OTHER):
        until(lambda source=source: accepted(mesh, source["id"]))


def push(mesh: Mesh, source: str, *events: dict[str, Any]) -> Any:
    body = [{"at": "2026-11-24T10:00:00Z", "shop": "s1"} | event for event in events]
    return mesh.service("ingest").post(f"/v1/sources/{source}/events", content=json.dumps(body))


def accepted(mesh: Mesh, source: str, *events: dict[str, Any]) -> bool:
    """Whether ingest, which may be starting again, takes them."""
    try:
        return push(mesh, source, *events).status_code == 200
    except httpx.TransportError:
        return False


def guest(id: str, who: str) -> dict[str, Any]:
    return {"id": id, "who": who, "email": f"{who}@example.org", "diet": f"no nuts for {who}"}


def event(mesh: Mesh, source: str, id: str) -> dict[str, Any]:
    """As it is archived."""
    query = "SELECT data FROM read.events WHERE source = %s AND event_id = %s"
    return until(lambda: mesh.query(query, source, id))[0][0]


def reveal(mesh: Mesh, field: str, *values: str, by: str = "stew", source: str = "guests") -> Any:
    body = {"source": source, "field": field, "values": list(values), "reason": "a test"}
    return mesh.as_(by).post("/v1/reveals", json=body)


def test_who_pushes_again_after_a_kill_has_the_same_token_in_whatever_source(
    mesh: Mesh, guests: None
) -> None:
    assert push(mesh, "guests", guest("t1", "tilda")).json()["published"] == 1
    mesh.kill("ingest")
    until(lambda: accepted(mesh, "guests", guest("t2", "tilda")))
    until(lambda: accepted(mesh, "guests_again", guest("t3", "tilda")))
    found = [event(mesh, *place) for place in (("guests", "t1"), ("guests", "t2"), ("guests_again", "t3"))]
    assert len({each["email"] for each in found}) == 1
    assert found[0]["diet"] == found[1]["diet"] != found[2]["diet"]
    assert found[0]["email"].startswith("tok_")


def test_a_steward_may_ask_what_they_stand_for_and_it_is_on_record_without_the_answer(
    mesh: Mesh, guests: None
) -> None:
    push(mesh, "guests", guest("r1", "rosa"))
    found = event(mesh, "guests", "r1")
    token, text = found["email"], found["diet"]
    assert reveal(mesh, "email", token).json()["items"] == [
        {"value": token, "clear": "rosa@example.org", "reason": None}
    ]
    assert reveal(mesh, "diet", text).json()["items"][0]["clear"] == "no nuts for rosa"
    elsewhere = [
        reveal(mesh, "diet", token),
        reveal(mesh, "email", text),
        reveal(mesh, "diet", text[:-2] + "AA"),
    ]
    assert [each.json()["items"][0]["clear"] for each in elsewhere] == [None] * 3
    assert reveal(mesh, "nose", token).status_code == 404
    refused = reveal(mesh, "email", token, by="lena")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    query = "SELECT actor, outcome, details FROM read.audit WHERE action = 'reveal values' ORDER BY seq"
    until(lambda: {"refused", "done"} <= {row[1] for row in mesh.query(query)})
    rows = mesh.query(query)
    assert next(row[2]["known"] for row in rows if row[1] == "done") == 1
    assert "rosa" not in str(rows)


def test_the_command_line_reveals_too(mesh: Mesh, guests: None) -> None:
    push(mesh, "guests", guest("c1", "carl"))
    token = event(mesh, "guests", "c1")["email"]
    command = ["reveal", "guests", "email", "--reason", "a test", "--server", mesh.stack.gateway]
    env = {"SEXTANT_TOKEN": mesh.token("stew")}
    done = CliRunner().invoke(app, command, input=f"{token}\n", env=env)
    assert (done.exit_code, done.stdout) == (0, f"{token}\tcarl@example.org\n"), done.output
    wrong = CliRunner().invoke(app, [*command, "tok_x"], env=env)
    assert (wrong.exit_code, wrong.stdout) == (1, "tok_x\t\tit is no token or encrypted text\n")


def renamed(mesh: Mesh, before: str, after: str) -> None:
    with psycopg.connect(mesh.stack.database) as connection:
        connection.execute(f"ALTER TABLE ingest.{before} RENAME TO {after}".encode())


def test_while_the_vault_is_away_only_who_needs_it_is_refused(mesh: Mesh, guests: None) -> None:
    assert push(mesh, "guests", guest("w1", "walt")).status_code == 200
    renamed(mesh, "vault", "away")
    try:
        assert push(mesh, "guests", guest("w2", "walt")).status_code == 200
        answer = push(mesh, "guests", guest("w3", "wanda"))
        said = answer.json()
        assert (answer.status_code, said["code"], said["retryable"]) == (503, "vault_away", True)
        assert "Retry-After" in answer.headers
    finally:
        renamed(mesh, "away", "vault")
    assert push(mesh, "guests", guest("w3", "wanda")).json()["published"] == 1


def erased(mesh: Mesh, field: str, value: str, *, kill: bool = False) -> dict[str, Any]:
    """The lines of an erasure that is done, by store."""
    body = {"source": "guests", "field": field, "value": value, "reason": "asked"}
    id = mesh.as_("stew").post("/v1/erasures", json=body).json()["id"]
    if kill:
        mesh.kill("ingest")

    def state() -> Any:
        return mesh.as_("stew").get(f"/v1/erasures/{id}").json()

    until(lambda: state().get("state") == "done", seconds=120)
    return {line["store"]: line for line in state()["lines"]}


def test_who_is_erased_has_no_key_any_more_and_what_was_encrypted_under_it_stays_shut(
    mesh: Mesh, guests: None
) -> None:
    push(mesh, "guests", guest("e1", "ella"), guest("e2", "emil"))
    ella, emil = event(mesh, "guests", "e1")["diet"], event(mesh, "guests", "e2")["diet"]
    lines = erased(mesh, "who", "ella", kill=True)
    assert (lines["ingest.keys"]["state"], lines["ingest.keys"]["rows_deleted"]) == ("done", 1)
    assert lines["ingest.tokens"]["rows_deleted"] == 0
    assert reveal(mesh, "diet", ella).json()["items"][0]["reason"] == "it is erased, or was never one of ours"
    assert reveal(mesh, "diet", emil).json()["items"][0]["clear"] == "no nuts for emil"
    until(lambda: accepted(mesh, "guests", guest("e3", "ella")))
    anew = event(mesh, "guests", "e3")["diet"]
    assert anew != ella
    assert reveal(mesh, "diet", anew).json()["items"][0]["clear"] == "no nuts for ella"


def test_a_token_that_names_who_is_erased_stands_for_nothing_any_more(mesh: Mesh, guests: None) -> None:
    push(mesh, "guests", guest("f1", "fritz"))
    token = event(mesh, "guests", "f1")["email"]
    assert erased(mesh, "email", token)["ingest.tokens"]["rows_deleted"] == 1
    assert reveal(mesh, "email", token).json()["items"][0]["clear"] is None
    push(mesh, "guests", guest("f2", "fritz"))
    assert event(mesh, "guests", "f2")["email"] != token
