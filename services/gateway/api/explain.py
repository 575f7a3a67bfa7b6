"""Why a number is what it is, why a signal was raised, what a decision rested on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from io import StringIO
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from ruamel.yaml import YAML

from libs.common.canonical import fingerprint
from libs.common.catalog import Kpi
from services.gateway.api.asking import Asker, SignedIn
from services.gateway.api.decisions import (
    evidence_again,
    show_decision,
    show_decision_detail,
    show_evidence,
    visible_decision,
)
from services.gateway.api.explained import explained_events, how_made, parts_of, schemas_of
from services.gateway.api.kpis import served_versions, show_observation
from services.gateway.api.models.explain import (
    DecisionExplained,
    DefinitionShown,
    ObservationExplained,
    OffsetSpan,
    QualityShown,
    RuleVerdict,
    SignalExplained,
)
from services.gateway.api.models.signals import LoopStamps
from services.gateway.api.paging import AsOf, PageToken, Version
from services.gateway.api.problems import RESPONSES, not_found
from services.gateway.api.signals import show_listed, show_signal, visible_signal
from services.gateway.store import catalog as catalog_rows
from services.gateway.store import decisions as decision_rows
from services.gateway.store import kpis as kpi_rows
from services.gateway.store import provenance as rows
from services.gateway.store import signals as signal_rows

router = APIRouter(prefix="/v1/explain", tags=["explain"], responses=RESPONSES)


async def definition_of(asker: Asker, kpi: str, version: int) -> Mapping[str, Any] | None:
    """One version of a KPI's definition, as the catalog keeps it."""
    return await catalog_rows.version(asker.desk.pool, "kpi", kpi, version)


def show_definition(
    asker: Asker, kpi: str, version: int, row: Mapping[str, Any] | None
) -> DefinitionShown | None:
    """Its text, as its author would write it."""
    if row is None:
        return None
    written = Kpi.model_validate(row["definition"]).model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    shown = asker.veil.definition("kpi", {"kind": "kpi", **written})
    return DefinitionShown(
        kind="kpi", id=kpi, version=version, applied_at=row["applied_at"], applied_by=row["applied_by"],
        text=_yaml(shown),
    )  # fmt: skip


def _yaml(content: Mapping[str, Any]) -> str:
    text = StringIO()
    YAML().dump(dict(content), text)
    return text.getvalue()


@router.get("/observations/{kpi}/{window_start}", include_in_schema=False)
@router.get("/observations/{kpi}/{series_key:path}/{window_start}")
async def explain_observation(
    kpi: str,
    window_start: AwareDatetime,
    asker: SignedIn,
    series_key: str = "",
    revision: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Default: the newest as of `as_of`")
    ] = None,
    version: Version = None,
    as_of: AsOf = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Raw events on a page")] = 20,
    page_token: PageToken = None,
) -> ObservationExplained:
    """From a number to its window, offsets, raw events, schemas, definition, quality, and what rests on it.

    `series_key` as shown in the observation (percent-encode it once more in the path); `-` or nothing for a KPI
    without dimensions.
    """
    asker.require("read")
    definition = asker.kpi(kpi)
    key = await asker.clear_key(definition, "" if series_key == "-" else series_key)
    number = version or (await served_versions(asker, [definition]))[kpi]
    found = await kpi_rows.revisions(asker.desk.pool, kpi, number, key, window_start, as_of)
    chosen = [row for row in found if revision in (None, row["revision"])]
    if not chosen:
        raise not_found(f"observation of {kpi} at {window_start.isoformat()}")
    row = chosen[-1]
    answer = await _explain(asker, row, found, limit, page_token, as_of)
    return await asker.answer(answer, "explain observation", f"kpis/{kpi}")


async def _explain(
    asker: Asker, row: Mapping[str, Any], found: Sequence[Mapping[str, Any]], limit: int, page_token: str | None,
    as_of: datetime | None,
) -> ObservationExplained:  # fmt: skip
    pool = asker.desk.pool
    parameters = {
        "explain": row["kpi"], "version": row["kpi_version"], "series": row["series_key"],
        "window": row["window_start"], "revision": row["revision"], "limit": limit,
    }  # fmt: skip
    after = asker.open_page(page_token, parameters)
    definition = await definition_of(asker, row["kpi"], row["kpi_version"])
    if definition is None:
        raise not_found(f"version {row['kpi_version']} of the definition of {row['kpi']}")
    kpi = Kpi.model_validate(definition["definition"])
    made = await how_made(asker, kpi, row["recorded_at"])
    events, last = await explained_events(asker, made, row, limit, after) if made else (None, None)
    next_page = {"next_page_token": asker.next_page(last, parameters)}
    sources = asker.desk.catalog.sources_of(kpi)
    signals = await signal_rows.resting_on(pool, row)
    decisions = await decision_rows.on_signals(pool, [signal["id"] for signal in signals])
    trace = (row["traceparent"] or "").split("-")
    return ObservationExplained(
        observation=show_observation(asker, row),
        revisions=[show_observation(asker, one) for one in found],
        offsets=[
            OffsetSpan(partition=part["partition"], first=part["first"], last=part["last"]) for part in row["offsets"]
        ],
        events=events.model_copy(update=next_page) if events else None,
        parts=[show_observation(asker, part) for part in await parts_of(asker, kpi, row)],
        schemas=await schemas_of(asker, made, row["schema_ids"]) if made else [],
        definition=show_definition(asker, row["kpi"], row["kpi_version"], definition),
        quality=await _quality(asker, sources, row),
        masks=_masks(asker, sources),
        signals=[show_signal(asker, signal) for signal in signals],
        decisions=[show_decision(asker, decision) for decision in decisions],
        trace_id=trace[1] if len(trace) == 4 else None,
        as_of=as_of or asker.desk.now(),
    )  # fmt: skip


