"""Keys that are worked out, and the partitions of events that have none."""

import json
from typing import Any

from libs.common.catalog import DEFINITION, KeyExpression, Source
from libs.common.partitioning import partition_for
from services.ingest.core.keys import STICKY_BYTES, STICKY_MS, ByKey, Keys, RoundRobin, Sticky, placing
from services.ingest.core.records import Bad, Good, Validator

AT = "2026-11-24T10:34:56.789123Z"


def source(key: Any) -> Source:
    definition = DEFINITION.validate_python(
        {
            "kind": "source", "id": "trams", "title": "Trams", "owner": "ops", "key": key, "event_id": "id",
            "event_time": "at", "fields": [
                {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
                {"name": "line", "type": "string", "nullable": True}, {"name": "car", "type": "long"},
                {"name": "day", "type": "date", "nullable": True},
            ],
        }
    )  # fmt: skip
    assert isinstance(definition, Source)
    return definition


def keys(expression: str, *records: dict[str, Any]) -> list[bytes | None]:
    defined = source({"expression": expression})
    assert isinstance(defined.key, KeyExpression)
    base = {"id": "1", "at": AT, "line": None, "car": 7}
    raws = [json.dumps({**base, **record}).encode() for record in records]
    found = Keys(defined, defined.key).all(list(Validator(defined).texts(raws)))
    return [each.key for each in found if isinstance(each, Good)]


def test_a_key_is_the_text_of_what_its_expression_gives() -> None:
    assert keys("upper(line)", {"line": "a"}, {"line": "b"}) == [b"A", b"B"]
    assert keys("car % 4", {}, {"car": -(2**63)}) == [b"3", b"0"]
    assert keys("car > 5", {}) == [b"True"]
    assert keys("day", {"day": "2026-11-24"}) == [b"2026-11-24"]
    assert keys("concat(line, '/', car % 2)", {"line": "M1"}) == [b"M1/1"]


def test_what_is_null_has_the_empty_key() -> None:
    assert keys("upper(line)", {}, {"line": "x"}) == [b"", b"X"]
    assert keys("car % 0", {}) == [b""]


def test_what_is_refused_stays_in_its_place() -> None:
    defined = source({"expression": "upper(line)"})
    assert isinstance(defined.key, KeyExpression)
    raws = [b"{", json.dumps({"id": "1", "at": AT, "line": "a", "car": 1}).encode(), b"[]"]
    bad, good, worse = Keys(defined, defined.key).all(list(Validator(defined).texts(raws)))
    assert isinstance(bad, Bad)
    assert isinstance(worse, Bad)
    assert isinstance(good, Good)
    assert (good.index, good.key) == (1, b"A")
    assert Keys(defined, defined.key).all([]) == []


def test_without_a_key_a_record_has_none() -> None:
    raw = json.dumps({"id": "1", "at": AT, "line": "a", "car": 1}).encode()
    for key in ("random", "sticky"):
        found = Validator(source(key)).single(0, raw)
        assert isinstance(found, Good)
        assert found.key is None


def test_the_same_key_goes_where_every_client_puts_it() -> None:
    many = [str(number).encode() for number in range(100)]
    assert list(ByKey(5).begin(0)(many)) == [partition_for(key, 5) for key in many]
    assert list(ByKey(5).begin(0)(many[:1])) == [partition_for(many[0], 5)]


def test_random_gives_each_partition_alike() -> None:
    rounds = RoundRobin(3)
    found = [number for count in (1, 4, 2, 5) for number in rounds.begin(0)([None] * count)]
    assert found == [0, 1, 2] * 4


def test_sticky_keeps_to_a_partition_until_it_has_enough_or_its_time_is_over() -> None:
    sticky = Sticky(3)
    first = set(sticky.begin(0)([None] * 10))
    sticky.wrote(STICKY_BYTES - 1)
    assert set(sticky.begin(STICKY_MS - 1)([None] * 10)) == first
    sticky.wrote(1)
    second = set(sticky.begin(STICKY_MS - 1)([None]))
    assert (len(first), len(second), first & second) == (1, 1, set())
    assert set(sticky.begin(2 * STICKY_MS)([None])).isdisjoint(second)


def test_each_way_to_key_has_its_placing() -> None:
    chosen = [
        type(placing(source(key), 4)) for key in ([], ["line"], {"expression": "line"}, "random", "sticky")
    ]
    assert chosen == [ByKey, ByKey, ByKey, RoundRobin, Sticky]
