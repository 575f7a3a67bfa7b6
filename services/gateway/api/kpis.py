"""KPIs: present values, history as known at any moment, and the expected band."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime

from libs.common.catalog import Kpi
from libs.common.events import parse_series_key
from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.conditional import conditional
from services.gateway.api.models.common import StreamPosition
from services.gateway.api.models.kpis import (
    ExpectationItem,
    KpiDetail,
    KpiFreshness,
    KpiList,
    KpiParity,
    KpiQuality,
    KpiSummary,
    LatestItem,
    ObservationItem,
    ObservationPage,
    SignalRuleShown,
    TrendPoint,
    WindowShape,
)
from services.gateway.api.paging import AsOf, Limit, PageToken, Version, cut
from services.gateway.api.positions import observations_position
from services.gateway.api.problems import RESPONSES
from services.gateway.store import governance as governance_rows
from services.gateway.store import kpis as rows
from services.gateway.store import sources as source_rows

router = APIRouter(prefix="/v1", tags=["kpis"], responses=RESPONSES)

SeriesLimit = Annotated[int, Query(ge=1, le=200, description="Series shown per KPI, the largest first")]
TrendLimit = Annotated[int, Query(ge=0, le=500, description="Windows in each trend")]
SeriesFilter = Annotated[
    str | None,
    Query(
        max_length=500,
        description="Only series with these dimension values, as shown: `origin=EWR,carrier=UA`. "
        "A masked value is named by its masked form.",
        examples=["origin=EWR"],
    ),
]
_WORST = {None: 0, "info": 1, "warning": 2, "critical": 3}


def show_observation(asker: Asker, row: Mapping[str, Any]) -> ObservationItem:
    """One row of the views as the asker sees it. Offsets and schemas are for `explain`."""
    series = asker.veil.series(row["kpi"], row["series"])
    fields = {
        name: row[name] for name in ObservationItem.model_fields if name not in ("series", "series_key")
    }
    return ObservationItem(
        **fields, series=series, series_key=asker.veil.series_key(row["kpi"], row["series_key"])
    )


def shape(kpi: Kpi) -> WindowShape:
    """The KPI's window in seconds."""
    window = kpi.window
    length = window.tumbling or window.sliding or window.session
    return WindowShape(
        kind=window.kind,
        length_seconds=int(length.total_seconds()) if length else None,
        every_seconds=int(window.every.total_seconds()) if window.every else None,
        calendar=window.calendar,
        zone=window.zone if window.calendar else None,
    )


async def served_versions(asker: Asker, kpis: Sequence[Kpi]) -> dict[str, int]:
    """KPI → the version that answers. One that has just been changed is answered by the former until it has caught up."""
    catalog = asker.desk.catalog
    last = {kpi.id: catalog.version("kpi", kpi.id) for kpi in kpis}
    embedded = {kpi.id: last[kpi.id] for kpi in kpis if kpi.engine == "embedded"}
    return last | await rows.served(asker.desk.pool, embedded)


def _next(defined: int, served: int) -> int | None:
    return defined if defined != served else None


async def _summaries(asker: Asker, kpis: Sequence[Kpi], series_limit: int, trend: int) -> list[KpiSummary]:
    pool, catalog = asker.desk.pool, asker.desk.catalog
    versions = await served_versions(asker, kpis)
    # Before the rows are read, so that each stream begins no later than they end.
    found_positions = await asyncio.gather(*(observations_position(asker, kpi.id) for kpi in kpis))
    positions = dict(zip(versions, found_positions, strict=True))
    latest, totals, signals, state = await asyncio.gather(
        rows.latest(pool, versions, series_limit),
        rows.series_totals(pool, versions),
        rows.open_signals(pool, list(versions)),
        source_rows.states(pool),
    )
    trends = await rows.trends(pool, latest, trend) if trend else {}
    health = state.health
    found = []
    for kpi in kpis:
        mine = [row for row in latest if row["kpi"] == kpi.id]
        found.append(
            KpiSummary(
                **_words(kpi),
                window=shape(kpi),
                version=versions[kpi.id],
                next_version=_next(catalog.version("kpi", kpi.id), versions[kpi.id]),
                freshness=_freshness(mine, _worst_health(catalog.sources_of(kpi), health)),
                quality=_quality(mine, _worst_health(catalog.sources_of(kpi), health)),
                latest=[_latest(asker, row, trends) for row in mine],
                series_total=totals.get(kpi.id, 0),
                open_signals=signals.get(kpi.id, 0),
                stream=positions[kpi.id],
            )
        )
    return found


