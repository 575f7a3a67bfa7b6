"""How the events of a source fall on its partitions, as the gateway answers it."""

from typing import Any, Literal

from services.gateway.api.models.common import Answer, example

PARTITIONS: dict[str, Any] = {
    "keyed_by": "fields", "count": 4, "wanted": 4, "waits_for": [], "unordered_since": None, "records": 51200,
    "shares": [
        {"partition": 0, "records": 0.57, "bytes": 0.56}, {"partition": 1, "records": 0.14, "bytes": 0.15},
        {"partition": 2, "records": 0.15, "bytes": 0.15}, {"partition": 3, "records": 0.14, "bytes": 0.14},
    ],
    "skew": 2.28, "keys": [{"key": "UA", "share": 0.43}], "distinct_keys": 16, "error": 0.006,
    "advice": [
        "key UA carries 43% of the records: a partition cannot be split below one key; add a field (origin) to the key,"
        " or use random if their order does not matter"
    ],
}  # fmt: skip


class PartitionShare(Answer):
    """What one partition has of what was written lately, 0 to 1."""

    partition: int
    records: float
    bytes: float


class KeyShare(Answer):
    """A key, masked as the fields are that it is made of (null: not to be seen), and its share of the records."""

    key: str | None
    share: float


class Partitions(Answer):
    """Of what was written lately: what is ten minutes old counts half; nothing from before ingest started."""

    keyed_by: Literal["fields", "expression", "random", "sticky"]
    """What chooses the partition of an event."""
    count: int
    wanted: int
    """As it is defined: more than `count` while partitions are being added, and nothing is taken in."""
    waits_for: list[Literal["archive", "quality", "detector"]]
    """Readers that this waits for."""
    unordered_since: str | None
    """When partitions were last added without every reader having read what was before."""
    records: int
    """On which the figures rest."""
    shares: list[PartitionShare]
    skew: float | None
    """The largest share of records over the mean; null without records."""
    keys: list[KeyShare]
    """The heaviest, at most five."""
    distinct_keys: int | None
    """Null: more than are counted one by one."""
    error: float
    """By so much a key's share may be off, in 95 of 100 cases."""
    advice: list[str]

    model_config = example(**PARTITIONS)
