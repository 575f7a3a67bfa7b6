"""Quix Streams: tumbling windows by event time, exactly once, closed windows to the output topic.

The transactional id is fixed: the default is another with every start, so that a killed process leaves its
transaction open and readers of committed records wait until it times out.
"""

import os

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Min, Sum

E = os.environ

app = Application(
    broker_address=E["BOOTSTRAP"],
    consumer_group=E["GROUP"],
    auto_offset_reset="earliest",
    state_dir=E["STATE_DIR"],
    commit_interval=int(E["COMMIT_MS"]) / 1000,
    loglevel="WARNING",
    processing_guarantee="exactly-once",
    consumer_extra_config={
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1000,
        "fetch.wait.max.ms": 20,
        "isolation.level": "read_committed",
    },
    producer_extra_config={"linger.ms": 5, "transactional.id": E["GROUP"]},
    consumer_poll_timeout=0.05,
)
source = app.topic(
    E["IN"],
    key_deserializer="str",
    value_deserializer="json",
    timestamp_extractor=lambda value, headers, timestamp, kind: value["ts"],
)
output = app.topic(E["OUT"], key_serializer="str", value_serializer="json")

windows = (
    app.dataframe(source)
    .tumbling_window(duration_ms=10_000, grace_ms=5_000)
    .agg(count=Count(), sum=Sum("value"), min=Min("value"), max=Max("value"))
    .final(closing_strategy="partition")
)
windows.apply(lambda value, key, at, headers: {"key": key, **value}, metadata=True).to_topic(output)

if __name__ == "__main__":
    app.run()
