"""What plain SQL makes of the events of a stretch of time, beside what was published of it. Pure, but for its time.

Sketches have no SQL: their states are made anew of the rows that SQL places in a window, by the expressions that the
engine uses, in one group. They come of the values alone (`libs.common.expressions.sketches`), so that they are equal to
those that the engine merged, and are compared exactly; how far they are off is another question, which their error says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import polars as pl

from libs.common.catalog import Catalog, Kpi
from libs.common.catalog.fields import fields_of
from libs.common.expressions import OFFSET, PARTITION, TIME, Value, derive, value
from libs.common.twins import batch
from libs.common.wire import DTYPES
from services.quality.core.parity import Difference, Figures, Key, differences, overlap

MOST_ROWS = 1_000_000
"""Of events in windows (each as often as it is in one) that sketches are made of at once."""
_WINDOW = ["series", "w0", "w1"]
_WANTED = "__wanted"


@dataclass(frozen=True)
class Tables:
    """What the SQL is run over, by name (`libs.common.twins.batch`)."""

    frames: Mapping[str, pl.DataFrame]
    late: bool = False
    """LATE and BACKFILLED are there."""


@dataclass(frozen=True)
class Compared:
    """Windows that both sides have to say something of."""

    windows: int
    found: list[Difference]
    unsure: set[Key] = field(default_factory=set)
    """Sessions that are left out: they may begin before the events do."""
    members: dict[Key, list[tuple[int, int]]] = field(default_factory=dict)
    """Partition and offset of the events of each window that differs, as SQL has them."""
    outdated: list[int] = field(default_factory=list)
    """Times of events whose reference rows may have changed since, if windows differ."""


def compared(
    kpi: Kpi, catalog: Catalog, tables: Tables, published: Mapping[Key, Figures],
    stretch: tuple[int, int], begin: int,
) -> Compared | None:  # fmt: skip
    """Windows that end in the stretch (ms, after the first and not after the second). The tables have all events of its
    windows, of sessions those from `begin` on. None if that is too much at once."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, frame in tables.frames.items():
            batch.put(connection, name, frame)
        made = _made(connection, kpi, catalog, stretch, late=tables.late)
        sketches = _sketched_places(kpi, catalog)
        if sketches:
            if sum(figures.count for figures in made.values()) > MOST_ROWS and not kpi.over:
                return None
            made = _with_sketches(connection, kpi, catalog, made, sketches, stretch, late=tables.late)
        unsure = set[Key]()
        if kpi.window.session is not None:
            unsure = {key for key in made.keys() | published.keys() if key.start < begin + _gap(kpi)}
            unsure |= {key for key in published if any(overlap(key, other) for other in unsure)}
        found = [each for each in differences(published, made) if each.key not in unsure]
        count = len((published.keys() | made.keys()) - unsure)
        if not found:
            return Compared(count, [], unsure)
        members = {} if kpi.over else _members(connection, kpi, catalog, found, late=tables.late)
        outdated = connection.execute(batch.outdated(kpi, catalog)).fetchall() if kpi.enrich else []
        return Compared(count, found, unsure, members, sorted(at for (at,) in outdated))


def _gap(kpi: Kpi) -> int:
    assert kpi.window.session is not None
    return round(kpi.window.session.total_seconds() * 1000)


def _made(
    connection: duckdb.DuckDBPyConnection, kpi: Kpi, catalog: Catalog, stretch: tuple[int, int], *, late: bool
) -> dict[Key, Figures]:
    """What SQL makes of the windows that end in the stretch; what has a sketch in it is exact."""
    if kpi.window.each is not None:
        rows = connection.execute(batch.singles(kpi, catalog)).fetchall()
        return {
            Key(series, at, at + 1, (partition, offset)): Figures(number, 1)
            for series, at, number, partition, offset in rows
            if stretch[0] < at + 1 <= stretch[1]
        }
    rows = connection.execute(batch.statement(kpi, catalog, late=late, published=bool(kpi.over))).fetchall()
    return {
        Key(series, start, stop): Figures(number, count, tuple(measures))
        for series, start, stop, number, count, *measures in rows
        if stretch[0] < stop <= stretch[1]
    }


def _sketched_places(kpi: Kpi, catalog: Catalog) -> dict[int, Value]:
    """Place among value and measures → what has a sketch in it."""
    if kpi.window.each is not None:
        return {}
    _, types = derive(kpi.let, fields_of(kpi, catalog))
    values = {place: value(text, types) for place, text in enumerate([kpi.value, *kpi.measures.values()])}
    return {place: each for place, each in values.items() if each.error}


def _with_sketches(
    connection: duckdb.DuckDBPyConnection, kpi: Kpi, catalog: Catalog, made: Mapping[Key, Figures],
    sketches: Mapping[int, Value], stretch: tuple[int, int], *, late: bool,
) -> dict[Key, Figures]:  # fmt: skip
    _, types = derive(kpi.let, fields_of(kpi, catalog))
    columns = sorted(set().union(*(each.columns for each in sketches.values())))
    query = batch.members(kpi, catalog, [*columns, TIME], late=late, published=bool(kpi.over))
    within = f"SELECT * FROM ({query}) WHERE w1 > {stretch[0]} AND w1 <= {stretch[1]}"
    rows = pl.DataFrame(connection.sql(within)).with_columns(
        pl.col(name).cast(DTYPES[types[name]]) for name in columns
    )
    numbers = {place: _sketched(rows, each) for place, each in sketches.items()}
    found: dict[Key, Figures] = {}
    for key, figures in made.items():
        mine = [figures.value, *figures.measures]
        for place, of_windows in numbers.items():
            mine[place] = of_windows.get(key)
        found[key] = Figures(mine[0], figures.count, tuple(mine[1:]))
    return found


def _sketched(rows: pl.DataFrame, each: Value) -> dict[Key, float | None]:
    assert {TIME, PARTITION, OFFSET} <= set(rows.columns)
    states = rows.group_by(_WINDOW).agg(each.partials())
    numbers = states.select(*_WINDOW, each.final().alias("number"))
    return {Key(series, start, stop): number for series, start, stop, number in numbers.iter_rows()}


def _members(
    connection: duckdb.DuckDBPyConnection, kpi: Kpi, catalog: Catalog, found: Sequence[Difference], *, late: bool
) -> dict[Key, list[tuple[int, int]]]:  # fmt: skip
    schema = {"series": pl.String, "w0": pl.Int64, "w1": pl.Int64}
    wanted = pl.DataFrame([each.key[:3] for each in found], schema=schema, orient="row").unique()
    batch.put(connection, _WANTED, wanted)
    query = batch.members(kpi, catalog, late=late)
    rows = connection.execute(
        f"SELECT m.* FROM ({query}) m JOIN {_WANTED} USING (series, w0, w1) ORDER BY __partition, __offset"
    ).fetchall()
    members: dict[Key, list[tuple[int, int]]] = {each.key: [] for each in found}
    for series, start, stop, partition, offset in rows:
        place = partition, offset
        key = Key(series, start, stop, place if kpi.window.each is not None else None)
        if key in members:  # of single events others have the same time
            members[key].append(place)
    return members
