"""The KPIs and rules in force, compiled anew whenever the catalog changes."""

import logging
from collections.abc import Callable

from libs.common.catalog import Catalog, Source
from libs.common.errors import DefinitionError
from libs.common.events import CatalogEntry
from libs.common.rules import CompiledRule, compile_rules, references_of
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.signals import RuleOnKpi

log = logging.getLogger(__name__)


class Definitions:
    """What the loops need of the catalog. A definition that does not compile is left out, and said so."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.kpis: dict[str, CompiledKpi] = {}
        """By name, `id@version`."""
        self.by_source: dict[str, list[CompiledKpi]] = {}
        self.rules: dict[str, list[CompiledRule]] = {}
        """Quality rules by source."""
        self.over: dict[str, list[CompiledKpi]] = {}
        """KPIs over others, by the id of each KPI that they are over."""
        self.signals: dict[str, list[RuleOnKpi]] = {}
        """Signal rules by KPI id."""
        self.parked: dict[str, str] = {}
        """KPI id → why it does not run."""
        self.version = 0
        """Counts up with every change."""
        self.listeners: list[Callable[[], None]] = []

    async def on_change(self, entry: CatalogEntry) -> None:
        """Compile everything again: definitions are few and changes are rare."""
        if entry.kind not in ("source", "kpi", "rule"):
            return
        own = [kpi for kpi in self.catalog.kpis if kpi.engine == "embedded"]
        kpis = [compiled for kpi in own if (compiled := self._compile(kpi.id)) is not None]
        self.kpis = {compiled.name: compiled for compiled in kpis}
        self.by_source, self.over = {}, {}
        for compiled in kpis:
            if compiled.source is not None:
                self.by_source.setdefault(compiled.source.id, []).append(compiled)
            for id in dict.fromkeys(compiled.kpi.over.values()):
                self.over.setdefault(id, []).append(compiled)
        self.rules = {source.id: self._rules(source) for source in self.catalog.sources}
        judged = {each.kpi.id: each.version for each in kpis}
        judged |= {
            kpi.id: self.catalog.version("kpi", kpi.id) for kpi in self.catalog.kpis if kpi.engine == "flink"
        }
        self.signals = {
            kpi.id: [RuleOnKpi.of(kpi, judged[kpi.id], rule) for rule in kpi.signals]
            for kpi in self.catalog.kpis
            if kpi.id in judged
        }
        self.version += 1
        for listener in self.listeners:
            listener()

    def _compile(self, id: str) -> CompiledKpi | None:
        kpi = self.catalog.kpi(id)
        assert kpi is not None
        self.parked.pop(id, None)
        source = self.catalog.source(kpi.source or "")
        references = [each for each in self.catalog.sources if each.reference]
        try:
            return compile_kpi(kpi, self.catalog.version("kpi", id), source, references)
        except DefinitionError as error:
            self.parked[id] = str(error)
            log.error("a KPI does not compile", extra={"fields": {"kpi": id, "error": str(error)}})
            return None

    def _rules(self, source: Source) -> list[CompiledRule]:
        compiled: list[CompiledRule] = []
        for rule in self.catalog.rules:
            try:
                compiled += compile_rules([rule], source)
            except DefinitionError as error:
                log.error("a rule does not compile", extra={"fields": {"rule": rule.id, "error": str(error)}})
        return compiled

    def references(self) -> dict[str, Source]:
        """The reference sources that rules look into, and that KPIs are enriched with."""
        wanted = set().union(*(references_of(rules) for rules in self.rules.values()))
        wanted |= {each.reference.id for kpi in self.kpis.values() for each in kpi.enriched}
        return {id: source for id in wanted if (source := self.catalog.source(id)) is not None}

    def is_gone(self, name: str) -> bool:
        """Whether a KPI version was replaced or removed; one that is still to come is not."""
        id, _, version = name.rpartition("@")
        return name not in self.kpis and self.catalog.version("kpi", id) >= int(version)
