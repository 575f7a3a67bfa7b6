"""Bytewax: tumbling windows by event time, at least once, closed windows to the output topic."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.operators.windowing import EventClock, TumblingWindower

E = os.environ
WINDOW_MS = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FROZEN = datetime(2024, 1, 1, tzinfo=UTC)

Aggregate = tuple[int, float, float, float]


def parse(message):
    event = orjson.loads(message.value)
    return message.key.decode(), (event["ts"], event["value"])


def fold(aggregate: Aggregate | None, event: tuple[int, float]) -> Aggregate:
    return merge(aggregate, (1, event[1], event[1], event[1]))


def merge(one: Aggregate | None, other: Aggregate) -> Aggregate:
    if one is None:
        return other
    return (one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3]))


def emit(item: tuple[str, tuple[int, Aggregate]]) -> KafkaSinkMessage:
    key, (window, (count, total, low, high)) = item
    closed = {"key": key, "start": window * WINDOW_MS, "end": (window + 1) * WINDOW_MS}
    closed |= {"count": count, "sum": total, "min": low, "max": high}
    return KafkaSinkMessage(key.encode(), orjson.dumps(closed))


clock = EventClock(
    ts_getter=lambda event: EPOCH + timedelta(milliseconds=event[0]),
    wait_for_system_duration=timedelta(seconds=5),
    now_getter=lambda: FROZEN,  # or the watermark would also move with the machine's clock
    to_system_utc=lambda at: None,
)
flow = Dataflow("windows")
source = kop.input(
    "in", flow, brokers=[E["BOOTSTRAP"]], topics=[E["IN"]], batch_size=1000,
    add_config={"fetch.wait.max.ms": "20", "isolation.level": "read_committed"},
)  # fmt: skip
keyed = op.map("parse", source.oks, parse)
windower = TumblingWindower(length=timedelta(milliseconds=WINDOW_MS), align_to=EPOCH)
windows = windowing.fold_window("aggregate", keyed, clock, windower, lambda: None, fold, merge)
closed = op.map("emit", windows.down, emit)
kop.output("out", closed, brokers=[E["BOOTSTRAP"]], topic=E["OUT"], add_config={"linger.ms": "5"})
Path(E["READY"]).touch()