def _worst_health(
    sources: Sequence[str], health: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """A value is as fresh and as good as the worst of its sources; unknown if one of them is."""
    found = [health.get(source) for source in sources]
    known = [each for each in found if each is not None]
    if len(known) < len(found) or not known:
        return None
    return min(known, key=lambda each: (bool(each["fresh"]), each["score"] or 0.0))


def _words(kpi: Kpi) -> dict[str, Any]:
    names = (
        "id",
        "title",
        "description",
        "owner",
        "unit",
        "good",
        "objective",
        "source",
        "over",
        "latency_class",
        "engine",
    )
    return {name: getattr(kpi, name) for name in names} | {
        "by": list(kpi.by),
        "departments": list(kpi.departments),
    }


def _latest(
    asker: Asker,
    row: Mapping[str, Any],
    trends: Mapping[tuple[str, str], list[tuple[datetime, float | None]]],
) -> LatestItem:
    points = trends.get((row["kpi"], row["series_key"]), [])
    return LatestItem(
        **show_observation(asker, row).model_dump(),
        trend=[TrendPoint(at=at, value=value) for at, value in points],
    )


def _freshness(latest: Sequence[Mapping[str, Any]], health: Mapping[str, Any] | None) -> KpiFreshness:
    return KpiFreshness(
        last_window_end=max((row["window_end"] for row in latest), default=None),
        watermark=max((row["watermark"] for row in latest if row["watermark"]), default=None),
        recorded_at=max((row["recorded_at"] for row in latest), default=None),
        source_fresh=health["fresh"] if health else None,
    )


def _quality(latest: Sequence[Mapping[str, Any]], health: Mapping[str, Any] | None) -> KpiQuality:
    return KpiQuality(
        completeness=min(
            (row["completeness"] for row in latest if row["completeness"] is not None), default=None
        ),
        assessed=sum(row["assessed"] for row in latest),
        suspect=sum(row["suspect"] for row in latest),
        worst=max((row["worst"] for row in latest), key=_WORST.__getitem__, default=None),
        source_score=health["score"] if health else None,
    )


async def _parity(asker: Asker, kpi: str, version: int) -> KpiParity | None:
    for row in await governance_rows.parity(asker.desk.pool):
        if (row["kpi"], row["kpi_version"]) == (kpi, version):
            return KpiParity(**{name: row[name] for name in KpiParity.model_fields})
    return None


@router.get("/kpis", response_model=KpiList)
async def list_kpis(
    asker: SignedIn, request: Request, series_limit: SeriesLimit = 20, trend: TrendLimit = 48
) -> Response:
    """The KPIs the asker may see: newest values, trend, freshness and quality. Answers 304 to a known ETag."""
    asker.require("read")
    kpis = [kpi for kpi in asker.desk.catalog.kpis if asker.rights.sees(kpi)]
    kpis.sort(key=lambda kpi: kpi.id)
    items = await _summaries(asker, kpis, series_limit, trend)
    listed = await asker.answer(KpiList(items=items, as_of=asker.desk.now()), "read kpis", "kpis")
    return conditional(request, listed)


@router.get("/kpis/{kpi}", response_model=KpiDetail)
async def get_kpi(
    kpi: str, asker: SignedIn, request: Request, series_limit: SeriesLimit = 50, trend: TrendLimit = 48
) -> Response:
    """One KPI with its definition. Answers 304 to a known ETag."""
    asker.require("read")
    definition = asker.kpi(kpi)
    summary = (await _summaries(asker, [definition], series_limit, trend))[0]
    shown = asker.veil.definition("kpi", definition.model_dump(mode="json", by_alias=True))
    detail = KpiDetail(
        **summary.model_dump(),
        parity=await _parity(asker, kpi, summary.version),
        where=shown["where"],
        value=shown["value"],
        lateness_seconds=int(definition.lateness.total_seconds()),
        purpose=definition.purpose,
        signals=[
            SignalRuleShown(
                id=rule.id,
                kind="threshold" if rule.threshold else "seasonal",
                severity=rule.severity,
                sustained_after=rule.sustained_after,
                min_count=rule.min_count,
                limits=(rule.threshold or rule.seasonal).model_dump(mode="json"),  # type: ignore[union-attr]
            )
            for rule in definition.signals
        ],
        definition=shown,
    )
    return conditional(request, await asker.answer(detail, "read kpi", f"kpis/{kpi}"))


@router.get("/kpis/{kpi}/observations")
async def list_observations(
    kpi: str,
    asker: SignedIn,
    from_: Annotated[
        AwareDatetime | None, Query(alias="from", description="Windows that start at or after")
    ] = None,
    to: Annotated[AwareDatetime | None, Query(description="Windows that start before")] = None,
    series: SeriesFilter = None,
    as_of: AsOf = None,
    revisions: Annotated[
        Literal["latest", "all"], Query(description="The newest revision of each window, or all of them")
    ] = "latest",
    version: Version = None,
    expectations: Annotated[bool, Query(description="With the expected band")] = True,
    limit: Limit = 1000,
    page_token: PageToken = None,
) -> ObservationPage:
    """Values by window, newest first. Retracted values are in `revisions=all` only."""
    asker.require("read")
    definition = asker.kpi(kpi)
    parameters = {
        "list": f"observations/{kpi}", "from": from_, "to": to, "series": series, "as_of": as_of,
        "revisions": revisions, "version": version, "limit": limit,
    }  # fmt: skip
    after = asker.open_page(page_token, parameters)
    keys = await asker.series_keys(definition, parse_series_key(series)) if series else None
    # Before the rows are read, so that the stream begins no later than they end.
    position: StreamPosition | None = None
    if as_of is None and page_token is None:
        position = await observations_position(asker, kpi)
    asked = rows.Range(
        kpi=kpi,
        version=version or (await served_versions(asker, [definition]))[kpi],
        start=from_, end=to, keys=keys, as_of=as_of, every_revision=revisions == "all",
    )  # fmt: skip
    found, last = cut(
        await rows.observations(asker.desk.pool, asked, after, limit + 1),
        limit,
        ("window_start", "series_key", "revision"),
    )
    band = await rows.expectations(asker.desk.pool, asked, found) if expectations and found else []
    items = [show_observation(asker, row) for row in found]
    page = ObservationPage(
        items=items,
        expectations=[
            ExpectationItem.model_validate(
                {**row, "series_key": asker.veil.series_key(kpi, row["series_key"])}
            )
            for row in band
        ],
        series=sorted({item.series_key for item in items}),
        stream=position,
        next_page_token=asker.next_page(last, parameters),
        as_of=as_of or asker.desk.now(),
    )
    return await asker.answer(page, "read observations", f"kpis/{kpi}")
