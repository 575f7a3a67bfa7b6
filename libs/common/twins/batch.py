"""The batch twin: a KPI as one SQL query over tables of events and reference rows, by DuckDB.

Tables: one per source, named by its id, with its fields and `t` (event time, ms since the epoch), and where a KPI has
FIRST or LAST `__partition` and `__offset` as well; one per reference with its fields: one row per key, or if it has an
event time, one per key and time from which the row is valid. Timestamps are read as UTC, with or without a zone.

Windows are made here another way than in the engine: by rounding times down, by joining every event to the windows that
it lies in, by gaps and islands, and for calendars by the list of all boundaries, which DuckDB's own time zones give.
A local day begins at the first instant whose local date is that day; windows are [start, end).

The query sees every event of its tables. The engine leaves out what is further ahead of its arrival than the source
allows (`read.dead_letters`): who compares leaves the same ones out of the tables. What is late (`read.late_events`) is
late for some windows, not for others: it is told by the table `LATE`.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from math import gcd
from typing import TYPE_CHECKING

import polars as pl

from libs.common.catalog import Catalog, Kpi, Window
from libs.common.catalog.fields import fields_of
from libs.common.catalog.kpis import Enrichment
from libs.common.errors import DefinitionError
from libs.common.expressions import FieldTypes, derived, predicate, scalar, value

if TYPE_CHECKING:
    import duckdb

DAY = 86_400_000
ZONE_STEP = 15 * 60_000
"""Offsets of time zones have been multiples of a quarter of an hour since 1972."""


LATE = "__late"
"""What came too late: `series` (key), `start` (ms, of the pane or window; of sessions of the first event of a cell, from
one multiple of the gap to the next), `partition`, `first` and `last` offset, `closed` (ms; windows that end up to then
lack the events; NULL: all windows)."""


BACKFILLED = "__backfilled"
"""Where what came too late counts all the same: windows that begin in [`start`, `stop`) and end by `closed` (ms) have the
events of `partition` before the offset `before`. Not of sessions."""


PUBLISHED = "kpi:"
"""Before the id of a KPI: the table of its values that were published. It has the dimensions of a KPI over it (as
text), w0 and w1 (ms), `value` and `count`."""


def statement(kpi: Kpi, catalog: Catalog, *, late: bool = False, published: bool = False) -> str:
    """series key, window start and end (ms), value, count of events, and the measures in their order.

    `late`: leave out what the table LATE tells of, but for what BACKFILLED says; the sources' tables then have
    `__partition` and `__offset`. `published`: KPIs over others are made of tables of their inputs' values (PUBLISHED).
    One row per window and series that has an event; for `each: event`, one per event, as the window [t, t + 1).
    DefinitionError if the catalog lacks what the KPI is made of.
    """
    measures = "".join(f", {_finite(quoted(f'measure:{name}'))}" for name in kpi.measures)
    return (
        f"SELECT {_series(kpi.by)} AS series, w0, w1, {_finite('value')} AS value, count{measures}"
        f" FROM ({_windowed(kpi, catalog, late, published)})"
    )


def members(
    kpi: Kpi, catalog: Catalog, columns: Iterable[str] = (), *, late: bool = False, published: bool = False
) -> str:
    """series key, w0, w1, `__partition`, `__offset`: a row per window and event (or value of an input) in it.

    `columns`: fields that come with it, derived and enriched ones too.
    """
    types = fields_of(kpi, catalog)
    steps = _members(kpi, catalog, published) if kpi.over else _events(kpi, catalog, types)
    bounds = "t AS w0, t + 1 AS w1"
    if kpi.window.each is None:
        steps += [] if kpi.over else _placed(kpi, late)
        bounds = "w0::BIGINT AS w0, w1::BIGINT AS w1"
    own = ["__partition", "__offset", *map(quoted, columns)]
    texts = [f"CAST({quoted(name)} AS VARCHAR) AS {quoted(f'by:{name}')}" for name in kpi.by]
    found = f"WITH {_with(steps)} SELECT {', '.join([*texts, bounds, *own])} FROM {steps[-1][0]}"
    return f"SELECT {_series(kpi.by, 'by:')} AS series, w0, w1, {', '.join(own)} FROM ({found})"


def singles(kpi: Kpi, catalog: Catalog) -> str:
    """Of a KPI for `each: event`: series key, time (ms), value, `__partition`, `__offset` of every event."""
    types = fields_of(kpi, catalog)
    steps = _events(kpi, catalog, types)
    number = scalar(kpi.value, types).sql()
    rows = ", ".join([*_texts(kpi.by), "t", f"{number} AS __value", "__partition", "__offset"])
    found = f"WITH {_with(steps)} SELECT {rows} FROM {steps[-1][0]}"
    return f"SELECT {_series(kpi.by)}, t, {_finite('__value')}, __partition, __offset FROM ({found})"


def outdated(kpi: Kpi, catalog: Catalog) -> str:
    """Times (ms) of the events of which the row of a reference is not known any more as it was when they came.

    Either it was recorded after they came, or there is none, and may have been. The source's table has `__arrived`, those
    of the references `__recorded` (ms).
    """
    steps = _enriching(kpi, catalog)
    found = []
    for (before, _), each in zip(steps, kpi.enrich, strict=False):
        reference = catalog.source(each.reference)
        assert reference is not None
        tests = [
            f"e.{quoted(field)} = r.{quoted(key)}"
            for field, key in zip(each.on, reference.key_fields, strict=True)
        ]
        if reference.event_time is not None:
            tests.append(f"epoch_ms(r.{quoted(reference.event_time)}) <= e.t")
        newest = f"SELECT max(r.__recorded) FROM {quoted(reference.id)} r WHERE {' AND '.join(tests)}"
        given = " AND ".join(f"e.{quoted(field)} IS NOT NULL" for field in each.on)
        found.append(
            f"SELECT e.t FROM {before} e WHERE {given} AND coalesce(({newest}) >= e.__arrived, true)"
        )
    return f"WITH {_with(steps)} {' UNION '.join(found)}"


def _windowed(kpi: Kpi, catalog: Catalog, late: bool = False, published: bool = False) -> str:
    """The dimensions as text, w0, w1, value, count and `measure:<name>` of every window."""
    types = fields_of(kpi, catalog)
    steps = _members(kpi, catalog, published) if kpi.over else _events(kpi, catalog, types)
    names = [quoted(name) for name in kpi.by]
    if kpi.window.each is not None:
        rows = ", ".join([*_texts(kpi.by), "t AS w0", "t + 1 AS w1"])
        number = scalar(kpi.value, types).sql()
        return f"WITH {_with(steps)} SELECT {rows}, {number} AS value, 1::BIGINT AS count FROM {steps[-1][0]}"
    if not kpi.over:
        steps += _placed(kpi, late)
    count = "sum(__count)::BIGINT" if kpi.over else "count(*)"
    values = [f"{value(kpi.value, types).sql()} AS value", f"{count} AS count"]
    for name, text in kpi.measures.items():
        values.append(f"{value(text, types).sql()} AS {quoted(f'measure:{name}')}")
    rows = ", ".join([*_texts(kpi.by), "w0::BIGINT AS w0", "w1::BIGINT AS w1", *values])
    return f"WITH {_with(steps)} SELECT {rows} FROM {steps[-1][0]} GROUP BY {', '.join([*names, 'w0', 'w1'])}"


Steps = list[tuple[str, str]]
"""Common table expressions in their order: name, query."""


def _with(steps: Steps) -> str:
    return ", ".join(f"{name} AS ({query})" for name, query in steps)


def _events(kpi: Kpi, catalog: Catalog, types: FieldTypes) -> Steps:
    """The events that count, with their enriched and derived fields. Adds the derived ones to `types`."""
    assert isinstance(types, dict)
    steps = _enriching(kpi, catalog)
    for place, (name, text) in enumerate(kpi.let.items()):
        field = derived(text, types)
        steps.append((f"derived{place}", f"SELECT *, {field.sql()} AS {quoted(name)} FROM {steps[-1][0]}"))
        types[name] = field.type
    where = predicate(kpi.where, types).sql() if kpi.where is not None else "true"
    return [*steps, ("chosen", f"SELECT * FROM {steps[-1][0]} WHERE {where}")]


def _enriching(kpi: Kpi, catalog: Catalog) -> Steps:
    """The events, and after each enrichment."""
    steps: Steps = [("events", f"SELECT *, t AS __time FROM {quoted(kpi.source or '')}")]
    for place, each in enumerate(kpi.enrich):
        steps.append((f"enriched{place}", _enriched(each, catalog, steps[-1][0])))
    return steps


def _enriched(each: Enrichment, catalog: Catalog, before: str) -> str:
    reference = catalog.source(each.reference)
    if reference is None:
        raise DefinitionError("enrich", f"there is no reference {each.reference}", "known reference")
    columns = [f"{quoted(name)} AS {quoted(f'{each.prefix}_{name}')}" for name in reference.field_types]
    table = f"SELECT {', '.join(columns)}"
    matches = [
        f"e.{quoted(field)} = r.{quoted(f'{each.prefix}_{key}')}"
        for field, key in zip(each.on, reference.key_fields, strict=True)
    ]
    if reference.event_time is None:
        return (
            f"SELECT e.*, r.* FROM {before} e LEFT JOIN ({table} FROM {quoted(reference.id)}) r"
            f" ON {' AND '.join(matches)}"
        )
    since = f"epoch_ms({quoted(reference.event_time)})"
    return (
        f"SELECT e.*, r.* EXCLUDE (__valid) FROM {before} e ASOF LEFT JOIN"
        f" ({table}, {since} AS __valid FROM {quoted(reference.id)} WHERE {since} IS NOT NULL) r"
        f" ON {' AND '.join([*matches, 'e.t >= r.__valid'])}"
    )


def _members(kpi: Kpi, catalog: Catalog, published: bool) -> Steps:
    """The inputs' values below each other: each in the column of its name, NULL in the others'."""
    steps: Steps = []
    for place, id in enumerate(dict.fromkeys(kpi.over.values())):
        found = catalog.kpi(id)
        if found is None:
            raise DefinitionError("over", f"there is no KPI {id}", "known KPI")
        query = f"SELECT * FROM {quoted(f'{PUBLISHED}{id}')}" if published else _windowed(found, catalog)
        steps.append((f"input{place}", query))
    tables = dict(zip(dict.fromkeys(kpi.over.values()), (name for name, _ in steps), strict=True))
    names = ", ".join([*map(quoted, kpi.by), "w0", "w1", "w0 AS __time", "0 AS __partition", "0 AS __offset"])
    parts = []
    for name, id in kpi.over.items():
        columns = [
            f"{_finite('value') if each == name else 'NULL::DOUBLE'} AS {quoted(each)}" for each in kpi.over
        ]
        parts.append(f"SELECT {names}, {', '.join(columns)}, count AS __count FROM {tables[id]}")
    return [*steps, ("members", " UNION ALL ".join(parts))]


# --- windows ---------------------------------------------------------------------------------------------


def _placed(kpi: Kpi, late: bool) -> Steps:
    """Each event once per window that it lies in, as `placed`, and without what came too late for it."""
    names = [quoted(name) for name in kpi.by]
    if not late:
        return placed(kpi.window, names)
    told = (
        f"{_series(kpi.by)} = l.series AND __partition = l.partition AND __offset BETWEEN l.first AND l.last"
    )
    if kpi.window.session is not None:
        gap = _ms(kpi.window.session)
        condition = f"{told} AND {_down('t', gap, 0)} = {_down('l.start', gap, 0)}"
        timely = f"SELECT * FROM chosen WHERE NOT EXISTS (SELECT 1 FROM {LATE} l WHERE {condition})"
        return [("timely", timely), *placed(kpi.window, names, "timely")]
    pane = "w0 = l.start"
    if kpi.window.calendar is None:
        length = kpi.window.tumbling or kpi.window.sliding
        assert length is not None
        size = gcd(_ms(length), _ms(kpi.window.every or length))
        pane = f"t >= l.start AND t < l.start + {size}"
    condition = f"{told} AND {pane} AND (l.closed IS NULL OR w1 <= l.closed)"
    timely = f"NOT EXISTS (SELECT 1 FROM {LATE} l WHERE {condition})"
    again = "w0 >= b.start AND w0 < b.stop AND w1 <= b.closed AND __partition = b.partition AND __offset < b.before"
    counted = f"EXISTS (SELECT 1 FROM {BACKFILLED} b WHERE {again})"
    return [*placed(kpi.window, names), ("timely", f"SELECT * FROM placed WHERE {timely} OR {counted}")]


def placed(window: Window, names: Sequence[str], chosen: str = "chosen") -> Steps:
    """Steps from `chosen` to a table with the columns w0 and w1: each event once per window that it lies in.

    A table of another name can be given for sessions.
    """
    match window.kind:
        case "tumbling":
            assert window.tumbling is not None
            size = _ms(window.tumbling)
            start = _down("t", size, _ms(window.offset))
            return [("placed", f"SELECT *, {start} AS w0, {start} + {size} AS w1 FROM chosen")]
        case "sliding":
            assert window.sliding is not None
            assert window.every is not None
            size, every = _ms(window.sliding), _ms(window.every)
            newest = _down("t", every, _ms(window.offset))
            oldest = f"{newest} - ({size} - 1 - (t - {newest})) // {every} * {every}"
            series = f"generate_series({oldest}, {newest}, {every}) AS g(w0)"
            return [("placed", f"SELECT chosen.*, w0, w0 + {size} AS w1 FROM chosen, {series}")]
        case "session":
            assert window.session is not None
            return _sessions(_ms(window.session), names, chosen)
        case "calendar":
            return _calendar(window)
        case "each":
            return []


def _down(time: str, step: int, offset: int) -> str:
    """The last multiple of `step`, moved on by `offset`, that is not after `time`; also before 1970."""
    return f"({time} - ((({time} - {offset}) % {step}) + {step}) % {step})"


def _sessions(gap: int, names: Sequence[str], chosen: str) -> Steps:
    series = ", ".join(names) or "1"
    order = f"PARTITION BY {series} ORDER BY t"
    fresh = f"CASE WHEN t - lag(t) OVER ({order}) < {gap} THEN 0 ELSE 1 END AS __fresh"
    number = f"sum(__fresh) OVER ({order}) AS __number"  # RANGE: events of one moment are of one island
    bounds = f"min(t) OVER island AS w0, max(t) OVER island + {gap} AS w1"
    return [
        ("marked", f"SELECT *, {fresh} FROM {chosen}"),
        ("numbered", f"SELECT *, {number} FROM marked"),
        ("placed", f"SELECT *, {bounds} FROM numbered WINDOW island AS (PARTITION BY {series}, __number)"),
    ]


def _calendar(window: Window) -> Steps:
    """The boundaries of all windows around the events, and each event between two of them."""
    zone = "'" + window.zone.replace("'", "''") + "'"
    first = "make_date(1970, 1, 1) + CAST((SELECT min(t) FROM chosen) // 86400000 - 800 AS INTEGER)"
    last = "make_date(1970, 1, 1) + CAST((SELECT max(t) FROM chosen) // 86400000 + 800 AS INTEGER)"
    local = f"CAST(timezone({zone}, make_timestamptz(c * 1000)) AS DATE)"
    around = f"generate_series(epoch_ms(d) - {DAY + 2 * DAY // 24}, epoch_ms(d) + {DAY + 2 * DAY // 24}, {ZONE_STEP})"
    return [
        ("days", f"SELECT unnest(generate_series({first}, {last}, INTERVAL 1 DAY))::DATE AS d"),
        ("firsts", f"SELECT d FROM days WHERE {_begins(window)}"),
        ("moments", f"SELECT d, unnest({around}) AS c FROM firsts"),
        (
            "bounds",
            f"SELECT DISTINCT w0 FROM (SELECT min(c) AS w0 FROM moments WHERE {local} >= d GROUP BY d)",
        ),
        ("calendar", "SELECT w0, lead(w0) OVER (ORDER BY w0) AS w1 FROM bounds"),
        ("placed", "SELECT chosen.*, w0, w1 FROM chosen ASOF JOIN calendar ON t >= w0"),
    ]


def _begins(window: Window) -> str:
    """Whether a window begins with day d."""
    match window.calendar:
        case "week":
            return f"isodow(d) = {1 if window.week_starts == 'monday' else 7}"
        case "month":
            return "day(d) = 1"
        case "quarter":
            return f"day(d) = 1 AND (month(d) - {window.year_starts} + 12) % 3 = 0"
        case "year":
            return f"day(d) = 1 AND month(d) = {window.year_starts}"
        case "business_day":  # when the business day before has ended
            holidays = ", ".join(f"DATE '{each.isoformat()}'" for each in window.holidays)
            free = f" AND (d - 1) NOT IN ({holidays})" if holidays else ""
            return f"isodow(d - 1) < 6{free}"
        case _:
            return "true"


# --- tables ----------------------------------------------------------------------------------------------


class _Stream:
    """A frame as DuckDB takes it without pyarrow: by the Arrow C stream interface alone."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)


