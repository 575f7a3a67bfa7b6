"""Text files in records: lines of NDJSON, rows of CSV. Pure."""

import csv
from collections.abc import Iterator, Sequence
from typing import IO

import msgspec

from libs.common.catalog import Source
from services.ingest.core.records import MAX_RECORD
from services.ingest.core.rows import texts

PIECE = 64 * 1024
"""Bytes that are read at once."""


def lines(stream: IO[bytes], *, quoted: bool, final: bool) -> Iterator[tuple[bytes, int]]:
    """Each record, and how many bytes it takes with its end. `quoted`: a line may end within quotes, and the record
    does not. A last line without an end is one only if the file is `final`: another writer may be in the middle of it.
    Of a record that is too large, whatever its size, a beginning is given that is too large too.
    """
    kept, taken, quotes = bytearray(), 0, 0
    while piece := stream.readline(PIECE):
        taken += len(piece)
        kept += piece[: max(0, MAX_RECORD + PIECE - len(kept))]
        quotes += piece.count(b'"') if quoted else 0
        if (quotes % 2 and taken <= MAX_RECORD) or not piece.endswith(b"\n"):
            continue
        yield bytes(kept).rstrip(b"\r\n"), taken
        kept, taken, quotes = bytearray(), 0, 0
    if taken and final:
        yield bytes(kept).rstrip(b"\r\n"), taken


def columns(line: bytes, delimiter: str) -> list[str]:
    """The values of a row of CSV; what is no UTF-8 is replaced, which its field then refuses or shows."""
    text = line.decode("utf-8-sig", errors="replace")
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return [text]


def csv_record(source: Source, header: Sequence[str], line: bytes, delimiter: str) -> bytes:
    """A row as JSON; one that has not as many values as the header has names is given as the list that it is, which
    the validator refuses."""
    values = columns(line, delimiter)
    if len(values) != len(header):
        return msgspec.json.encode(values)
    return texts(source, dict(zip(header, values, strict=True)))
