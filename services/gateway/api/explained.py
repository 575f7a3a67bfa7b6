"""The raw events of a number: found again from the archive, counted again, and shown to the asker."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx

from libs.common.catalog import Kpi, Source
from libs.common.errors import DefinitionError, Problem
from libs.common.expressions import FieldTypes, Predicate, derive, predicate
from libs.common.topics import EVENTS
from services.gateway.api.asking import Asker
from services.gateway.api.models.explain import ExplainedEvents, RawEvent, SchemaShown
from services.gateway.api.problems import not_found
from services.gateway.core.provenance import (
    Counted,
    Derived,
    Found,
    compare,
    frame_of,
    in_ranges,
    late_in,
    taken,
)
from services.gateway.store import catalog as catalog_rows
from services.gateway.store import kpis as kpi_rows
from services.gateway.store import provenance as rows

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
_CHUNK = 5_000
"""Events read at a time where there are too many to read at once."""


@dataclass(frozen=True)
class Made:
    """How an observation was made of events: the definitions that were in force then."""

    kpi: Kpi
    source: Source
    types: FieldTypes
    """The source's fields and the derived ones."""
    derived: Derived
    where: Predicate | None
    obstacle: str | None
    """Why its events cannot be told from others in its ranges."""
    contracts: Mapping[int, int]
    """Schema id → the newest version of the source that writes it."""


async def how_made(asker: Asker, kpi: Kpi, recorded_at: datetime) -> Made | None:
    """The definition with its source as it was at `recorded_at`; None of a KPI over other KPIs."""
    if kpi.source is None:
        return None
    versions = await catalog_rows.versions_at(asker.desk.pool, "source", kpi.source, recorded_at)
    if not versions:
        raise not_found(f"definition of source {kpi.source} as of {recorded_at.isoformat()}")
    source = Source.model_validate(versions[0]["definition"])
    contracts: dict[int, int] = {}
    for version in versions:
        contracts.setdefault(version["schema_id"], version["version"])
    types: FieldTypes = source.field_types
    derived: Derived = ()
    where, obstacle = None, None
    with suppress(DefinitionError):  # those that are derived of enriched fields cannot be had again
        derived, types = derive(kpi.let, types)
    try:
        where = predicate(kpi.where, types) if kpi.where is not None else None
    except DefinitionError:
        obstacle = "the definition's condition looks at enriched fields"
    if not set(kpi.by) <= set(types):
        obstacle = "the series are told apart by enriched fields"
    return Made(kpi, source, types, derived, where, obstacle, contracts)


async def parts_of(asker: Asker, kpi: Kpi, row: Row) -> list[Row]:
    """The values of other KPIs that a value rests on, of the KPIs that the asker may see."""
    versions: dict[str, int] = {}
    for id in dict.fromkeys(kpi.over.values()):
        known = await catalog_rows.versions_at(asker.desk.pool, "kpi", id, row["recorded_at"])
        if known and asker.sees(id):
            served = await kpi_rows.served_at(asker.desk.pool, id, row["recorded_at"])
            versions[id] = min(served or known[0]["version"], known[0]["version"])
    return await kpi_rows.parts(asker.desk.pool, versions, row) if versions else []


async def explained_events(
    asker: Asker, made: Made, row: Row, limit: int, after: list[int] | None
) -> tuple[ExplainedEvents, list[int] | None]:
    """The count, and the page beyond `after` = [partition, offset]; and the end of the page if there is another."""
    pool, most = asker.desk.pool, asker.desk.settings.explain_scan
    place = (after[0], after[1]) if after else (-1, -1)
    late = await rows.late(pool, row)
    asked = _asked(made, row)
    cells = late if made.kpi.window.session else []
    read = await rows.events(pool, asked, most)
    if read is None:
        counted = None
        page = await _beyond(asker, made, row, asked, place, limit + 1)
    else:
        members, found = _counted(made, row, read, cells)
        counted = None if made.obstacle else found
        page = [one for one in members if _place(one) > place][: limit + 1]
    gone = rows.Gone(0, 0)
    if counted is not None and counted.agrees is not True and counted.matched < row["count"]:
        gone = await rows.gone(pool, asked, row["offsets"])
        counted = replace(counted, agrees=None) if gone.erased or gone.withdrawn else counted
    explained = ExplainedEvents(
        source=made.source.id,
        matched=counted.matched if counted else None,
        count=row["count"],
        agrees=counted.agrees if counted else None,
        note=_note(made, counted, most, gone),
        late=sum(_late(made, row, read, one) for one in late if one["window_start"] >= asked.start),
        outside=counted.outside if counted else None,
        scanned=most if read is None else len(read),
        items=[show_event(asker, made.source, one) for one in page[:limit]],
        next_page_token=None,
    )
    return explained, list(_place(page[limit - 1])) if len(page) > limit else None


