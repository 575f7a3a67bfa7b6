"""Faust: tumbling windows by event time with a closing of our own, exactly once as it understands it.

Faust's `on_window_close` goes by the machine's clock, so it cannot close by event time. Here a plain table holds
each series' open windows, and the agent closes them when that series' event time passes end + 5 s.
"""

import os

import faust
import orjson

E = os.environ
WINDOW, GRACE = 10_000, 5_000

app = faust.App(
    E["GROUP"],
    broker="kafka://" + E["BOOTSTRAP"],
    store="rocksdb://",
    datadir=E["STATE_DIR"],
    processing_guarantee="exactly_once",
    broker_commit_interval=int(E["COMMIT_MS"]) / 1000,
    topic_partitions=4,
    topic_disable_leader=True,
    table_standby_replicas=0,
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    producer_linger=0.005,
)
raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
source = app.topic(E["IN"], **raw)
output = app.topic(E["OUT"], **raw)
table = app.Table("open", default=dict, partitions=4, key_type=str)


def add(aggregate: list[float] | None, value: float) -> list[float]:
    if aggregate is None:
        return [1, value, value, value]
    count, total, low, high = aggregate
    return [count + 1, total + value, min(low, value), max(high, value)]


@app.agent(source)
async def windows(stream) -> None:
    async for key, body in stream.items():
        event = orjson.loads(body)
        at, series = event["ts"], key.decode()
        start = at - at % WINDOW
        state = table[series]
        newest = max(state.get("newest", 0), at)
        if start + WINDOW + GRACE > newest:
            state[str(start)] = add(state.get(str(start)), event["value"])
        for begin in [int(name) for name in state if name != "newest"]:
            if begin + WINDOW + GRACE <= newest:
                count, total, low, high = state.pop(str(begin))
                closed = {"key": series, "start": begin, "end": begin + WINDOW}
                closed |= {"count": count, "sum": total, "min": low, "max": high}
                await output.send(key=key, value=orjson.dumps(closed))
        state["newest"] = newest
        table[series] = state


if __name__ == "__main__":
    app.main()
