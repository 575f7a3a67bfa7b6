"""What may run on Flink, what is refused and by which name, and what is in the statements."""

from typing import Any

import pytest

from libs.common.catalog import Catalog, Kpi
from libs.common.catalog.check import check
from libs.common.errors import DefinitionError
from libs.common.twins import flink
from libs.common.twins.flink_tables import Place, interval
from tests import flink_sample as sample

PLACE = Place("kafka:9092", "http://registry", "mesh.")
HOUR = {"tumbling": "1h"}


def faults(**fields: Any) -> set[tuple[str, str]]:
    kpi = sample.kpi("one", **({"source": "flights", "value": "count(*)", "window": HOUR} | fields))
    return {
        (each.path, each.rule)
        for each in check([*sample.catalog().definitions.values(), kpi])
        if each.id == "one" and each.rule != "known team"
    }


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("window.each", {"window": {"each": "event"}, "value": "delay"}),
        ("window.calendar", {"window": {"calendar": "month"}}),
        ("window.calendar", {"window": {"calendar": "day", "zone": "Europe/Berlin"}}),
        ("window.calendar", {"window": {"calendar": "business_day", "holidays": ["2024-05-01"]}}),
        ("early", {"early": "1s"}),
        ("value", {"value": "approx_count_distinct(id)"}),
        ("measures.middle", {"measures": {"middle": "approx_quantile(gust, 0.5)"}}),
    ],
)
def test_what_flink_cannot_express_is_refused_at_its_place(path: str, fields: dict[str, Any]) -> None:
    assert faults(**fields) == {(path, "engine flink")}
    assert faults(engine="embedded", **fields) == set()


def test_what_flink_can_express_is_not_refused() -> None:
    assert faults() == set()
    assert faults(window={"calendar": "week"}, early="0s") == set()


def test_a_kpi_over_one_that_flink_cannot_make_is_refused_with_the_reason() -> None:
    bad = sample.kpi(
        "bad", engine="embedded", source="flights", value="approx_count_distinct(id)", window=HOUR
    )
    over = sample.kpi("one", over={"ids": "bad"}, value="sum(ids)", window=HOUR)
    found = [each for each in check([*sample.catalog().definitions.values(), bad, over]) if each.id == "one"]
    assert [(each.path, each.rule) for each in found if each.rule != "known team"] == [
        ("over.ids", "engine flink")
    ]


def test_an_embedded_kpi_over_one_on_flink_would_wait_for_ever_and_is_refused() -> None:
    assert faults(engine="embedded", source=None, over={"h": "hours"}, value="sum(h)") == {
        ("over.h", "one engine")
    }


def test_kpis_over_each_other_are_refused_and_not_followed_for_ever() -> None:
    a = sample.kpi("a", over={"b": "b"}, value="sum(b)", window=HOUR)
    b = sample.kpi("b", over={"a": "a"}, value="sum(a)", window=HOUR)
    assert "no cycle" in {each.rule for each in check([a, b])}


def test_a_script_is_not_made_of_what_is_refused() -> None:
    kpi = sample.kpi("one", source="flights", value="count(*)", window={"calendar": "month"})
    with pytest.raises(DefinitionError, match="month in UTC"):
        flink.script([(kpi, 1)], sample.catalog(), PLACE, "job")


def script(kpi: Kpi, version: int = 1) -> str:
    return "\n".join(
        flink.script([(kpi, version)], Catalog.of([*sample.catalog().definitions.values()]), PLACE, "job")
    )


def test_the_watermark_runs_behind_by_delay_and_lateness_and_a_declared_one_by_the_lateness_alone() -> None:
    text = script(sample.kpi("one", source="flights", value="count(*)", window=HOUR, lateness="2h"))
    assert f"`__declared` - {interval(7_200_001)}" in text
    assert f"`__time` - {interval(7_200_001 + 86_400_000)}" in text


def test_a_change_of_the_source_changes_the_statements_and_so_the_job() -> None:
    kpi = sample.kpi("one", source="flights", value="count(*)", window=HOUR)
    other = sample.source("flights", "avro").model_copy(update={"partitions": 2, "watermark": sample.source(
        "flights", "avro").watermark.model_copy(update={"delay": sample.START - sample.START})})  # fmt: skip
    changed = Catalog.of([*sample.catalog().definitions.values(), other])
    assert script(kpi) == script(kpi)
    assert script(kpi) != "\n".join(flink.script([(kpi, 1)], changed, PLACE, "job"))
    assert script(kpi) != script(kpi, 2)


def test_a_length_of_time_is_written_to_the_millisecond() -> None:
    assert interval(90_061_001) == "INTERVAL '1 01:01:01.001' DAY(3) TO SECOND(3)"


def test_a_default_stands_in_where_an_old_event_lacks_the_field() -> None:
    flights = sample.source("flights", "avro")
    defaults = {"delay": 0, "status": "it's", "day": "2000-01-01", "ok": True, "gust": 1.5}
    fields = [
        field.model_copy(update={"nullable": False, "default": defaults[field.name]})
        if field.name in defaults
        else field
        for field in flights.fields
    ]
    changed = Catalog.of(
        [*sample.catalog().definitions.values(), flights.model_copy(update={"fields": tuple(fields)})]
    )
    kpi = sample.kpi("one", source="flights", value="count(*)", window=HOUR)
    text = "\n".join(flink.script([(kpi, 1)], changed, PLACE, "job"))
    for part in ("(`delay`, 0)", "(`status`, 'it''s')", "(`day`, DATE '2000-01-01')", "(`ok`, TRUE)"):
        assert f"COALESCE{part} AS {part[1:].partition(',')[0]}" in text
    assert "COALESCE(`gust`, CAST(1.5 AS DOUBLE)) AS `gust`" in text