def _late(made: Made, row: Row, read: Sequence[Row] | None, one: Row) -> int:
    """Of a record of late events that a backfill has counted in part, the others are counted."""
    if not one["partly"] or read is None:
        return one["count"]
    return sum(in_ranges(_place(event), [one]) for event in _taken(made, row, read))


def _asked(made: Made, row: Row) -> rows.Asked:
    """Events of the window; text dimensions are compared by the database, the rest when they are read, and those that
    have a default, which old events lack."""
    types, defaults = made.source.field_types, made.source.defaults
    texts = {
        name: value
        for name, value in row["series"].items()
        if types.get(name) == "string" and name not in defaults
    }
    return rows.Asked(made.source.id, row["window_start"], row["window_end"], texts)


def _place(event: Row) -> tuple[int, int]:
    return event["partition"], event["offset"]


def _taken(made: Made, row: Row, read: Sequence[Row]) -> list[Row]:
    """Those that the definition takes for the series."""
    documents = [event["data"] for event in read]
    frame = frame_of(documents, made.source.field_types, made.derived, made.source.defaults)
    series = {name: value for name, value in row["series"].items() if name in made.types}
    marks = taken(frame, made.where, series)
    return [event for event, mark in zip(read, marks, strict=True) if mark]


def _counted(made: Made, row: Row, read: Sequence[Row], cells: Sequence[Row]) -> tuple[list[Row], Counted]:
    """The events of the number, and their count held against what it says."""
    events = _taken(made, row, read)
    gap = made.kpi.window.session
    set_aside = (
        late_in([Found(_place(one), one["event_time"]) for one in events], cells, gap) if gap else set()
    )
    members = [
        one for one in events if in_ranges(_place(one), row["offsets"]) and _place(one) not in set_aside
    ]
    places = [_place(one) for one in members]
    return members, compare(places, len(events) - len(members), row["offsets"], row["count"])


async def _beyond(
    asker: Asker, made: Made, row: Row, asked: rows.Asked, place: tuple[int, int], limit: int
) -> list[Row]:
    """Up to `limit` events beyond a place, of a window that is too large to be read whole."""
    found: list[Row] = []
    for span in sorted(row["offsets"], key=lambda span: span["partition"]):
        if span["partition"] < place[0]:
            continue
        at = place[1] if span["partition"] == place[0] else -1
        while len(found) < limit:
            read = await rows.events_after(asker.desk.pool, asked, span, at, _CHUNK)
            found += _taken(made, row, read)
            if len(read) < _CHUNK:
                break
            at = read[-1]["offset"]
    return found[:limit]


def _note(made: Made, counted: Counted | None, most: int, gone: rows.Gone) -> str | None:
    if made.obstacle:
        return (
            f"{made.obstacle}: all events of the window in the ranges are shown, and were not counted again"
        )
    if counted is None:
        return f"more than {most:,} events: they can be looked through, but were not counted again"
    whys = {"erased with their subject": gone.erased, "withdrawn with their re-drive": gone.withdrawn}
    said = [f"{count} events of the window in its ranges were {why}" for why, count in whys.items() if count]
    if said:
        return f"{' and '.join(said)}: the number counts them still"
    if counted.agrees is None:
        return "not every event of the number is in the archive: some are on their way, or were disposed of"
    return None


def show_event(asker: Asker, source: Source, event: Row) -> RawEvent:
    """One event, masked. Its key and id are made of fields: they are masked as these are."""
    veil = asker.veil
    read: dict[str, Any] = json.loads(event["data"])
    document = {field.name: read.pop(field.name) for field in source.fields if field.name in read} | read
    data, masked = veil.event(source.id, document)
    key, id = event["key"], event["event_id"]
    if veil.hidden_fields(source.id, dict.fromkeys(source.key_reads)):
        key = None
    if source.event_id is not None and id is not None:
        id = veil.value(source.id, source.event_id, id)
    names = ("partition", "offset", "event_time", "schema_id", "receipt", "ingested_at", "trace_id")
    return RawEvent(**{name: event[name] for name in names}, key=key, event_id=id, data=data, masked=masked)


async def schemas_of(asker: Asker, made: Made, ids: Sequence[int]) -> list[SchemaShown]:
    """The schemas that the events were written with: subject and version as the registry knows them."""
    return [
        SchemaShown(schema_id=id, subject=subject, version=version, contract_version=made.contracts.get(id))
        for id in sorted(ids)
        for subject, version in await _registered(asker, made.source.id, id)
    ]


async def _registered(asker: Asker, source: str, id: int) -> list[tuple[str, int | None]]:
    subject = f"{EVENTS.of(source)}-value"
    try:
        places = await asker.desk.registry.places(id)
    except (Problem, httpx.HTTPError) as error:
        log.warning("the registry does not answer", extra={"fields": {"schema": id, "error": str(error)}})
        places = []
    return [place for place in places if place[0] == subject] or [(subject, None)]
