"""What was published, read from the archive as frames."""

import io
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime

import polars as pl

from libs.common.catalog import Source
from libs.common.clock import milliseconds, moment
from libs.common.rules import RANKS
from services.detector.core.backfill import Gone
from services.detector.core.definitions import CompiledKpi
from services.detector.core.published import KEYS
from services.detector.core.rows import OFFSETS
from services.detector.handlers.archived import Archive

_BOUNDS = {"series_key": pl.String, "start": pl.Int64, "stop": pl.Int64}
_PLACE = {"__partition": pl.Int64, "__offset": pl.Int64}
_FIGURES = {"revision": pl.Int32, "status": pl.String, "value": pl.Float64, "count": pl.Int64}


def _ms(name: str) -> str:
    return f"(extract(epoch FROM {name}) * 1000)::bigint"


_SHOWN = f"series_key, {_ms('window_start')}, {_ms('window_end')}, revision, status, value, count"
_PUBLISHED = (
    f"SELECT {_SHOWN}, offsets::text, measures::text FROM read.observations"
    " WHERE kpi = $1 AND kpi_version = $2 AND window_start >= $3 AND window_start < $4"
)
_INPUTS = (
    f"SELECT DISTINCT ON (window_start, kpi, kpi_version, series_key) {_SHOWN}, kpi, kpi_version, assessed, suspect,"
    " worst, array_to_json(schema_ids)::text FROM read.observations"
    " WHERE kpi = ANY($1::text[]) AND window_start >= $2 AND window_start < $3 AND status <> 'provisional'"
    " ORDER BY window_start, kpi, kpi_version, series_key, revision DESC"
)


async def published(archive: Archive, compiled: CompiledKpi, start: int, stop: int) -> pl.DataFrame:
    """The newest revision of every window that begins in [start, stop), for `backfill.revisions`."""
    schema = {**_BOUNDS, **_FIGURES, "offsets": pl.String, "measures": pl.String}
    frames = [pl.DataFrame(schema=schema)]
    query = archive.lines(_PUBLISHED, compiled.kpi.id, compiled.version, moment(start), moment(stop))
    async for lines in query:
        frames.append(_frame(lines, schema))
    rows = pl.concat(frames).sort("revision").unique(KEYS, keep="last", maintain_order=True)
    measures = pl.Struct(dict.fromkeys(compiled.measures, pl.Float64))
    decoded = [pl.col("offsets").str.json_decode(OFFSETS)]
    if compiled.measures:
        decoded.append(pl.col("measures").str.json_decode(measures))
    rows = rows.with_columns(decoded)
    fields = [pl.col("measures").struct.field(name).alias(f"measure:{name}") for name in compiled.measures]
    return rows.with_columns(fields).drop("measures")


async def reach(
    archive: Archive, compiled: CompiledKpi, start: datetime, stop: datetime
) -> tuple[datetime, datetime]:
    """From the first begin to the last end of windows that were published and reach into [start, stop); that at least."""
    rows = await archive.fetch(
        "SELECT least($3, min(window_start)) AS start, greatest($4, max(window_end)) AS stop FROM read.observations"
        " WHERE kpi = $1 AND kpi_version = $2 AND window_end > $3 AND window_start < $4 AND status <> 'retracted'",
        compiled.kpi.id, compiled.version, start, stop,
    )  # fmt: skip
    return rows[0]["start"], rows[0]["stop"]


async def withdrawn(archive: Archive, compiled: CompiledKpi, start: datetime, stop: datetime) -> pl.DataFrame:
    """Values of single events, as `published`, whose event is withdrawn."""
    assert compiled.source is not None
    rows = await archive.fetch(
        'SELECT partition, "offset" FROM read.withdrawn_events'
        " WHERE source = $1 AND event_time >= $2 AND event_time < $3",
        compiled.source.id, start, stop,
    )  # fmt: skip
    places = pl.DataFrame([(row["partition"], row["offset"]) for row in rows], schema=_PLACE, orient="row")
    found = await published(archive, compiled, milliseconds(start), milliseconds(stop))
    here = pl.col("offsets").list.first().struct
    mine = found.filter(pl.col("status") != "retracted").with_columns(
        here.field("partition").cast(pl.Int64).alias("__partition"), here.field("first").alias("__offset")
    )
    return mine.join(places, on=list(_PLACE), how="semi").drop(list(_PLACE))


async def inputs(
    archive: Archive, served: Mapping[str, int], start: int, stop: int
) -> AsyncGenerator[pl.DataFrame]:
    """The newest values of KPIs for the windows that begin in [start, stop), by start; up to the versions `served`."""
    schema = {
        **_BOUNDS, **_FIGURES, "kpi": pl.String, "kpi_version": pl.Int32, "assessed": pl.Int64, "suspect": pl.Int64,
        "worst": pl.String, "schema_ids": pl.String,
    }  # fmt: skip
    newest = pl.col("kpi").replace_strict(dict(served), return_dtype=pl.Int32)
    async for lines in archive.lines(_INPUTS, list(served), moment(start), moment(stop)):
        yield (
            _frame(lines, schema)
            .filter(pl.col("kpi_version") <= newest)
            .with_columns(
                pl.col("worst").replace_strict(RANKS, default=0, return_dtype=pl.UInt8),
                pl.col("schema_ids").str.json_decode(pl.List(pl.Int64)),
            )
        )


def _frame(lines: bytes, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """A KPI without dimensions has the series ''."""
    frame = pl.read_csv(io.BytesIO(lines), has_header=False, schema=dict(schema))
    return frame.with_columns(pl.col("series_key").fill_null(""))


async def gone(archive: Archive, source: Source, ends: Mapping[int, int]) -> Gone:
    """What of a source's events was disposed of. `ends`: offsets by partition before which all was archived."""
    rows = await archive.fetch(
        f"SELECT {_ms('max(before)')} AS before FROM read.receipts"
        " WHERE source = $1 AND state = 'done' AND rows_deleted > 0",
        source.id,
    )
    before = rows[0]["before"]
    if not isinstance(before, int):
        return Gone({})
    found = await archive.fetch(
        'SELECT partition, min("offset") AS first FROM read.events WHERE source = $1 GROUP BY 1', source.id
    )
    return Gone({**ends, **{row["partition"]: row["first"] for row in found}}, before)
