"""Files: CSV, NDJSON and Parquet in a folder or a bucket.

The ledger of seen files says how far each was taken. It is written after the records were accepted, so that a file is
resumed in its middle after a crash, and a file that grew is read on from where it ended.
"""

import asyncio
import gzip
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import IO, Any

import polars as pl
from backports import zstd

from libs.common.catalog import Source
from libs.common.catalog.pulls import FilesPull
from services.ingest import store
from services.ingest.core.answers import Unreadable
from services.ingest.core.lines import columns, csv_record, lines
from services.ingest.core.pages import Page, Standing
from services.ingest.core.rows import row
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.places import Folder, Found, Place, place_of
from services.ingest.store import Seen

MOST_BYTES = 16 * 1024 * 1024
"""Of the lines of a page, about."""
HEAD = 4_096
"""Bytes by which a file that grew is told from one that was written anew."""
_ENDINGS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}


async def files(desk: Desk, source: Source, standing: Standing) -> AsyncGenerator[Page]:
    pull = source.pull
    assert isinstance(pull, FilesPull)
    async with place_of(desk, pull) as place:
        ledger = {} if desk.trying else await store.seen_files(desk.pool, source.id)
        for found in await place.present():
            seen = ledger.get(found.path)
            if seen is not None and seen.done and seen.tag == found.tag:
                continue
            async with aclosing(_read(desk, source, pull, place, found, seen or Seen())) as pages:
                async for page, after in pages:
                    yield page
                    if not desk.trying:
                        await store.note_file(desk.pool, source.id, found.path, after, desk.now())


async def _read(
    desk: Desk, source: Source, pull: FilesPull, place: Place, found: Found, seen: Seen
) -> AsyncGenerator[tuple[Page, Seen]]:
    """Pages of one file, and what the ledger says once each is accepted."""
    name = found.path.removesuffix(".gz").removesuffix(".zst")
    kind = pull.format or _ENDINGS.get(PurePosixPath(name).suffix)
    if kind is None:
        raise Unreadable(f"{found.path}: its name does not say what it is; give `format`")
    final = not isinstance(place, Folder) or desk.now() - found.modified >= pull.quiet
    async with place.opened(found.path) as file:
        if kind == "parquet":
            pages = _parquet(source, pull, file, seen if seen.tag == found.tag else Seen())
        else:
            pages = _text(source, pull, _unpacked(file, found.path), seen, rows=kind == "csv", final=final)
        while True:
            records, taken, head, ended = await asyncio.to_thread(next, pages)
            seen = Seen(found.tag, taken, head, seen.records + len(records), ended and final)
            yield Page(records, f"{found.path} {taken}"), seen
            if ended:
                return


def _unpacked(file: IO[bytes], path: str) -> Any:
    if path.endswith(".gz"):
        return gzip.open(file)
    return zstd.open(file) if path.endswith(".zst") else file


_Step = tuple[list[bytes], int, str, bool]
"""Records; how far the file is taken with them; the digest of its head; whether that is its end."""


def _text(
    source: Source, pull: FilesPull, file: IO[bytes], seen: Seen, *, rows: bool, final: bool
) -> Iterator[_Step]:
    start = file.read(HEAD)
    same = len(start) >= min(seen.taken, HEAD) and seen.head == _digest(start[: seen.taken])
    taken = seen.taken if same else 0
    file.seek(0)
    found, header = lines(file, quoted=rows, final=final), list[str]()
    if rows:
        first, length = next(found, (b"", 0))
        header, taken = columns(first, pull.delimiter), max(taken, length)
    file.seek(taken)
    found = lines(file, quoted=rows, final=final)
    while True:
        page, ended = _some(found, pull.page_size)
        taken += sum(length for _, length in page)
        texts = [line for line, _ in page if line.strip()]
        records = [csv_record(source, header, line, pull.delimiter) for line in texts] if rows else texts
        yield records, taken, _digest(start[:taken]), ended


def _some(found: Iterator[tuple[bytes, int]], most: int) -> tuple[list[tuple[bytes, int]], bool]:
    """The next lines; whether nothing follows."""
    page, size = list[tuple[bytes, int]](), 0
    for each in found:
        page.append(each)
        size += len(each[0])
        if len(page) >= most or size >= MOST_BYTES:
            return page, False
    return page, True


def _digest(start: bytes) -> str:
    return blake2b(start, digest_size=8).hexdigest()


def _parquet(source: Source, pull: FilesPull, file: IO[bytes], seen: Seen) -> Iterator[_Step]:
    taken = seen.taken
    table = pl.read_parquet(file)
    while True:
        page = table.slice(taken, pull.page_size)
        taken += page.height
        records = [row(source, each) for each in page.iter_rows(named=True)]
        yield records, taken, "", taken >= table.height