BACKFILLED_SCHEMA: dict[str, type[pl.DataType]] = {
    name: pl.Int64 for name in ("start", "stop", "closed", "partition", "before")
}


def put(connection: "duckdb.DuckDBPyConnection", name: str, frame: pl.DataFrame) -> None:
    """Make (or replace) the table of a source or reference."""
    connection.register("__frame", _Stream(frame))
    connection.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS SELECT * FROM __frame")
    connection.unregister("__frame")


# --- text ------------------------------------------------------------------------------------------------


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _texts(names: Sequence[str]) -> list[str]:
    return [f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in names]


def _finite(number: str) -> str:
    return f"CASE WHEN isfinite({number}::DOUBLE) THEN {number}::DOUBLE END"


def _series(by: Sequence[str], prefix: str = "") -> str:
    """The canonical name of the series (libs.common.events.series): sorted `name=value` pairs, percent-encoded.

    `prefix`: before the names of the columns.
    """
    columns = {name: quoted(f"{prefix}{name}") for name in sorted(by)}
    parts = [
        f"CASE WHEN {column} IS NULL THEN '{name}'"
        f" ELSE '{name}=' || replace(url_encode(CAST({column} AS VARCHAR)), '%20', ' ') END"
        for name, column in columns.items()
    ]
    return " || ',' || ".join(parts) or "''"


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
