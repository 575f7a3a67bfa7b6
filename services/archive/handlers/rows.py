"""Rows of the archive, made from records. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from libs.common.batches import number
from libs.common.catalog import Source
from libs.common.clock import moment
from libs.common.database import storable
from libs.common.errors import BadMessage
from libs.common.kafka import Record
from libs.common.stream.stored import Bad
from libs.common.wire import INDEX, SCHEMA_ID


def json_rows(frame: pl.DataFrame) -> list[bytes]:
    """Each row as a JSON object, timestamps in RFC 3339."""
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    shown = frame.with_columns(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ") for name in times)
    return shown.write_ndjson().encode().splitlines()


def event_rows(
    source: Source, partition: int, records: Sequence[Record], frame: pl.DataFrame, now: datetime
) -> tuple[list[tuple[Any, ...]], Counter[datetime], Bad]:
    """Rows of `archive.events`, how many landed per minute of arrival, and the records without a time.

    `frame`: the decoded records, `__index` their place in `records`.
    """
    assert source.event_time is not None
    fields = [field.name for field in source.fields if field.name in frame.columns]
    texts = json_rows(frame.select(fields)) if frame.height else []
    times = (
        frame[source.event_time].to_list() if source.event_time in frame.columns else [None] * frame.height
    )
    ids = frame[source.event_id].to_list() if source.event_id in frame.columns else [None] * frame.height
    rows: list[tuple[Any, ...]] = []
    bad: Bad = []
    minutes: Counter[datetime] = Counter()
    columns = zip(frame[INDEX].to_list(), frame[SCHEMA_ID].to_list(), times, ids, texts, strict=True)
    for index, schema_id, time, event_id, text in columns:
        record = records[index]
        if time is None:
            bad.append(
                (record, BadMessage("the event has no time", field=source.event_time, rule="event time"))
            )
            continue
        headers = dict(record.headers)
        arrived = _arrived(record, headers)
        minutes[arrived.replace(second=0, microsecond=0)] += 1
        rows.append(
            (
                source.id,
                partition,
                record.offset,
                time,
                None if event_id is None else str(event_id),
                text_of(record.key),
                schema_id,
                text_of(headers.get("sx-receipt")),
                arrived,
                now,
                _trace(headers.get("traceparent")),
                text,
            )
        )
    return rows, minutes, bad


def reference_rows(
    source: Source, records: Sequence[Record], frame: pl.DataFrame, now: datetime
) -> tuple[list[tuple[Any, ...]], Counter[datetime]]:
    """(source, key, offset, schema id, recorded at, data), the last per key, and how many landed per minute."""
    texts = json_rows(frame.select(field.name for field in source.fields if field.name in frame.columns))
    rows: dict[str, tuple[Any, ...]] = {}
    minutes: Counter[datetime] = Counter()
    columns = zip(frame[INDEX].to_list(), frame[SCHEMA_ID].to_list(), texts, strict=True)
    for index, schema_id, text in columns:
        record = records[index]
        arrived = _arrived(record, dict(record.headers))
        minutes[arrived.replace(second=0, microsecond=0)] += 1
        key = text_of(record.key) or ""
        rows[key] = (source.id, key, record.offset, schema_id, now, text)
    return list(rows.values()), minutes


def text_of(value: bytes | None) -> str | None:
    """A key or header as text that can be stored: who writes to a topic past ingest may have numbers for keys."""
    return None if value is None else storable(value.decode("utf-8", "replace"))


def _arrived(record: Record, headers: Mapping[str, bytes | None]) -> datetime:
    """What ingest says of it; else when it was written."""
    stamp = number(headers.get("sx-ingested"))
    return moment(record.timestamp if stamp is None else stamp)


def _trace(traceparent: bytes | None) -> str | None:
    """The trace id of a W3C traceparent."""
    parts = (text_of(traceparent) or "").split("-")
    return parts[1] if len(parts) == 4 else None
