"""The catalog in force: typed definitions by kind and id, with their versions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from libs.common.catalog.models import (
    DEFINITION,
    AnyDefinition,
    Kpi,
    Objective,
    Playbook,
    Policy,
    Rule,
    Source,
    Team,
)
from libs.common.events import CatalogEntry

D = TypeVar("D")


@dataclass
class Catalog:
    """Definitions in force. Services read it; only entries change it."""

    entries: dict[tuple[str, str], CatalogEntry] = field(default_factory=dict)
    definitions: dict[tuple[str, str], AnyDefinition] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last version of everything ever defined, what was removed included."""

    @classmethod
    def of(cls, definitions: Iterable[AnyDefinition]) -> "Catalog":
        """A catalog without history, for checks and tests."""
        catalog = cls()
        for definition in definitions:
            catalog.definitions[definition.kind, definition.id] = definition
        return catalog

    def put(self, entry: CatalogEntry) -> None:
        """Take one entry of the topic in; pydantic.ValidationError if newer code wrote it."""
        key = (entry.kind, entry.id)
        self.versions[key] = entry.definition_version
        if entry.definition is None:
            self.entries.pop(key, None)
            self.definitions.pop(key, None)
            return
        self.definitions[key] = DEFINITION.validate_python(entry.definition)
        self.entries[key] = entry

    def version(self, kind: str, id: str) -> int:
        """The last version, in force or removed; 0 if there never was one."""
        return self.versions.get((kind, id), 0)

    def schema_id(self, source: str) -> int | None:
        entry = self.entries.get(("source", source))
        return entry.schema_id if entry else None

    def _all(self, cls: type[D]) -> Iterator[D]:
        return (definition for definition in self.definitions.values() if isinstance(definition, cls))

    def _get(self, cls: type[D], kind: str, id: str) -> D | None:
        definition = self.definitions.get((kind, id))
        return definition if isinstance(definition, cls) else None

    @property
    def sources(self) -> list[Source]:
        return list(self._all(Source))

    @property
    def kpis(self) -> list[Kpi]:
        return list(self._all(Kpi))

    @property
    def rules(self) -> list[Rule]:
        return list(self._all(Rule))

    @property
    def objectives(self) -> list[Objective]:
        return list(self._all(Objective))

    @property
    def playbooks(self) -> list[Playbook]:
        return list(self._all(Playbook))

    @property
    def teams(self) -> list[Team]:
        return list(self._all(Team))

    @property
    def policies(self) -> list[Policy]:
        return list(self._all(Policy))

    def source(self, id: str) -> Source | None:
        return self._get(Source, "source", id)

    def kpi(self, id: str) -> Kpi | None:
        return self._get(Kpi, "kpi", id)

    def sources_of(self, kpi: Kpi) -> tuple[str, ...]:
        """The sources that a KPI is computed from, through the KPIs that it is over."""
        if kpi.source is not None:
            return (kpi.source,)
        inputs = [self.kpi(id) for id in kpi.over.values()]
        found = [source for each in inputs if each is not None for source in self.sources_of(each)]
        return tuple(dict.fromkeys(found))

    def references_of(self, source: str) -> list[Rule]:
        """The rules that say what events of a source refer to."""
        return [rule for rule in self.rules if rule.source == source and rule.check.reference is not None]

    def rule(self, id: str) -> Rule | None:
        return self._get(Rule, "rule", id)

    def objective(self, id: str) -> Objective | None:
        return self._get(Objective, "objective", id)

    def playbook(self, id: str) -> Playbook | None:
        return self._get(Playbook, "playbook", id)

    def team(self, id: str) -> Team | None:
        return self._get(Team, "team", id)
