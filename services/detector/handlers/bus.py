"""What `detector.partials` carries: partial rows, watermarks and announcements, told apart by their headers."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from libs.common.kafka import Headers, Record
from libs.common.stream import Output
from libs.common.topics import PARTIALS
from services.detector.core.steps import Announcement, Mark, Ready, Rows
from services.detector.handlers.statelog import from_bytes, to_bytes

KPIS, SOURCE, PARTITION, AT, IDLE, LIVE, UPTO, READY, ERASED, ROUND, BACKFILL, SINCE = (
    "sx-kpis", "sx-source", "sx-partition", "sx-at", "sx-idle", "sx-live", "sx-upto", "sx-ready", "sx-erased", "sx-round",
    "sx-backfill", "sx-since",
)  # fmt: skip


def rows(
    kpis: Sequence[str], source: str, partition: int, frame: pl.DataFrame, target: int, more: Headers
) -> Output:
    headers: Headers = [
        (KPIS, ",".join(kpis).encode()), (SOURCE, source.encode()), (PARTITION, str(partition).encode()), *more,
    ]  # fmt: skip
    return Output(PARTIALS.name, f"{source}/{partition}".encode(), to_bytes(frame), headers, target)


def marks(
    source: str, partition: int, at: int | None, *, idle: bool, since: int = 0, upto: int = 0
) -> list[Output]:
    """The partition's watermark, to every merge partition.

    `since`, `upto`: offsets of the source's partition, of the first of the records that were combined and the next one.
    """
    headers: Headers = [
        (SOURCE, source.encode()), (PARTITION, str(partition).encode()), (AT, _number(at)),
        (IDLE, b"1" if idle else b"0"), (SINCE, str(since).encode()), (UPTO, str(upto).encode()),
    ]  # fmt: skip
    return _to_all(f"{source}/{partition}", headers)


def announcement(
    kpi: str, source: str, partition: int, at: int | None, *, live: bool, upto: int = 0
) -> list[Output]:
    """How far the partition was combined for one KPI, to every merge partition. `upto`: the next offset for it."""
    headers: Headers = [
        (KPIS, kpi.encode()), (SOURCE, source.encode()), (PARTITION, str(partition).encode()), (AT, _number(at)),
        (LIVE, b"1" if live else b"0"), (UPTO, str(upto).encode()),
    ]  # fmt: skip
    return _to_all(f"{source}/{partition}", headers)


def ready(kpi: str, partition: int) -> list[Output]:
    """A merge partition has caught up with a version, to every merge partition."""
    headers: Headers = [(KPIS, kpi.encode()), (PARTITION, str(partition).encode()), (READY, b"1")]
    return _to_all(f"{kpi}/{partition}", headers)


def erased(id: str, round: int, number: int) -> list[Output]:
    """To every merge partition: a partition brings nothing of the subject of an erasure any more."""
    headers: Headers = [
        (ERASED, id.encode()), (ROUND, str(round).encode()), (PARTITION, str(number).encode()),
    ]  # fmt: skip
    return _to_all(id, headers)


def erased_in(records: Sequence[Record]) -> Iterator[tuple[str, int, int]]:
    """(erasure, round, who tells of it)."""
    for record in records:
        headers: dict[str, Any] = dict(record.headers)
        if ERASED in headers:
            yield headers[ERASED].decode(), int(headers[ROUND]), int(headers[PARTITION])


def backfill(kpi: str, order: bytes) -> list[Output]:
    """Asks every merge partition up to where its windows of a KPI are closed. `order`: what is answered with that."""
    return _to_all(f"{kpi}/backfill", [(KPIS, kpi.encode()), (BACKFILL, order)])


def asked_in(records: Sequence[Record]) -> list[tuple[str, bytes]]:
    """(KPI, order) of the backfills that ask."""
    asking = [dict(record.headers) for record in records if not record.value]
    return [(headers[KPIS].decode(), headers[BACKFILL]) for headers in asking if BACKFILL in headers]


def origin(record: Record) -> tuple[list[str], str, int]:
    """Of a record with rows: the KPIs that they are for, the source and its partition."""
    headers: dict[str, Any] = dict(record.headers)
    return headers[KPIS].decode().split(","), headers[SOURCE].decode(), int(headers[PARTITION])


def reached(records: Sequence[Record]) -> Iterator[tuple[str | None, str, int, int, int]]:
    """(KPI, or None for all that are live; source; partition; since, upto): offsets that were combined."""
    for record in records:
        headers: dict[str, Any] = dict(record.headers)
        if UPTO in headers:
            kpi = headers[KPIS].decode() if LIVE in headers else None
            since, upto = int(headers.get(SINCE, 0)), int(headers[UPTO])
            yield kpi, headers[SOURCE].decode(), int(headers[PARTITION]), since, upto


def _to_all(key: str, headers: Headers) -> list[Output]:
    return [
        Output(PARTIALS.name, key.encode(), b"", headers, target) for target in range(PARTIALS.partitions)
    ]


def _number(at: int | None) -> bytes:
    return b"" if at is None else str(at).encode()


def marks_in(records: Sequence[Record]) -> list[Mark]:
    """The watermarks alone."""
    return read([record for record in records if not record.value])[1]


def read(records: Sequence[Record]) -> tuple[list[Rows], list[Mark], list[Announcement], list[Ready]]:
    found: tuple[list[Rows], list[Mark], list[Announcement], list[Ready]] = ([], [], [], [])
    for record in records:
        headers: dict[str, Any] = dict(record.headers)
        if BACKFILL in headers:
            continue
        partition = int(headers[PARTITION])
        at = int(headers[AT]) if headers.get(AT) else None
        if record.value:
            kpis = tuple(headers[KPIS].decode().split(","))
            found[0].append(Rows(kpis, partition, from_bytes(record.value)))
        elif ERASED in headers:
            continue
        elif READY in headers:
            found[3].append(Ready(headers[KPIS].decode(), partition))
        elif LIVE in headers:
            found[2].append(Announcement(headers[KPIS].decode(), partition, at, headers[LIVE] == b"1"))
        else:
            found[1].append(Mark(headers[SOURCE].decode(), partition, at, headers[IDLE] == b"1"))
    return found
