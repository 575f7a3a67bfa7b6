"""Definitions and events with which Flink's output is held to plain SQL: all windows, aggregates, expressions."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from libs.common.catalog import Catalog, Kpi, Rule, Source

START = datetime(2024, 3, 30, 20, tzinfo=UTC)
"""A night in which clocks change in Europe, which must not matter here."""
FAR = datetime(2099, 1, 1, tzinfo=UTC)
FIELDS = {
    "id": "string", "at": "timestamp", "status": "string", "delay": "int", "distance": "long", "gust": "double",
    "ok": "boolean", "seen": "timestamp", "day": "date",
}  # fmt: skip
PARTITIONS = 2


def source(id: str, format: str) -> Source:
    fields = [
        {"name": name, "type": kind, "nullable": name not in ("id", "at")} for name, kind in FIELDS.items()
    ]
    return Source.model_validate(
        {"id": id, "title": id, "owner": "team", "fields": fields, "event_id": "id", "event_time": "at",
         "format": format, "partitions": PARTITIONS, "watermark": {"delay": "1d", "ahead": "1h"}}
    )  # fmt: skip


H, TEN = {"tumbling": "1h"}, {"tumbling": "10m"}
VALUES = (
    # aggregates
    "count(*)", "count(gust)", "count(*) filter (where delay > 100)", "sum(delay)", "sum(distance)", "sum(gust)",
    "avg(delay)", "avg(distance)", "avg(gust) filter (where ok)", "min(gust)", "max(distance)", "var_samp(gust)",
    "var_pop(delay)", "stddev_samp(distance / 1000000.0)", "stddev_pop(gust)", "first(delay)", "last(gust)",
    "sum(case when first_of_status = 'd' then 1 end)", "max(extract(epoch from seen))",
    # arithmetic that has no result, or would overflow
    "sum(delay) / sum(distance - distance)", "sum(distance + distance)", "max(distance * delay)", "max(-distance)",
    "min(delay % (delay - delay))", "sum(delay % 7)", "max(abs(distance))", "sum(exp(delay))", "min(ln(gust))",
    "max(sqrt(gust))", "sum(power(delay, 2))", "sum(round(gust, 1))", "max(floor(gust)) - min(ceil(gust))",
    "sum(sign(delay))",
    # text, time, conditions, choices
    "count(*) filter (where status like '%e_%')", "count(*) filter (where status ilike 'DIV%')",
    "sum(length(trim(status)))", "count(*) filter (where lower(substring(status, 1, 3)) in ('dep', 'can'))",
    "count(*) filter (where concat(status, delay) = '77')", "max(extract(dow from day) + extract(hour from seen))",
    "count(*) filter (where date_trunc('month', seen) = timestamp '2001-02-01 00:00:00')",
    "sum(coalesce(delay, 0) + greatest(delay, 3, distance) - least(distance, 4))",
    "sum(if(ok is true, 1.0, 0)) - count(*) filter (where ok is distinct from false)", "sum(nullif(delay, 0))",
    "avg(case status when 'departed' then 1.0 when 'cancelled' then 0 end)",
    "count(*) filter (where not (delay between 0 and 500 or ok))", "sum(cast(gust as bigint))",
    "count(*) filter (where status || 'x' <> 'departedx' and day >= date '2000-06-01')",
)  # fmt: skip
WINDOWS: tuple[dict[str, Any], ...] = (
    {"window": {"tumbling": "15m", "offset": "5m"}, "by": ["status"]},
    {"window": {"sliding": "1h", "every": "20m"}, "by": ["ok"]},
    {"window": {"sliding": "2h", "every": "30m", "offset": "10m"}, "value": "avg(gust)"},
    {"window": {"session": "4m"}, "by": ["status"]},
    {"window": {"session": "1m"}, "value": "sum(distance)"},
    {"window": {"calendar": "day"}, "by": ["day"]},
    {"window": {"calendar": "week", "week_starts": "sunday"}, "by": ["delay"]},
    {"window": H, "by": ["status", "ok"], "where": "delay > 10 and ok", "value": "max(distance)"},
    {
        "window": TEN,
        "by": ["status"],
        "lateness": "2h",
        "measures": {"mean": "avg(gust)", "all_of_it": "count(*)"},
    },
    {"window": H, "let": {"twice": "delay * 2", "big": "twice > 100"}, "where": "big", "value": "sum(twice)"},
    {"window": H, "let": {"bad": "gust / 0"}, "value": "sum(bad)"},
)


def kpis() -> Iterator[Kpi]:
    first = {"first_of_status": "substring(status, 1, 1)"}
    for number, text in enumerate(VALUES):
        by = [["status"], [], ["ok"]][number % 3]
        yield kpi(f"value_{number}", source="flights", value=text, by=by, window=TEN, let=first)
    for number, given in enumerate(WINDOWS):
        yield kpi(f"window_{number}", **{"source": "flights", "value": "count(*)", **given})
    json = {"source": "flights_json", "window": H}
    yield kpi("json_count", value="count(*)", by=["status"], **json)
    yield kpi("json_times", value="max(extract(epoch from seen))", by=["day"], **json)
    yield kpi("json_doubles", value="sum(gust)", **json)
    yield kpi(
        "share",
        over={"late": "window_7", "flown": "hours"},
        value="sum(late) / sum(flown)",
        window=H,
        by=["status"],
    )
    yield kpi("hours", source="flights", value="count(*)", window=H, by=["status"])
    inputs = {"over": {"some": "slid"}, "window": {"sliding": "2h", "every": "30m"}}
    yield kpi("rolled_up", value="sum(some)", measures={"most": "max(some)"}, **inputs)
    slid = {"window": inputs["window"], "by": ["status"]}
    yield kpi("slid", source="flights", value="sum(delay)", **slid)


def kpi(id: str, **fields: Any) -> Kpi:
    return Kpi.model_validate({"id": id, "title": id, "owner": "team", "engine": "flink", **fields})


def rules() -> Iterator[Rule]:
    for id, severity, check in (
        ("gust_given", "info", {"not_null": {"field": "gust"}}),
        ("delay_plausible", "critical", {"range": {"field": "delay", "min": -100, "max": 1000}}),
        ("status_form", "warning", {"pattern": {"field": "status", "matches": "[a-z]+"}}),
    ):
        yield Rule.model_validate(
            {
                "id": id,
                "title": id,
                "owner": "team",
                "source": "flights",
                "severity": severity,
                "check": check,
            }
        )


def catalog() -> Catalog:
    return Catalog.of([source("flights", "avro"), source("flights_json", "json"), *kpis(), *rules()])


def events(count: int = 400) -> list[dict[str, Any]]:
    """Out of order, with nulls, extremes and numbers that are none; `partition` says where each one goes."""
    dice = random.Random(4)
    return [event(dice, number) for number in range(count)]


def event(dice: random.Random, number: int) -> dict[str, Any]:
    def some(value: Any) -> Any:
        return None if dice.random() < 0.1 else value

    day = date(1999, 12, 27) + timedelta(days=dice.randrange(800))
    return {
        "id": f"e{number}",
        "at": START + timedelta(milliseconds=dice.randrange(14_400_000) // 7 * 7),
        "status": some(
            dice.choice(["departed", "cancelled", "Div_rted%", "", " Ünit 7 ", "it's", "a=b,c/d"])
        ),
        "delay": some(dice.choice([dice.randrange(-100, 2000), 0, 2**31 - 1, 7])),
        "distance": some(dice.choice([dice.randrange(-10, 5000), 2**63 - 1, 1 - 2**63, 2**62])),
        "gust": some(dice.choice([dice.randrange(-(2**12), 2**12) / 4, dice.uniform(0, 99), 0.0])),
        "ok": some(dice.random() < 0.6),
        "seen": some(datetime(2001, 2, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(-(10**7), 10**7))),
        "day": some(day),
        "partition": dice.randrange(PARTITIONS),
    }


def table(events: list[dict[str, Any]]) -> pl.DataFrame:
    """As the batch twin reads them: with `t`, `__partition` and `__offset`."""
    dtypes = {"string": pl.String, "int": pl.Int32, "long": pl.Int64, "double": pl.Float64, "boolean": pl.Boolean,
              "timestamp": pl.Datetime("ms", "UTC"), "date": pl.Date}  # fmt: skip
    frame = pl.DataFrame(events, schema_overrides={name: dtypes[kind] for name, kind in FIELDS.items()})
    return frame.with_columns(
        pl.col("at").dt.epoch("ms").alias("t"), pl.col("partition").alias("__partition"),
        pl.col("offset").alias("__offset"),
    )  # fmt: skip
