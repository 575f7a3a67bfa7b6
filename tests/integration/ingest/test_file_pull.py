"""Files in folders and buckets are taken once, resumed in their middle and read on where they grew."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import polars as pl
import pytest
import pytest_asyncio
from aiobotocore.session import get_session
from backports import zstd
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from libs.common.catalog import Source
from libs.common.migrate import migrate
from services.ingest.core.answers import Unreadable
from services.ingest.core.pages import Standing
from services.ingest.handlers.connectors import CONNECTORS, Desk
from tests.ingests import settings
from tests.mesh import Mesh, until

_session = cast(Any, get_session)  # whose clients have their methods when they are made
HEADER = "id,at,n\n"


def source(**pull: Any) -> Source:
    fields = [("id", "string"), ("at", "timestamp"), ("n", "long")]
    return Source.model_validate(
        {
            "id": "filed", "title": "Filed", "owner": "fleet", "event_id": "id", "event_time": "at",
            "fields": [{"name": name, "type": kind} for name, kind in fields],
            "pull": {"kind": "files", "page_size": 3, "quiet": "10s", **pull},
        }
    )  # fmt: skip


@pytest_asyncio.fixture
async def desk(database: str, tmp_path: Path) -> AsyncGenerator[Desk]:
    """With ingest's tables, and files below `tmp_path`."""
    migrate(database, "ingest")
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        yield Desk(settings=settings(database, files=tmp_path), pool=pool, http=cast(Any, None))


async def taken(desk: Desk, definition: Source, *, pages: int = 1_000) -> list[str]:
    """The ids of a round, dead after so many pages: the last of them was accepted, and nobody could note it."""
    found: list[str] = []
    rounds = cast(Any, CONNECTORS["files"](desk, definition, Standing()))
    async for page in rounds:
        found += [json.loads(record)["id"] for record in page.records]
        pages -= 1
        if pages == 0:
            await rounds.aclose()
            break
    return found


def rows(*numbers: int) -> str:
    return "".join(f"r{number},2026-11-24T10:00:00Z,{number}\n" for number in numbers)


def old(file: Path) -> None:
    os.utime(file, (1_000_000_000, 1_000_000_000))


async def test_a_file_is_taken_once_and_resumed_in_its_middle(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(HEADER + rows(*range(8)))
    (tmp_path / "in/other.txt").write_text("no")
    definition = source(place="in", pattern="*.csv")
    assert await taken(desk, definition, pages=2) == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert await taken(desk, definition) == ["r3", "r4", "r5", "r6", "r7"], "the last page is asked for again"
    old(tmp_path / "in/a.csv")
    await taken(desk, definition)
    assert await taken(desk, definition) == []


async def test_a_file_that_grows_is_read_on_and_one_written_anew_from_its_beginning(
    desk: Desk, tmp_path: Path
) -> None:
    file, definition = tmp_path / "a.csv", source(place=".", pattern="*.csv")
    file.write_text(HEADER + rows(0, 1) + "r2,2026-11")
    assert await taken(desk, definition) == ["r0", "r1"], "the third is still being written"
    file.write_text(HEADER + rows(0, 1, 2, 3))
    assert await taken(desk, definition) == ["r2", "r3"]
    file.write_text(HEADER + rows(9, 8))
    assert await taken(desk, definition) == ["r9", "r8"]
    file.write_text(HEADER + rows(9, 8) + "r7,2026-11-24T10:00:00Z,7")
    old(file)
    assert await taken(desk, definition) == ["r7"], "nobody writes any more"


async def test_packed_text_and_parquet_are_read(desk: Desk, tmp_path: Path) -> None:
    line = '{"id": "%s", "at": "2026-11-24T10:00:00Z", "n": 1}\n'
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress((line % "gz").encode()))
    (tmp_path / "b.jsonl.zst").write_bytes(zstd.compress((line % "zst").encode()))
    at = datetime(2026, 11, 24, tzinfo=UTC)
    table = pl.DataFrame(
        {"id": [f"p{n}" for n in range(7)], "at": [at] * 7, "n": range(7), "more": [None] * 7}
    )
    table.write_parquet(tmp_path / "c.parquet")
    definition = source(place=".")
    assert await taken(desk, definition, pages=3) == ["gz", "zst", "p0", "p1", "p2"]
    assert [id for id in await taken(desk, definition) if id[0] == "p"] == [f"p{n}" for n in range(7)]


@pytest.mark.parametrize(("place", "reason"), [("../..", "not below"), ("none", "there is no folder")])
async def test_only_folders_below_the_one_that_is_allowed_are_read(
    desk: Desk, place: str, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        await taken(desk, source(place=place))


@pytest.fixture(scope="module")
def s3() -> Generator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


async def test_objects_of_a_bucket_are_taken_once_and_one_that_is_longer_now_is_read_on(
    desk: Desk, s3: str
) -> None:
    desk.settings.secrets["BUCKET"] = SecretStr("hidden")
    access: dict[str, Any] = {"aws_access_key_id": "key", "aws_secret_access_key": "hidden"}
    async with cast(Any, get_session()).create_client(
        "s3", endpoint_url=s3, region_name="us-east-1", **access
    ) as client:
        await client.create_bucket(Bucket="crew")

        async def put(key: str, body: str) -> None:
            await client.put_object(Bucket="crew", Key=key, Body=body.encode())

        await put("in/a.csv", HEADER + rows(0, 1, 2, 3))
        await put("in/deep/b.csv", HEADER + rows(4).rstrip("\n"))
        await put("out/c.csv", HEADER + rows(5))
        definition = source(
            place="s3://crew/in/", pattern="*.csv", endpoint=s3, access_key="key", secret="BUCKET"
        )
        assert sorted(await taken(desk, definition)) == ["r0", "r1", "r2", "r3", "r4"]
        assert await taken(desk, definition) == []
        await put("in/a.csv", HEADER + rows(0, 1, 2, 3, 6))
        assert await taken(desk, definition) == ["r6"]


async def test_objects_land_once_each_through_the_mesh(mesh: Mesh, s3: str) -> None:
    access: dict[str, Any] = {"aws_access_key_id": "key", "aws_secret_access_key": "any"}
    async with cast(Any, get_session()).create_client(
        "s3", endpoint_url=s3, region_name="us-east-1", **access
    ) as client:
        await client.create_bucket(Bucket="mesh")
        for name in ("a.csv", "b.csv"):
            body = HEADER + rows(*range(20)) + "bad,no time,x\n"
            await client.put_object(Bucket="mesh", Key=f"in/{name}", Body=body.encode())
        definition = source(
            place="s3://mesh/in/", endpoint=s3, access_key="key", secret="TESTS_DATABASE", every="1s"
        ).model_dump(mode="json")
        mesh.define({**definition, "id": "objects", "key": ["id"]})
        count = "SELECT count(*), count(DISTINCT event_id) FROM read.events WHERE source = 'objects'"
        letters = "SELECT field, value FROM read.dead_letters WHERE source = 'objects'"
        assert await asyncio.to_thread(until, lambda: mesh.query(count) == [(20, 20)])
        assert await asyncio.to_thread(until, lambda: mesh.query(letters) == [("at", "no time")] * 2)