async def _quality(asker: Asker, sources: Sequence[str], row: Mapping[str, Any]) -> QualityShown:
    """What the rules found: on the value's own events, and in the hours that its window touches."""
    pool, catalog = asker.desk.pool, asker.desk.catalog
    results = await rows.rule_results(pool, sources, row["window_start"], row["window_end"])
    verdicts = []
    for id, (assessed, violations) in results.items():
        rule = catalog.rule(id)
        title, severity = (rule.title, rule.severity) if rule else (id, "warning")
        verdicts.append(
            RuleVerdict(rule=id, title=title, severity=severity, assessed=assessed, violations=violations)
        )
    return QualityShown(
        assessed=row["assessed"],
        suspect=row["suspect"],
        suspect_share=row["suspect"] / row["assessed"] if row["assessed"] else None,
        completeness=row["completeness"],
        worst=row["worst"],
        rules=verdicts,
        incidents=await rows.incidents_at(pool, sources, row["recorded_at"]),
    )


def _masks(asker: Asker, sources: Sequence[str]) -> dict[str, str]:
    """Field → how the asker sees it, where that is not clear."""
    classes = [asker.desk.classes.by_source.get(source, {}) for source in sources]
    shown = {name: asker.rights.transform(kind) for fields in classes for name, kind in fields.items()}
    return {name: transform for name, transform in shown.items() if transform != "clear"}


@router.get("/signals/{signal}")
async def explain_signal(signal: str, asker: SignedIn, as_of: AsOf = None) -> SignalExplained:
    """From a signal to the windows it speaks of, its history, its rule's definition and its decisions."""
    asker.require("read")
    present = await visible_signal(asker, signal)
    pool = asker.desk.pool
    moment = as_of or asker.desk.now()
    row = await signal_rows.signal_as_of(pool, signal, moment)
    if row is None:
        raise not_found(f"signal {signal} as of {moment.isoformat()}")
    loop = (await signal_rows.loops(pool, [signal])).get(signal)
    listed = show_listed(asker, row, loop)
    history = [
        change for change in await signal_rows.history(pool, signal) if change["recorded_at"] <= moment
    ]
    definition = asker.desk.catalog.kpi(present["kpi"])
    written = await definition_of(asker, row["kpi"], row["kpi_version"])
    answer = SignalExplained(
        signal=listed,
        history=[show_signal(asker, change) for change in history],
        observations=[
            show_observation(asker, one) for one in await signal_rows.windows_of(pool, row, moment)
        ],
        definition=show_definition(asker, row["kpi"], row["kpi_version"], written),
        loop=LoopStamps(**{name: loop[name] for name in LoopStamps.model_fields}) if loop else None,
        decisions=[show_decision(asker, one) for one in await decision_rows.on_signals(pool, [signal])],
        masks=_masks(asker, asker.desk.catalog.sources_of(definition)) if definition else {},
        as_of=moment,
    )
    return await asker.answer(answer, "explain signal", f"signals/{signal}")


@router.get("/decisions/{decision}")
async def explain_decision(decision: str, asker: SignedIn) -> DecisionExplained:
    """A decision, and what its maker saw read again from the record, with both hashes compared."""
    asker.require("read")
    row = await visible_decision(asker, decision)
    pool, kept, id = asker.desk.pool, row["evidence"], row["signal"]
    signal = await signal_rows.signal(pool, id) if id else None
    # One that was made without a signal through another door rests on what it was given.
    rebuilt = await evidence_again(asker, id, kept, row["as_of"]) if signal else kept
    rebuilt_hash = fingerprint(rebuilt)
    loops = await signal_rows.loops(pool, [id]) if signal else {}
    answer = DecisionExplained(
        decision=show_decision_detail(asker, row),
        rebuilt=show_evidence(asker, rebuilt),
        rebuilt_hash=rebuilt_hash,
        agrees=rebuilt_hash == row["evidence_hash"],
        stored_intact=fingerprint(kept) == row["evidence_hash"],
        signal=show_listed(asker, signal, loops.get(id)) if signal else None,
        as_of=row["as_of"],
    )
    return await asker.answer(answer, "explain decision", f"decisions/{decision}")
