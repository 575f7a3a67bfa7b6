"""Committed output against the batch twin."""

import atexit
import json
from collections import Counter, defaultdict
from functools import cache
from math import isclose
from typing import Any

import duckdb
import polars as pl

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.events import OBSERVATION_SCHEMA, DeadLetter, LateEvents, VersionReady, series_key
from libs.common.topics import DEAD, EVENTS, LATE, OBSERVATIONS, PARTIALS, VERSIONS
from libs.common.twins import batch
from libs.common.wire import Codec, record
from services.detector.core.windows import Aligned, compile_window
from services.detector.handlers import bus
from tests.sim.broker import Broker
from tests.sim.clients import consumed
from tests.sim.scenario import EPOCH_MS, SOURCE, Scenario

CODECS = {1: Codec(OBSERVATION_SCHEMA, None)}
Event = dict[str, Any]
Place = tuple[int, int]
"""Partition and offset."""


def differences(broker: Broker, scenario: Scenario) -> list[str]:
    """What is missing, extra, wrong, or out of order. Nothing: as batch says."""
    good, bad = _events(broker)
    found = _letters(broker, bad)
    definitions = {change.id: (change.version, change.definition) for change in scenario.changes}
    catalog = Catalog.of([DEFINITION.validate_python(definition) for _, definition in definitions.values()])
    published, faults = _published(broker)
    found += faults
    late = _late(broker)
    for id, (version, _) in definitions.items():
        kpi = catalog.kpi(id)
        if kpi is None:
            continue
        of_source = kpi if not kpi.over else catalog.kpi(next(iter(kpi.over.values())))
        assert of_source is not None
        name = of_source.id, definitions[of_source.id][0]
        kept, faults = _kept(of_source, good, late.get(name, []))
        found += faults
        answer = _batch(kpi, catalog, kept)
        if kpi.window.each is not None:
            found += _unlike(
                f"{id}@{version}", _singles(broker, id, version), Counter(row[:5] for row in answer)
            )
            continue
        expected = _by_window(answer)
        former = {}
        if kpi.over and definitions[of_source.id][0] > 1:
            # A window that was closed before the new version of its input was served is made of the old one.
            former_catalog = _former(scenario, catalog, of_source.id)
            kept, faults = _kept(of_source, good, late.get((of_source.id, 1), []))
            found += faults
            former = _by_window(_batch(kpi, former_catalog, kept))
        # Sessions that grow together later differ by how their events were cut.
        if kpi.window.session is None:
            found += _gaps(broker, id, version)
        got = published.get((id, version), {})
        closed = _closed_before(broker, f"{id}@{version}") if kpi.over else None
        if closed is not None:
            found += [f"{id}@{version} {key}: published in parts" for key in got if key[2] <= closed]
            expected = {key: row for key, row in expected.items() if key[2] > closed}
        for key in sorted(expected.keys() | got.keys()):
            if key in former and key in got and _same(got[key], ("final", *former[key])):
                continue
            if key not in got:
                found.append(f"{id}@{version} {key}: missing, batch gives {expected[key]}")
            elif key not in expected:
                found.append(f"{id}@{version} {key}: extra, {got[key]}")
            elif not _same(got[key], ("final", *expected[key])):
                found.append(f"{id}@{version} {key}: {got[key]}, batch gives {expected[key]}")
    return found


Windows = dict[tuple[str, int, int], tuple[Any, ...]]


def _by_window(answer: list[tuple[Any, ...]]) -> Windows:
    return {(series, start, stop): (value, count, *n) for series, start, stop, value, count, *n in answer}


def _closed_before(broker: Broker, name: str) -> int | None:
    """Up to where the inputs of a KPI over others had closed their windows when it began: it has none of these."""
    records = [
        consumed(log.tp, at, entry)
        for log in broker.topics[PARTIALS.name]
        for at, entry in log.read(0, 10**9)[0]
    ]
    first: dict[int, int | None] = {}
    for each in bus.read(records)[2]:
        if each.kpi == name:
            first.setdefault(each.partition, each.at)
    return max((at for at in first.values() if at is not None), default=None)


def _former(scenario: Scenario, catalog: Catalog, id: str) -> Catalog:
    """The catalog with the first version of a KPI."""
    first = next(change for change in scenario.changes if change.id == id)
    others = [each for (_, other), each in catalog.definitions.items() if other != id]
    return Catalog.of([*others, DEFINITION.validate_python(first.definition)])


def _gaps(broker: Broker, id: str, version: int) -> list[str]:
    """Windows that the new version had and the old one, which readers were still served by, had not."""
    ready: dict[int, VersionReady] = {}
    for value in _values(broker, VERSIONS.name):
        told = VersionReady.decode(value)
        if (told.kpi, told.kpi_version) == (id, version):
            ready.setdefault(told.partition, told)
    if version == 1:
        return []
    if len(ready) < PARTIALS.partitions:
        return [f"{id}@{version} is served by no more than the merge partitions {sorted(ready)}"]
    served = max(told.recorded_at for told in ready.values())
    first: dict[int, dict[tuple[str, Any, Any], Any]] = {version - 1: {}, version: {}}
    for value in _values(broker, OBSERVATIONS.name):
        seen = record(value, CODECS)
        if seen["kpi"] == id and seen["status"] == "final":
            place = seen["series_key"], seen["window_start"], seen["window_end"]
            first[seen["kpi_version"]].setdefault(place, seen["recorded_at"])
    old, new = first[version - 1], first[version]
    # What came too late for the one need not have for the other, which read it from the past.
    late = {each.series_key for each in _late(broker).get((id, version - 1), ())}
    if not old:
        return []
    return [
        f"{id}@{version} {place}: there since {at}, of version {version - 1} {old.get(place, 'never')}"
        for place, at in new.items()
        if at < served and place[0] not in late and (place not in old or old[place] > at)
    ]


