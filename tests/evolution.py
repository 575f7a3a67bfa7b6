"""Sources that change: versions of one, made by hypothesis or from a seed."""

import random
from typing import Any

from libs.common.catalog import Source

TYPES = ("string", "int", "long", "double", "boolean", "timestamp", "date")
PLAIN = ("string", "int", "long", "double", "boolean")
"""What is the same to Avro and to us: a timestamp is a long to it, a date an int."""
MODES = (
    "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", "NONE",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "string": "none", "int": 3, "long": 4_000_000_000, "double": 2.5, "boolean": True,
    "timestamp": "2026-01-01T00:00:00Z", "date": "2026-01-01",
}  # fmt: skip
KEPT: list[dict[str, Any]] = [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}]


def source(fields: list[dict[str, Any]], id: str = "evolving", **more: Any) -> Source:
    return Source.model_validate(definition(fields, id, **more))


def definition(fields: list[dict[str, Any]], id: str = "evolving", **more: Any) -> dict[str, Any]:
    """With an id and a time beside the fields."""
    return {
        "kind": "source", "id": id, "title": id, "owner": "fleet", "event_id": "id", "event_time": "at",
        "key": ["id"], "partitions": 1, "fields": [*KEPT, *fields], **more,
    }  # fmt: skip


def some_field(random: random.Random, name: str, types: tuple[str, ...] = PLAIN) -> dict[str, Any]:
    kind = random.choice(types)
    how: dict[str, Any] = random.choice([{}, {"nullable": True}, {"default": DEFAULTS[kind]}])
    return {"name": name, "type": kind, **how}


def changed(
    random: random.Random, fields: list[dict[str, Any]], types: tuple[str, ...] = PLAIN
) -> list[dict[str, Any]]:
    """The fields after a change or two: one that comes, goes, or is another."""
    after = [dict(field) for field in fields]
    for _ in range(random.choice([1, 1, 2])):
        what = random.choice(["add", "remove", "alter"])
        if what == "add" or not after:
            free = [name for name in ("a", "b", "c", "d") if name not in {each["name"] for each in after}]
            after += [some_field(random, random.choice(free), types)] if free else []
        elif what == "remove":
            after.pop(random.randrange(len(after)))
        else:
            place = random.randrange(len(after))
            after[place] = some_field(random, after[place]["name"], types)
    return after
