"""Access decisions: pure functions of the policies in force and the principal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from libs.common.catalog import Kpi, Policy
from libs.common.catalog.models import Classification, Permission, Transform

CLASSES: tuple[Classification, ...] = get_args(Classification)
"""From what anybody may see to what hardly anybody may."""
CLASSIFIED: frozenset[str] = frozenset(CLASSES[CLASSES.index("confidential") :])
"""Reads of these in clear go to the audit."""
STRICTEST: Classification = CLASSES[-1]
"""What nothing is known about is treated as."""

OPENNESS: dict[Transform, int] = {"redact": 0, "pseudonym": 1, "clear": 2}


@dataclass(frozen=True)
class Principal:
    """Who asks, as the token says."""

    subject: str
    name: str
    roles: tuple[str, ...]
    department: str | None
    expires_at: datetime


@dataclass(frozen=True)
class Rights:
    """What a principal may do and see. Principals with equal rights get equal bytes."""

    permissions: frozenset[str]
    transforms: tuple[tuple[str, Transform], ...]
    department: str | None

    def may(self, *permissions: Permission) -> bool:
        """Whether any of `permissions` is held."""
        return not self.permissions.isdisjoint(permissions)

    def transform(self, classification: str) -> Transform:
        return dict(self.transforms).get(classification, "redact")

    @property
    def sees_every_class(self) -> bool:
        return all(transform == "clear" for _, transform in self.transforms)

    def sees(self, kpi: Kpi | None) -> bool:
        """Whether a KPI (None: one that is not in force) is visible at all."""
        if self.may("steward"):
            return True
        if kpi is None or not self.may("read"):
            return False
        return not kpi.departments or self.department in kpi.departments


def rights_of(principal: Principal, policies: Iterable[Policy], bootstrap_role: str) -> Rights:
    """The rights of `principal`. Without a roles policy in force only `bootstrap_role` may configure.

    Roles add up: the most open transform among a principal's roles holds; where several rules speak of one
    class, the strictest of them holds. A class without a rule is shown up to `internal` and redacted above.
    """
    known = list(policies)
    role_rules = [rule for policy in known for rule in policy.roles]
    if role_rules:
        permissions = frozenset(p for rule in role_rules if rule.role in principal.roles for p in rule.may)
    else:
        permissions = frozenset({"configure"}) if bootstrap_role in principal.roles else frozenset()
    transforms: dict[str, Transform] = {name: "redact" if name in CLASSIFIED else "clear" for name in CLASSES}
    ruled: set[str] = set()
    for rule in (rule for policy in known for rule in policy.masks):
        mine: list[Transform] = [rule.roles[role] for role in principal.roles if role in rule.roles]
        shown = max(mine, key=lambda transform: OPENNESS[transform]) if mine else rule.otherwise
        name = rule.classification
        transforms[name] = min(transforms[name], shown, key=OPENNESS.__getitem__) if name in ruled else shown
        ruled.add(name)
    return Rights(permissions, tuple(transforms.items()), principal.department)


@dataclass(frozen=True)
class FieldClasses:
    """The class of every field, by source; compiled once per catalog."""

    by_source: Mapping[str, Mapping[str, Classification]]
    kpi_sources: Mapping[str, Sequence[str]]

    def of(self, source: str | None, field: str) -> Classification:
        """The class of one field; what no definition names is of the strictest."""
        return self.by_source.get(source or "", {}).get(field, STRICTEST)

    def of_kpi(self, kpi: str, dimension: str) -> Classification:
        """A dimension takes the class of its source field; the strictest, where it comes of several sources."""
        found = [CLASSES.index(self.of(source, dimension)) for source in self.kpi_sources.get(kpi, ())]
        return CLASSES[max(found)] if found else STRICTEST

    def anywhere(self, field: str) -> Classification | None:
        """The strictest class that any source gives a field of this name; None if none has it."""
        found: list[Classification] = [fields[field] for fields in self.by_source.values() if field in fields]
        return max(found, key=lambda name: CLASSES.index(name)) if found else None
