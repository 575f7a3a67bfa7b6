"""What a partition's batch says of how its source arrives: noted in the transaction that moves the offset.

Events by minute, the last event and the last heartbeat (`sx-control: heartbeat`, which is no event), and of each
numeric field how long it has kept its value. Fields that are personal or sensitive are not watched: the value of a run
is kept, and would outlive the erasure of its subject.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import polars as pl
from aiokafka import TopicPartition

from libs.common import clock, telemetry
from libs.common.batches import HEARTBEAT
from libs.common.catalog import Source
from libs.common.clock import moment
from libs.common.kafka import Record
from libs.common.stream.stored import Connection
from services.quality.core.frozen import Run, follow
from services.quality.handlers.incidents import observe, recover
from services.quality.store import rhythm as store

NUMBERS = ("int", "long", "double")
MINUTE = 60_000


async def note(
    connection: Connection, source: Source, tp: TopicPartition, records: Sequence[Record], frame: pl.DataFrame
) -> None:
    """`records`: all of a batch, control records too. `frame`: its events, in their order."""
    arrivals = [record.timestamp for record in records if record.value]
    counts = Counter(at // MINUTE for at in arrivals)
    beats = [record.timestamp for record in records if not record.value and HEARTBEAT in record.headers]
    newest = frame[source.event_time].max() if frame.height and source.event_time in frame.columns else None
    arrived = moment(max(arrivals)) if arrivals else None
    await store.note_partition(
        connection,
        source.id,
        tp.partition,
        records[-1].offset + 1,
        {moment(minute * MINUTE): count for minute, count in counts.items()},
        (
            newest if isinstance(newest, datetime) else None,
            arrived,
            moment(max(beats)) if beats else None,
        ),
    )
    telemetry.SOURCE_EVENTS.labels(source.id, str(tp.partition)).inc(frame.height)
    telemetry.SOURCE_ERRORS.labels(source.id, str(tp.partition)).inc(len(arrivals) - frame.height)
    if arrived is not None and frame.height:
        await _runs(connection, source, tp.partition, frame, arrived)


def watched(source: Source) -> list[str]:
    """The fields of which it is told that they stand still."""
    return [
        field.name
        for field in source.fields
        if field.type in NUMBERS
        and field.classification not in ("personal", "sensitive")
        and field.name != source.event_id
        and field.name not in source.key_reads
    ]


async def _runs(
    connection: Connection, source: Source, partition: int, frame: pl.DataFrame, arrived: datetime
) -> None:
    fields = [name for name in watched(source) if name in frame.columns]
    if not fields:
        return
    known = await store.runs(connection, source.id, partition)
    before = {name: known.get(name, Run()) for name in fields}
    after = {name: follow(before[name], frame[name], arrived) for name in fields}
    await store.put_runs(
        connection,
        [
            (
                source.id,
                partition,
                name,
                run.value,
                run.length,
                run.since,
                run.longest,
                run.runs,
                run.is_frozen,
            )
            for name, run in after.items()
            if run != before[name]
        ],
    )
    for name, run in after.items():
        if run.is_frozen:
            assert run.since is not None
            await observe(
                connection, source=source.id, rule=name, kind="frozen", severity="warning", owner=source.owner,
                summary=f"{source.title}: {name} stands still since {run.since:%Y-%m-%d %H:%M:%S} UTC, while events go"
                f" on; it never kept a value for more than {run.longest} events before",
                seen_at=run.since, now=clock.now(),
            )  # fmt: skip
        elif before[name].is_frozen and not await store.is_frozen(connection, source.id, name):
            await recover(connection, source.id, "frozen", "source_logic", clock.now(), rule=name)
