"""Tables and outboxes of a real PostgreSQL: nothing that is committed late, or out of the order of ids, is lost."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlparse

import psycopg
import pytest

from libs.common.catalog import Source
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors import CONNECTORS, Desk
from tests.ingests import settings
from tests.mesh import Mesh, until

FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": "timestamp"},
    {"name": "amount", "type": "double", "nullable": True},
]
BEGIN = datetime(2026, 11, 24, 10, tzinfo=UTC)


def definition(id: str, **pull: Any) -> dict[str, Any]:
    return {
        "kind": "source", "id": id, "title": id, "owner": "fleet", "event_id": "id", "event_time": "at",
        "key": ["id"], "partitions": 1, "fields": FIELDS, "pull": pull,
    }  # fmt: skip


def place(database: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Address and password apart, as a definition has them."""
    parts = urlparse(database)
    monkeypatch.setenv("SEXTANT_SECRET_TEST_DATABASE", parts.password or "")
    return {"address": database.replace(f":{parts.password}@", "@"), "password": "TEST_DATABASE"}


async def round_of(source: dict[str, Any], standing: Standing) -> list[Any]:
    definition = Source.model_validate(source)
    assert definition.pull is not None
    desk = Desk(settings=settings(), pool=cast(Any, None), http=cast(Any, None))
    records = []
    pages: AsyncIterator[Page] = CONNECTORS[definition.pull.kind](desk, definition, standing)
    async for page in pages:
        records += [json.loads(record) for record in page.records]
        standing.settle(page, ["published"] * len(standing.unknown(page)), ids=True)
    return records


