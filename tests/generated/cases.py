"""Generated definitions and events, the engine on them by hand, and the batch twin's answer."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Catalog, Kpi
from libs.common.expressions import OFFSET, PARTITION, TIME
from libs.common.twins import batch
from libs.common.wire import SCHEMA_ID
from services.detector.core.combine import partials, split
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.derived import contributions
from services.detector.core.engine import INPUT, Engine
from services.detector.core.enrichment import joined
from services.detector.core.steps import Announcement, Mark, Rows
from services.detector.handlers.publishing import keys_of
from tests.unit.common.sample import connection

HOUR, DAY = 3_600_000, 86_400_000
PARTITIONS = 2
FLIGHTS: dict[str, Any] = {
    "kind": "source", "id": "flights", "title": "Flights", "owner": "ops", "event_id": "id", "event_time": "at",
    "partitions": PARTITIONS,
    "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"},
        {"name": "carrier", "type": "string", "nullable": True}, {"name": "tail", "type": "string", "nullable": True},
        {"name": "delay", "type": "int", "nullable": True}, {"name": "gust", "type": "double", "nullable": True},
    ],
}  # fmt: skip
CARRIERS: dict[str, Any] = {
    "kind": "source", "id": "carriers", "title": "Carriers", "owner": "ops", "reference": True, "key": ["code"],
    "fields": [{"name": "code", "type": "string"}, {"name": "region", "type": "string", "nullable": True}],
}  # fmt: skip
PLANES: dict[str, Any] = {
    "kind": "source", "id": "planes", "title": "Planes", "owner": "ops", "reference": True, "key": ["tail"],
    "event_time": "since",
    "fields": [
        {"name": "tail", "type": "string"}, {"name": "since", "type": "timestamp"},
        {"name": "seats", "type": "int", "nullable": True}, {"name": "operator", "type": "string", "nullable": True},
    ],
}  # fmt: skip
CARRIER = {"reference": "carriers", "on": ["carrier"], "prefix": "airline"}
PLANE = {"reference": "planes", "on": ["tail"], "prefix": "plane"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "flights": {
        "id": pl.String, "at": pl.Datetime("ms", "UTC"), "carrier": pl.String, "tail": pl.String, "delay": pl.Int32,
        "gust": pl.Float64, TIME: pl.Int64, PARTITION: pl.Int32, OFFSET: pl.Int64,
    },
    "carriers": {"code": pl.String, "region": pl.String},
    "planes": {"tail": pl.String, "since": pl.Datetime("ms", "UTC"), "seats": pl.Int32, "operator": pl.String},
}  # fmt: skip

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kathmandu",
]
CLOCK_CHANGES = [
    datetime(2026, *day, tzinfo=UTC) for day in ((3, 8), (3, 29), (4, 4), (10, 25), (11, 1), (6, 15))
]
"""Days about which a clock of `ZONES` is moved; and one on which none is."""
REGULAR = st.builds(
    lambda every, times, offset: {"sliding": f"{every * times}m", "every": f"{every}m", "offset": f"{offset}m"},
    st.sampled_from([15, 30, 60, 90]), st.sampled_from([2, 3, 8, 24]), st.sampled_from([0, 7]),
) | st.builds(
    lambda size, offset: {"tumbling": f"{size}m", "offset": f"{offset}m"},
    st.sampled_from([10, 60, 720]), st.sampled_from([0, 7]),
)  # fmt: skip
CALENDAR = st.builds(
    lambda unit, zone: {**unit, "zone": zone},
    st.sampled_from(
        [
            {"calendar": "day"}, {"calendar": "week"}, {"calendar": "week", "week_starts": "sunday"},
            {"calendar": "business_day", "holidays": ["2026-04-03", "2026-10-26"]}, {"calendar": "month"},
            {"calendar": "quarter", "year_starts": 2}, {"calendar": "year", "year_starts": 10},
        ]
    ),
    st.sampled_from(ZONES),
)  # fmt: skip
SESSION = st.builds(lambda gap: {"session": f"{gap}m"}, st.sampled_from([20, 60, 240]))

LETS = [
    {}, {}, {"late": "delay > 15"}, {"hour": "extract(hour from at)", "busy": "hour between 6 and 9"},
    {"pace": "gust / delay"}, {"name": "upper(coalesce(carrier, 'none')) || '-' || coalesce(tail, '?')"},
]  # fmt: skip
CONDITIONS = [None, None, "delay is null or delay < 150", "carrier in ('UA', 'B6')", "not (gust > 20)"]
NUMBERS = [
    "count(*)", "sum(delay)", "avg(gust)", "max(delay) - min(delay)", "count(delay) / count(*)", "last(delay)",
    "first(gust)", "stddev_pop(delay)", "var_samp(gust)", "count(*) filter (where delay > 15) * 100.0 / count(*)",
    "sum(delay * 2) / nullif(sum(delay), 0)", "coalesce(max(gust), -1)", "sum(2147483647 * delay)", "max(epoch(at))",
]  # fmt: skip
ABOVE = [
    "sum(part)",
    "avg(part)",
    "max(part) - min(part)",
    "count(part)",
    "sum(part) filter (where part > 0)",
]


@dataclass(frozen=True)
class Case:
    """Definitions, the rows of the references, and events as they come: (partition, event) in batches."""

    kpis: tuple[Kpi, ...]
    catalog: Catalog
    frames: dict[str, pl.DataFrame]
    batches: tuple[tuple[int, ...], ...]
    """Numbers of the events of each batch."""
    restarts: frozenset[int]
    """After these batches what is in memory is lost."""


@st.composite
def cases(draw: st.DrawFn, windows: st.SearchStrategy[dict[str, Any]]) -> Case:
    window = draw(windows)
    enrich = draw(st.sampled_from([[], [], [CARRIER], [PLANE], [CARRIER, PLANE]]))
    let = draw(st.sampled_from(LETS))
    fields = [
        *let,
        *(["airline_region"] if CARRIER in enrich else []),
        *(["plane_operator"] if PLANE in enrich else []),
    ]
    by = draw(
        st.lists(
            st.sampled_from(["carrier", "tail", *(each for each in fields if each != "pace")]),
            max_size=2,
            unique=True,
        )
    )
    numbers = st.sampled_from(
        [*NUMBERS, *(["sum(plane_seats)", "count(plane_tail)"] if PLANE in enrich else [])]
    )
    definition = {
        "kind": "kpi", "id": "inner", "title": "Inner", "owner": "ops", "source": "flights", "window": window,
        "lateness": "500d", "by": by, "let": let, "enrich": enrich, "where": draw(st.sampled_from(CONDITIONS)),
        "value": draw(numbers), "measures": draw(st.dictionaries(st.sampled_from("ab"), numbers, max_size=2)),
    }  # fmt: skip
    definitions = [
        FLIGHTS,
        CARRIERS,
        PLANES,
        {name: each for name, each in definition.items() if each is not None},
    ]
    if "session" not in window and draw(st.booleans()):
        definitions.append(
            {
                "kind": "kpi", "id": "outer", "title": "Outer", "owner": "ops", "over": {"part": "inner"},
                "window": window, "lateness": "500d", "by": by[:1] if draw(st.booleans()) else [],
                "value": draw(st.sampled_from(ABOVE)),
            }
        )  # fmt: skip
    catalog = Catalog.of([DEFINITION.validate_python(each) for each in definitions])
    frames = draw(_frames(window))
    order = draw(st.permutations(range(frames["flights"].height)))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)) | {0, len(order)})
    batches = tuple(tuple(order[start:stop]) for start, stop in pairwise(cuts))
    restarts = draw(st.frozensets(st.integers(0, len(batches)), max_size=2))
    return Case(tuple(catalog.kpis), catalog, frames, batches, restarts)


@st.composite
def _frames(draw: st.DrawFn, window: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """Events around a change of the clocks, further apart for longer windows; rows of the references."""
    middle = round(draw(st.sampled_from(CLOCK_CHANGES)).timestamp() * 1000)
    reach = 40 * DAY if window.get("calendar") in ("month", "quarter", "year", "week") else 2 * DAY
    reach = 6 * HOUR if "calendar" not in window else reach
    at = st.integers(middle - reach, middle + reach) | st.integers(-8, 8).map(
        lambda step: middle + step * HOUR // 2
    )
    tail = st.none() | st.sampled_from(["N1", "N2", "N,3=é"])
    carrier = st.none() | st.sampled_from(["UA", "B6", "", "Ü x"])
    delay = st.none() | st.integers(-20, 200)
    gust = st.none() | st.integers(-100, 200).map(lambda quarters: quarters / 4)
    event = st.tuples(at, carrier, tail, delay, gust, st.integers(0, PARTITIONS - 1))
    events = draw(st.lists(event, min_size=1, max_size=24))
    rows = [
        (f"e{number}", _moment(time), carrier, tail, delay, gust, time, partition, number)
        for number, (time, carrier, tail, delay, gust, partition) in enumerate(events)
    ]
    codes = draw(
        st.dictionaries(st.sampled_from(["UA", "B6", "XX"]), st.none() | st.sampled_from(["east", "west"]))
    )
    version = st.tuples(
        st.sampled_from(["N1", "N2", "N9"]), at | st.sampled_from([time for time, *_ in events])
    )
    seats = st.none() | st.integers(0, 400)
    planes = draw(
        st.dictionaries(version, st.tuples(seats, st.none() | st.sampled_from(["acme", "blue"])), max_size=6)
    )
    content: dict[str, Sequence[Any]] = {
        "flights": rows, "carriers": list(codes.items()),
        "planes": [(tail, _moment(since), *more) for (tail, since), more in planes.items()],
    }  # fmt: skip
    return {
        name: pl.DataFrame(content[name], schema=schema, orient="row") for name, schema in SCHEMAS.items()
    }


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


Windows = dict[tuple[str, str, int, int], tuple[Any, ...]]
"""(KPI, series, start, stop) → value, count, measures."""


class Run:
    """Combine and merge by hand: what the handlers do, without Kafka."""

    def __init__(self, case: Case) -> None:
        self.case = case
        source = case.catalog.source("flights")
        references = [each for each in case.catalog.sources if each.reference]
        self.kpis = [compile_kpi(kpi, 1, None if kpi.over else source, references) for kpi in case.kpis]
        self.inner, self.over = self.kpis[0], self.kpis[1:]
        self.engine, self.snapshot = self._fresh(), None
        self.now = 0
        self.rows: Windows = {}
        self.late = 0
        self.revisions: Counter[tuple[str, str, int]] = Counter()
        parts = [Announcement(self.inner.name, number, None, True) for number in range(PARTITIONS)]
        self._step([], [], [*parts, *(Announcement(each.name, 0, None, True) for each in self.over)])

    def _fresh(self) -> Engine:
        engine = Engine(1)
        engine.define({each.name: each for each in self.kpis})
        return engine

    def windows(self) -> Windows:
        """Of all events, as the case cuts them."""
        for place, numbers in enumerate(self.case.batches):
            if place in self.case.restarts:
                value, frames = self.engine.snapshot()
                self.engine = self._fresh()
                self.engine.restore(value, frames)
            self._feed(numbers)
        self._step([], [Mark("flights", number, 2**42, False) for number in range(PARTITIONS)], [])
        return self.rows

    def _feed(self, numbers: Sequence[int]) -> None:
        events = self.case.frames["flights"][list(numbers)].with_columns(
            pl.lit(7, dtype=pl.Int64).alias(SCHEMA_ID), pl.lit(True).alias("assessed"), pl.lit(False).alias("suspect"),
            pl.lit(0, dtype=pl.UInt8).alias("worst"),
        )  # fmt: skip
        for each in self.inner.enriched:
            events = joined(events, each, self.case.frames[each.reference.id])
        rows: list[Rows] = []
        marks: list[Mark] = []
        for part in events.partition_by(PARTITION):
            number = int(part[PARTITION][0])
            pieces = split(partials(part, [self.inner]), 1).values()
            rows += [Rows((self.inner.name,), number, piece) for piece in pieces]
            marks.append(Mark("flights", number, int(part[TIME].to_numpy().max()), False))
        self._step(rows, marks, [])

    def _step(self, rows: list[Rows], marks: list[Mark], announced: list[Announcement]) -> None:
        self.now += 1
        emissions = self.engine.step(rows, marks, announced, self.now)
        assert self.engine.parked == {}
        for emission in emissions:
            self.late += emission.late.height
            self._publish(emission.compiled, emission.due)
        onward = [
            Rows(
                (above.name,),
                0,
                contributions(above, each.compiled, each.due, keys_of(above, each.due["series_key"])),
            )
            for each in emissions
            for above in self.over
            if each.compiled is self.inner and each.due.height
        ]
        passed = [
            Mark(f"{INPUT}inner", 0, each.watermark, False)
            for each in emissions
            if each.compiled is self.inner
        ]
        if self.over and passed:
            for emission in self.engine.step(onward, passed, [], self.now):
                self.late += emission.late.height
                self._publish(emission.compiled, emission.due)

    def _publish(self, compiled: CompiledKpi, due: pl.DataFrame) -> None:
        for row in due.iter_rows(named=True):
            place = compiled.kpi.id, row["series_key"], row["start"]
            self.revisions[place] += 1
            assert row["revision"] == self.revisions[place], "every publication has its own revision"
            for key in [key for key in self.rows if key[:3] == place]:
                del self.rows[key]
            if row["status"] != "retracted":
                measures = [row[f"measure:{name}"] for name in compiled.measures]
                self.rows[*place, row["stop"]] = (row["value"], row["count"], *measures)


def expected(case: Case) -> Windows:
    """What the batch twin says in SQL."""
    for name, frame in case.frames.items():
        batch.put(
            connection(), name, frame.with_columns(pl.col(TIME).alias("t")) if name == "flights" else frame
        )
    return {
        (kpi.id, *row[:3]): row[3:]
        for kpi in case.kpis
        for row in connection().execute(batch.statement(kpi, case.catalog)).fetchall()
    }


def same(one: Iterable[Any], other: Iterable[Any]) -> bool:
    """Equal, doubles to 1e-9 relative."""
    return all(
        abs(float(left) - float(right)) <= 1e-9 * max(1.0, abs(float(left)), abs(float(right)))
        if left is not None and right is not None
        else left is right
        for left, right in zip(one, other, strict=True)
    )
