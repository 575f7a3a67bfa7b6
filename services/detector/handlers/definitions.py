"""The KPIs and rules in force, compiled as the catalog changes."""

from collections.abc import Callable

from libs.common.catalog import Catalog, Kpi, Source
from libs.common.compiled import Compiled
from libs.common.errors import DefinitionError, TryLater
from libs.common.events import CatalogEntry
from libs.common.rules import CompiledRule, references_of, rules_by_source
from services.detector.core.definitions import CompiledKpi, compile_kpi
from services.detector.core.signals import RuleOnKpi
from services.detector.core.windows import Windows


class Definitions:
    """What the loops need of the catalog. A definition that does not compile is left out, and said so.

    Of a KPI that was changed two versions are in force: the one that is served goes on until it is retired.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.kpis: dict[str, CompiledKpi] = {}
        """By name, `id@version`."""
        self.written: dict[str, dict[int, Kpi]] = {}
        """KPI id → the versions in force."""
        self.served: dict[str, int] = {}
        """KPI id → the newest version that has caught up everywhere; none is known of a KPI that is new."""
        self.retired: dict[str, int] = {}
        """KPI id → versions before this one are over."""
        self.by_source: dict[str, list[CompiledKpi]] = {}
        self.windows: dict[str, set[Windows]] = {}
        """Of the KPIs of each source."""
        self.rules: dict[str, list[CompiledRule]] = {}
        """Quality rules by source."""
        self.over: dict[str, list[CompiledKpi]] = {}
        """KPIs over others, by the id of each KPI that they are over."""
        self.signals: dict[str, list[RuleOnKpi]] = {}
        """Signal rules by KPI id."""
        self.parked: dict[str, str] = {}
        """KPI id → why it does not run."""
        self.compiled = Compiled()
        self.version = 0
        """Counts up with every change."""
        self.listeners: list[Callable[[], None]] = []

    async def on_change(self, entry: CatalogEntry) -> None:
        """Compile what an entry changes."""
        if entry.kind not in ("source", "kpi", "rule"):
            return
        if entry.kind == "kpi":
            self._write(entry.id)
        self._compile_all()

    def _write(self, id: str) -> None:
        """Note a version beside the one that is served; without one, beside the last."""
        kpi, version, written = (
            self.catalog.kpi(id),
            self.catalog.version("kpi", id),
            self.written.pop(id, {}),
        )
        if kpi is None or kpi.engine != "embedded":
            return
        former = {each: written[each] for each in written if each < version}
        served = self.served.get(id)
        if former:
            kept = served if served in former else max(former)
            former = {kept: former[kept]} if kept >= self.retired.get(id, 0) else {}
        self.written[id] = {**former, version: kpi}

    def retire(self, id: str, version: int) -> None:
        """Versions of a KPI before this one are over."""
        self.retired[id] = version
        written = self.written.get(id, {})
        if any(each < version for each in written):
            self.written[id] = {each: kpi for each, kpi in written.items() if each >= version}
            self._compile_all()

    def _compile_all(self) -> None:
        self.compiled.anew()
        kpis = [
            compiled
            for versions in self.written.values()
            for version, kpi in versions.items()
            if (compiled := self._kpi(kpi, version, newest=version == max(versions))) is not None
        ]
        self.kpis = {compiled.name: compiled for compiled in kpis}
        self.by_source, self.over, self.windows = {}, {}, {}
        for compiled in kpis:
            if compiled.source is not None:
                self.by_source.setdefault(compiled.source.id, []).append(compiled)
                self.windows.setdefault(compiled.source.id, set()).add(compiled.windows)
            for id in dict.fromkeys(compiled.kpi.over.values()):
                self.over.setdefault(id, []).append(compiled)
        self.rules = rules_by_source(self.catalog, self.compiled)
        judged = [(each.kpi, each.version) for each in kpis]
        judged += [
            (kpi, self.catalog.version("kpi", kpi.id)) for kpi in self.catalog.kpis if kpi.engine == "flink"
        ]
        self.signals = {}
        for kpi, version in judged:
            rules = [RuleOnKpi.of(kpi, version, rule) for rule in kpi.signals]
            self.signals.setdefault(kpi.id, []).extend(rules)
        self.version += 1
        for listener in self.listeners:
            listener()

    def _kpi(self, kpi: Kpi, version: int, *, newest: bool) -> CompiledKpi | None:
        source = self.catalog.source(kpi.source or "")
        wanted = {each.reference for each in kpi.enrich}
        references = [each for each in self.catalog.sources if each.reference and each.id in wanted]
        found = self.compiled.of(
            f"kpi {kpi.id}@{version}",
            (kpi, source, *references),
            lambda: compile_kpi(kpi, version, source, references),
        )
        if newest:
            self.parked.pop(kpi.id, None)
            if isinstance(found, DefinitionError):
                self.parked[kpi.id] = str(found)
        return None if isinstance(found, DefinitionError) else found

    def references(self) -> dict[str, Source]:
        """The reference sources that rules look into, and that KPIs are enriched with."""
        wanted = set().union(*(references_of(rules) for rules in self.rules.values()))
        wanted |= {each.reference.id for kpi in self.kpis.values() for each in kpi.enriched}
        return {id: source for id in wanted if (source := self.catalog.source(id)) is not None}

    @property
    def newest(self) -> dict[str, CompiledKpi]:
        """KPI id → its newest version in force."""
        return {each.kpi.id: each for each in sorted(self.kpis.values(), key=lambda each: each.version)}

    def expect(self, name: str) -> None:
        """TryLater if a KPI version is newer than the catalog read so far."""
        if name not in self.kpis and not self.is_gone(name):
            raise TryLater(f"the catalog does not say yet what {name} is")

    def is_gone(self, name: str) -> bool:
        """Whether a KPI version was replaced or removed; one that is still to come is not."""
        id, _, version = name.rpartition("@")
        return name not in self.kpis and self.catalog.version("kpi", id) >= int(version)
