"""Flink's tables of our topics: a source's events, and the observations as the registry knows them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.common.catalog import Source
from libs.common.events import OBSERVATION_SCHEMA
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.topics import OBSERVATIONS

TYPES = {
    "string": "STRING", "int": "INT", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP(3)", "date": "DATE",
}  # fmt: skip
KEY = "__key"
TRANSACTION_TIMEOUT = "600000"
"""ms; longer than a job is away when it comes again from its checkpoint."""


@dataclass(frozen=True)
class Place:
    """Where a job reads and writes, as the cluster reaches it."""

    kafka: str
    registry: str
    prefix: str
    bounded: bool = False
    """Read what is there, close every window, end."""

    def source_options(self, topic: str, source: Source, job: str) -> dict[str, str]:
        options = {
            "connector": "kafka",
            "topic": topic,
            "properties.bootstrap.servers": self.kafka,
            "properties.group.id": f"{self.prefix}{job}",
            "properties.isolation.level": "read_committed",
            "scan.startup.mode": "earliest-offset",
            "scan.topic-partition-discovery.interval": "10 s",
            "format": "sextant-events",
            "sextant-events.of": "json" if source.format == "json" else "avro-confluent",
        }
        if source.format != "json":
            options["sextant-events.url"] = self.registry
        return options | ({"scan.bounded.mode": "latest-offset"} if self.bounded else {})

    def written(self, options: Mapping[str, str]) -> str:
        pairs = (f"{_quoted(key)} = {_quoted(value)}" for key, value in options.items())
        return f"WITH ({', '.join(pairs)})"


def columns_of(source: Source) -> list[str]:
    """The columns of a source's table: its fields as they are on the topic, and what the engine's columns are made of.

    `__declared` is set in a control record alone: nothing earlier will follow. `__ahead`: the clock is wrong.
    """
    json_times = source.format == "json"
    fields = [
        f"{_named(field.name)} {'STRING' if json_times and field.type == 'timestamp' else TYPES[field.type]}"
        for field in source.fields
    ]
    event_time = _named(source.event_time or "")
    event_time = f"sx_moment({event_time})" if json_times else event_time
    mark = "TRY_CAST(DECODE(`__headers`['sx-watermark'], 'UTF-8') AS BIGINT)"
    ahead = interval(int(source.watermark.ahead.total_seconds() * 1000))
    return [
        *fields,
        f"`{PARTITION}` INT METADATA FROM 'partition' VIRTUAL",
        f"`{OFFSET}` BIGINT METADATA FROM 'offset' VIRTUAL",
        "`__arrived` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
        "`__headers` MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL",
        "`__ids` INT METADATA FROM 'value.schema-id' VIRTUAL",
        f"`__declared` AS CAST(TO_TIMESTAMP_LTZ({mark}, 3) AS TIMESTAMP(3))",
        f"`__ahead` AS {event_time} > CAST(`__arrived` AS TIMESTAMP(3)) + {ahead}",
        f"`{TIME}` AS {event_time}",
    ]


def sink(place: Place, job: str) -> str:
    """The table of the observations: exactly once, in the wire format and under the schema of the detector's own."""
    columns = [f"`{KEY}` STRING NOT NULL", *(_column(field) for field in OBSERVATION_SCHEMA["fields"])]
    options = {
        "connector": "kafka",
        "topic": place.prefix + OBSERVATIONS.name,
        "properties.bootstrap.servers": place.kafka,
        "properties.transaction.timeout.ms": TRANSACTION_TIMEOUT,
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"{place.prefix}{job}",
        "key.format": "raw",
        "key.fields": KEY,
        "value.fields-include": "EXCEPT_KEY",
        "value.format": "avro-confluent",
        "value.avro-confluent.url": place.registry,
        "value.avro-confluent.subject": f"{place.prefix}{OBSERVATIONS.name}-value",
        "value.avro-confluent.schema": json.dumps(OBSERVATION_SCHEMA),
    }
    return (
        f"CREATE TEMPORARY TABLE {_named(OBSERVATIONS.name)} ({', '.join(columns)}) {place.written(options)}"
    )


def _column(field: Mapping[str, Any]) -> str:
    return f"{_named(field['name'])} {_type(field['type'])}"


def _type(avro: Any) -> str:
    """An Avro type as Flink reads it (flink-avro: AvroSchemaConverter)."""
    if isinstance(avro, list):
        (inner,) = (each for each in avro if each != "null")
        return _type(inner).removesuffix(" NOT NULL")
    if isinstance(avro, str):
        return f"{TYPES[avro]} NOT NULL"
    match avro["type"]:
        case "map":
            return f"MAP<STRING NOT NULL, {_type(avro['values'])}> NOT NULL"
        case "array":
            return f"ARRAY<{_type(avro['items'])}> NOT NULL"
        case "record":
            inside = ", ".join(_column(each) for each in avro["fields"])
            return f"ROW<{inside}> NOT NULL"
        case _:
            return "TIMESTAMP(3) NOT NULL"


def interval(milliseconds: int) -> str:
    """A length of time as a literal."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, hours = seconds // 60, seconds // 3600
    clock = f"{hours % 24:02}:{minutes % 60:02}:{seconds % 60:02}.{rest:03}"
    return f"INTERVAL '{hours // 24} {clock}' DAY(3) TO SECOND(3)"


def _named(name: str) -> str:
    return f"`{name}`"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
