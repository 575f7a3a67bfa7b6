"""What an engine other than the embedded one cannot express, by name. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.faults import Fault
from libs.common.catalog.fields import fields_of
from libs.common.catalog.kpis import Kpi, Window
from libs.common.errors import DefinitionError
from libs.common.expressions import derive, predicate, value

RULE = "engine flink"
DAY = timedelta(days=1)


def tumbling_of(window: Window) -> tuple[timedelta, timedelta] | None:
    """Length and offset, where the windows are of one length and do not overlap: tumbling ones, days and weeks in UTC."""
    if window.tumbling is not None:
        return window.tumbling, window.offset
    if window.zone == "UTC" and window.calendar == "day":
        return DAY, timedelta(0)
    if window.zone == "UTC" and window.calendar == "week":  # 1 January 1970 was a Thursday
        return 7 * DAY, (4 if window.week_starts == "monday" else 3) * DAY
    return None


def refusals(kpi: Kpi, catalog: Catalog, above: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """Why a KPI cannot run on Flink: path, message, rule. What is wrong on any engine is `check_kpi`'s."""
    window = kpi.window
    if window.each is not None:
        message = "events that pass through have no window: Flink has no value to publish once"
        yield "window.each", message, RULE
    if window.calendar is not None and tumbling_of(window) is None:
        local = f"{window.calendar} in {window.zone}"
        message = f"{local}: Flink's windows are of one length; there only day and week in UTC can be had"
        yield "window.calendar", message, RULE
    if kpi.early is not None and kpi.early > timedelta(0):
        yield (
            "early",
            "Flink publishes a window once, when its lateness has passed: give 0s, or leave it out",
            RULE,
        )
    for place, each in enumerate(kpi.enrich):
        message = (
            f"the last row of {each.reference} when an event is combined has no counterpart in Flink SQL"
        )
        yield f"enrich.{place}", message, RULE
    for name, id in kpi.over.items():
        found = catalog.kpi(id)
        if found is None or id in above:
            continue
        fault = next(refusals(found, catalog, above | {kpi.id}), None)
        if fault is not None:
            yield f"over.{name}", f"{id} cannot be made there: {fault[0]}: {fault[1]}", RULE
    if not window.each and not kpi.enrich:
        yield from _expressions(kpi, catalog)


def _expressions(kpi: Kpi, catalog: Catalog) -> Iterator[Fault]:
    """What the dialect cannot write. Expressions that do not compile at all are left out."""
    types = fields_of(kpi, catalog)
    try:
        _, types = derive(kpi.let, types)
    except DefinitionError:
        return
    texts = [("value", kpi.value), *((f"measures.{name}", text) for name, text in kpi.measures.items())]
    for path, text in texts:
        try:
            compiled = value(text, types)
        except DefinitionError:
            continue
        try:
            compiled.sql("flink")
        except DefinitionError as error:
            yield path, error.message, error.rule
    try:
        if kpi.where is not None:
            predicate(kpi.where, types).sql("flink")
    except DefinitionError as error:
        if error.rule == RULE:
            yield "where", error.message, error.rule


def switched(kpi: Kpi, catalog: Catalog) -> Iterator[Fault]:
    """Faults of the `engine` that a KPI names, and of those that it is over."""
    if kpi.engine == "flink":
        yield from refusals(kpi, catalog)
        return
    for name, id in kpi.over.items():
        found = catalog.kpi(id)
        if found is not None and found.engine == "flink":
            message = f"{id} runs on Flink, whose values do not reach the embedded engine: run both on one"
            yield f"over.{name}", message, "one engine"