def _same(got: tuple[object, ...], expected: tuple[object, ...]) -> bool:
    """Equal, doubles to 1e-9 relative."""
    pairs = zip(got, expected, strict=True)
    return all(
        isclose(one, other, rel_tol=1e-9)
        if isinstance(one, float) and isinstance(other, float)
        else one == other
        for one, other in pairs
    )


def _events(broker: Broker) -> tuple[dict[Place, Event], set[str]]:
    """The committed events by their place, and the ids of the letters of what is none."""
    good: dict[Place, Event] = {}
    bad: set[str] = set()
    for log in broker.topics[EVENTS.of(SOURCE)]:
        for offset, entry in log.read(0, 10**9)[0]:
            try:
                event = json.loads(entry.value or b"null")
            except ValueError:
                event = {"at": EPOCH_MS * 2}
            if event is None:
                continue
            if event["at"] > entry.timestamp + 3_600_000:
                bad.add(f"{log.tp.topic}/{log.tp.partition}/{offset}")
            else:
                good[log.tp.partition, offset] = event
    return good, bad


def _letters(broker: Broker, bad: set[str]) -> list[str]:
    ids = [DeadLetter.decode(value).id for value in _values(broker, DEAD.name)]
    found = [f"{len(ids) - len(set(ids))} dead letters are doubled"] if len(ids) > len(set(ids)) else []
    if set(ids) != bad:
        found.append(f"dead letters {sorted(ids)}, expected {sorted(bad)}")
    return found


def _values(broker: Broker, topic: str) -> list[bytes]:
    return [entry.value or b"" for log in broker.topics[topic] for _, entry in log.read(0, 10**9)[0]]


Published = dict[tuple[str, int], dict[tuple[str, int, int], tuple[object, ...]]]


def _published(broker: Broker) -> tuple[Published, list[str]]:
    """The last revision of every window, without those withdrawn."""
    found: Published = defaultdict(dict)
    faults: list[str] = []
    revisions: dict[tuple[object, ...], int] = defaultdict(int)
    for value in _values(broker, OBSERVATIONS.name):
        seen = record(value, CODECS)
        start, stop = (round(seen[name].timestamp() * 1000) for name in ("window_start", "window_end"))
        name = seen["kpi"], seen["kpi_version"]
        window = (*name, seen["series_key"], start)
        if stop - start > 1 and seen["revision"] != revisions[window] + 1:
            faults.append(f"{window}: revision {seen['revision']} comes after {revisions[window]}")
        revisions[window] = seen["revision"]
        rows = found[name]
        for key in [key for key in rows if key[:2] == (seen["series_key"], start)]:
            del rows[key]
        if seen["status"] != "retracted":
            row = seen["value"], seen["count"], *seen["measures"].values()
            rows[seen["series_key"], start, stop] = (seen["status"], *row)
    return found, faults


def _late(broker: Broker) -> dict[tuple[str, int], list[LateEvents]]:
    found: dict[tuple[str, int], list[LateEvents]] = defaultdict(list)
    for value in _values(broker, LATE.name):
        late = LateEvents.decode(value)
        found[late.kpi, late.kpi_version].append(late)
    return found


def _kept(
    kpi: Kpi, events: dict[Place, Event], late: list[LateEvents]
) -> tuple[dict[Place, Event], list[str]]:
    """The events without those that were late; each is late once."""
    kept, faults = dict(events), []
    if not late:
        return kept, faults
    windows = compile_window(kpi.window)
    if not isinstance(windows, Aligned):
        return kept, [f"{kpi.id}: late, though it takes events for a day: {each}" for each in late]
    for each in late:
        start = round(each.window_start.timestamp() * 1000)
        hit = [
            (partition, offset)
            for (partition, offset), event in kept.items()
            if partition == each.partition
            and each.first <= offset <= each.last
            and series_key({name: event[name] for name in kpi.by}) == each.series_key
            and windows.pane_of(pl.Series([event["at"]]))[0] == start
            and (kpi.where is None or event["v"] is None or event["v"] > 3)
        ]
        if len(hit) != each.count:
            faults.append(f"{kpi.id}: {each.count} events late, {len(hit)} are there: {each}")
        for place in hit:
            del kept[place]
    return kept, faults


def _singles(broker: Broker, id: str, version: int) -> Counter[tuple[object, ...]]:
    """The values of a KPI for each event: one may be there as often as there are such events."""
    seen = [record(value, CODECS) for value in _values(broker, OBSERVATIONS.name)]
    return Counter(
        (each["series_key"], *(round(each[name].timestamp() * 1000) for name in ("window_start", "window_end")),
         each["value"], each["count"])
        for each in seen if (each["kpi"], each["kpi_version"]) == (id, version)
    )  # fmt: skip


def _unlike(name: str, got: Counter[tuple[object, ...]], expected: Counter[tuple[object, ...]]) -> list[str]:
    return [f"{name}: missing {row}" for row in expected - got] + [
        f"{name}: extra {row}" for row in got - expected
    ]


def _batch(kpi: Kpi, catalog: Catalog, events: dict[Place, Event]) -> list[tuple[Any, ...]]:
    rows = [(event["at"], event["k"], event["v"], *place) for place, event in events.items()]
    names = {"t": pl.Int64, "k": pl.String, "v": pl.Int64, "__partition": pl.Int32, "__offset": pl.Int64}
    batch.put(_connection(), SOURCE, pl.DataFrame(rows, schema=names, orient="row"))
    return _connection().execute(batch.statement(kpi, catalog)).fetchall()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect(config={"threads": 1})
    atexit.register(found.close)  # else the interpreter ends with a page of what leaks
    return found
