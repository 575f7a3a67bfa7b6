"""Where files are: a folder, or a prefix in a bucket of S3."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlparse

from aiobotocore.session import get_session

from libs.common import clock
from libs.common.catalog.pulls import FilesPull
from services.ingest.core.answers import Unreadable
from services.ingest.handlers.connectors.desk import Desk


@dataclass(frozen=True, order=True)
class Found:
    """A file as it is now."""

    modified: datetime
    path: str
    """Relative to the place."""
    tag: str
    """Another one when the content is."""


class Folder:
    """Below SEXTANT_FILES."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self.folder, self.pattern = folder, pattern

    async def present(self) -> list[Found]:
        return await asyncio.to_thread(self._present)

    def _present(self) -> list[Found]:
        if not self.folder.is_dir():
            raise Unreadable(f"there is no folder {self.folder}")
        found = []
        for file in self.folder.rglob("*"):
            path = file.relative_to(self.folder).as_posix()
            if file.is_file() and fnmatch(path, self.pattern):
                state = file.stat()
                modified = clock.moment(state.st_mtime_ns // 1_000_000)
                found.append(Found(modified, path, f"{state.st_size}-{state.st_mtime_ns}"))
        return sorted(found)

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncGenerator[IO[bytes]]:
        with (self.folder / path).open("rb") as file:
            yield file


class Bucket:
    """Objects whose keys begin with a prefix; they are complete as soon as they are there."""

    def __init__(self, client: Any, bucket: str, prefix: str, pattern: str) -> None:
        self.client, self.bucket, self.prefix, self.pattern = client, bucket, prefix, pattern

    async def present(self) -> list[Found]:
        found = []
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        async for page in pages:
            for each in page.get("Contents", ()):
                path = each["Key"].removeprefix(self.prefix)
                if fnmatch(path, self.pattern):
                    found.append(Found(each["LastModified"], path, each["ETag"]))
        return sorted(found)

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncGenerator[IO[bytes]]:
        with TemporaryFile() as file:
            answer = await self.client.get_object(Bucket=self.bucket, Key=self.prefix + path)
            async with answer["Body"] as body:
                async for piece in body.iter_chunks(1024 * 1024):
                    file.write(piece)
            file.seek(0)
            yield file


Place = Folder | Bucket


@asynccontextmanager
async def place_of(desk: Desk, pull: FilesPull) -> AsyncGenerator[Place]:
    """Unreadable if a folder is not below the one that ingest may read."""
    if pull.place.startswith("s3://"):
        parts = urlparse(pull.place)
        options: dict[str, Any] = {"endpoint_url": pull.endpoint, "region_name": pull.region}
        if pull.access_key is not None and pull.secret is not None:
            options["aws_access_key_id"] = pull.access_key
            options["aws_secret_access_key"] = desk.secret(pull.secret)
        async with get_session().create_client("s3", **options) as client:
            yield Bucket(client, parts.netloc, parts.path.lstrip("/"), pull.pattern)
        return
    if desk.settings.files is None:
        raise Unreadable("ingest may read no files: set SEXTANT_FILES to the folder below which it may")
    root = desk.settings.files.resolve()
    folder = (root / pull.place).resolve()
    if not folder.is_relative_to(root):
        raise Unreadable(f"{pull.place} is not below SEXTANT_FILES")
    yield Folder(folder, pull.pattern)
