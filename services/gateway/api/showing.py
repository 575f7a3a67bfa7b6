"""Facts of the streams as an asker sees them: the same shapes and masks as REST."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from libs.common.catalog import Catalog
from services.gateway.api.desk import Desk
from services.gateway.api.models.governance import IncidentItem
from services.gateway.api.models.kpis import ObservationItem
from services.gateway.api.models.signals import SignalItem
from services.gateway.core.access import Rights
from services.gateway.core.delivery import Entry, order
from services.gateway.core.masking import Veil

FIXED = ("signals", "actions", "incidents", "health")
OBSERVATIONS = "observations/"
TYPES = {"signals": "signal", "actions": "action", "incidents": "incident", "health": "health"}


def type_of(channel: str) -> str:
    return TYPES.get(channel, "observation")


def may_subscribe(desk: Desk, rights: Rights, channel: str) -> bool:
    """Whether there is such a channel for these rights; what may not be seen does not exist."""
    if channel in FIXED:
        return rights.may("read")
    kpi = desk.catalog.kpi(channel.removeprefix(OBSERVATIONS)) if channel.startswith(OBSERVATIONS) else None
    return kpi is not None and rights.may("read") and rights.sees(kpi)


class Shown:
    """One fact, rendered once for everybody with equal rights."""

    __slots__ = ("classes", "rest")

    def __init__(self, rest: str, classes: frozenset[str]) -> None:
        self.rest = rest
        """The envelope from `ts` on; what comes before is each subscription's own."""
        self.classes = classes
        """Classified data that it shows in clear."""


def show(desk: Desk, rights: Rights, channel: str, entry: Entry) -> Shown | None:
    """The fact as these rights show it; None where its KPI is not visible to them."""
    veil = desk.veil(rights)
    data = _show(desk, veil, channel, entry.fact)
    if data is None:
        return None
    came = datetime.fromtimestamp(order(entry.position)[0] / 1000, UTC).isoformat(timespec="milliseconds")
    envelope = {"ts": came, "as_of": entry.fact["recorded_at"], "type": type_of(channel), "data": data}
    text = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)
    return Shown(text[1:], frozenset(veil.shown))


def _show(desk: Desk, veil: Veil, channel: str, fact: Mapping[str, Any]) -> dict[str, Any] | None:
    if channel == "incidents":
        return incident_shown(desk.catalog, veil, fact)
    if channel == "health":
        return {name: value for name, value in fact.items() if name != "version"}
    if channel == "actions":
        return _action(desk, veil, fact)
    kpi = fact["kpi"]
    if not veil.rights.sees(desk.catalog.kpi(kpi)):
        return None
    model = SignalItem if channel == "signals" else ObservationItem
    shown = {name: fact.get(name) for name in model.model_fields}
    shown["series"] = veil.series(kpi, fact["series"])
    shown["series_key"] = veil.series_key(kpi, fact["series_key"])
    if channel == "signals":
        shown["reason"] = veil.prose(fact.get("reason") or "")
        shown["state"] = "closed" if fact["change"] == "closed" else "open"
    return shown


def incident_shown(catalog: Catalog, veil: Veil, fact: Mapping[str, Any]) -> dict[str, Any]:
    """An incident; the ids of events that it names as those of events are shown. One of before names none."""
    source = catalog.source(fact["source"])
    shown = {name: fact.get(name) for name in IncidentItem.model_fields}
    shown["missing"] = [
        {**each, "event_id": veil.value(fact["source"], source.event_id, each["event_id"])}
        if source is not None and source.event_id is not None and each["event_id"] is not None
        else each
        for each in fact.get("missing") or ()
    ]
    return shown


def _action(desk: Desk, veil: Veil, fact: Mapping[str, Any]) -> dict[str, Any] | None:
    """An action of a KPI that is visible. The feeder has put `kpi` and `series` beside it."""
    kpi = fact.get("kpi")
    if kpi is None and not veil.rights.may("steward"):
        return None
    if kpi is not None:
        if not veil.rights.sees(desk.catalog.kpi(kpi)):
            return None
        veil.series(kpi, fact.get("series") or {})
    names = ("id", "kind", "signal", "subject", "by", "recorded_at")
    return {name: fact.get(name) for name in names} | {
        "kpi": kpi,
        "details": veil.document(fact.get("details") or {}, kpi),
    }