async def test_a_table_is_read_in_pages_by_cursor_and_tie_breaker(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE shifts (id text, at timestamptz, amount numeric, secret text)")
        rows = [(f"r{number:02}", BEGIN + timedelta(seconds=number // 8), number / 4) for number in range(50)]
        for each in rows:
            connection.execute("INSERT INTO shifts VALUES (%s, %s, %s, 'x')", each)
        pull = {
            "table": "shifts",
            "cursor": "at",
            "tie_breaker": "id",
            "overlap": {"cap": "1m"},
            "page_size": 7,
        }
        source, standing = (
            definition("shifts", kind="sql", **place(database, monkeypatch), **pull),
            Standing(),
        )
        found = await round_of(source, standing)
        assert [row["id"] for row in found] == [id for id, _, _ in rows]
        assert found[8] == {"id": "r08", "at": "2026-11-24T10:00:01Z", "amount": 2}
        connection.execute("INSERT INTO shifts VALUES ('late', %s, NULL, '')", [BEGIN])
        assert "late" in {row["id"] for row in await round_of(source, standing)}


async def test_a_query_by_number_reads_what_was_committed_behind_the_largest(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection, psycopg.connect(database) as slow:
        connection.execute("CREATE TABLE sales (n bigserial, id text, at timestamp)")
        slow.execute("INSERT INTO sales (id, at) VALUES ('slow', '2026-11-24')")
        for number in range(20):
            connection.execute("INSERT INTO sales (id, at) VALUES (%s, '2026-11-24')", [f"s{number}"])
        source = definition(
            "sales", kind="sql", **place(database, monkeypatch), query="SELECT * FROM sales WHERE n > 0",
            cursor="n", tie_breaker="id", overlap={"cap": 100},
        )  # fmt: skip
        standing = Standing()
        assert len(await round_of(source, standing)) == 20
        slow.commit()
        found = await round_of(source, standing)
        assert {"id": "slow", "at": "2026-11-24T00:00:00Z"} in found
        assert standing.cursor == "21"


async def test_a_cursor_or_an_overlap_of_the_wrong_type_is_said(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE wrong (id text, at timestamptz)")
    pull = {"kind": "sql", **place(database, monkeypatch), "table": "wrong", "tie_breaker": "id"}
    with pytest.raises(Unreadable, match="cursor id is text"):
        await round_of(definition("wrong", **pull, cursor="id", overlap={"cap": 5}), Standing())
    with pytest.raises(Unreadable, match=r"overlap\.cap is 5, and the cursor is a time"):
        await round_of(definition("wrong", **pull, cursor="at", overlap={"cap": 5}), Standing())


async def test_an_outbox_keeps_the_order_of_ids_while_an_older_transaction_is_open(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection, psycopg.connect(database) as slow:
        connection.execute("CREATE TABLE outbox (id bigserial PRIMARY KEY, payload jsonb NOT NULL)")
        add = """INSERT INTO outbox (payload) VALUES (jsonb_build_object('id', %s::text)) RETURNING id"""
        source = definition(
            "box", kind="outbox", **place(database, monkeypatch), table="public.outbox", page_size=2
        )
        connection.execute(add, ["before"])
        assert await round_of(source, Standing()) == [{"id": "before"}]
        slow.execute(add, ["slow"])
        for id in ("a", "b", "c"):
            connection.execute(add, [id])
        assert await round_of(source, Standing()) == [], "an id before theirs may still come"
        slow.commit()
        assert [row["id"] for row in await round_of(source, Standing())] == ["slow", "a", "b", "c"]
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


async def test_what_was_not_accepted_stays_in_the_outbox(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE box (id serial, payload text, done timestamptz)")
        connection.execute("INSERT INTO box (payload) SELECT '{}' FROM generate_series(1, 5)")
        pull = {
            "kind": "outbox",
            **place(database, monkeypatch),
            "table": "box",
            "mark": "done",
            "page_size": 2,
        }
        source = Source.model_validate(definition("box", **pull))
        desk = Desk(settings=settings(), pool=cast(Any, None), http=cast(Any, None))
        pages = cast(Any, CONNECTORS["outbox"](desk, source, Standing()))
        await anext(pages)
        await anext(pages)  # the first page was accepted, of the second nobody knows
        await pages.aclose()
        assert connection.execute("SELECT count(*) FROM box WHERE done IS NULL").fetchone() == (3,)


def test_a_table_and_an_outbox_land_once_each_through_the_mesh(mesh: Mesh) -> None:
    parts = urlparse(mesh.stack.database)
    at = {"address": mesh.stack.database.replace(f":{parts.password}@", "@"), "password": "TESTS_DATABASE"}
    with psycopg.connect(mesh.stack.database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA pulled")
        connection.execute("CREATE TABLE pulled.rows (id text, at timestamptz, amount double precision)")
        connection.execute("CREATE TABLE pulled.box (id bigserial, payload jsonb)")
        insert = "INSERT INTO pulled.rows SELECT 'r' || n, now() - n * interval '1 s', n FROM generate_series(1, 40) n"
        connection.execute(insert)
        connection.execute(
            "INSERT INTO pulled.box (payload) SELECT jsonb_build_object('id', 'b' || (n % 30), 'at', now())"
            " FROM generate_series(1, 40) n"
        )
        sql = {
            "table": "pulled.rows",
            "cursor": "at",
            "tie_breaker": "id",
            "overlap": {"cap": "1h"},
            "page_size": 9,
        }
        mesh.define(
            definition("pulled_rows", kind="sql", every="1s", **at, **sql),
            definition("pulled_box", kind="outbox", every="1s", **at, table="pulled.box", page_size=9),
        )
        count = "SELECT count(*), count(DISTINCT event_id) FROM read.events WHERE source = %s"
        assert until(lambda: mesh.query(count, "pulled_rows") == [(40, 40)])
        assert until(lambda: mesh.query(count, "pulled_box") == [(30, 30)])
        assert until(lambda: mesh.query("SELECT count(*) FROM pulled.box") == [(0,)])
        connection.execute("INSERT INTO pulled.rows VALUES ('late', now() - interval '30 s', 0)")
        assert until(lambda: mesh.query(count, "pulled_rows") == [(41, 41)])
