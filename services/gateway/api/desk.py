"""What every request needs, made once at start and handed to the application as `app.state.desk`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import httpx
from redis.asyncio import Redis

from libs.common.catalog import Catalog
from libs.common.catalog.models import Classification
from libs.common.registry import Registry
from services.gateway.api.auditing import Audit
from services.gateway.api.identity import Identity
from services.gateway.api.people import People
from services.gateway.core.access import FieldClasses, Principal, Rights, rights_of
from services.gateway.core.masking import Veil
from services.gateway.core.sealing import Seal
from services.gateway.settings import Settings
from services.gateway.store.windows import Windows


@dataclass
class Desk:
    """The gateway's parts. Nothing here is written to after start but the catalog."""

    settings: Settings
    catalog: Catalog
    pool: asyncpg.Pool
    redis: Redis
    windows: Windows
    commands: httpx.AsyncClient
    registry: Registry
    audit: Audit
    identity: Identity
    people: People
    seal: Seal
    secret: bytes
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    build: str
    loaded: Callable[[], bool] = lambda: True
    """Whether the catalog was read: before, nobody's rights are known."""
    policy_version: int = 0
    """Counts up with every change of the catalog: open streams look again at what they may show."""
    _classes: tuple[int, FieldClasses] | None = field(default=None)

    def catalog_changed(self) -> None:
        """Called by whoever follows the catalog, after each change."""
        self.policy_version += 1

    @property
    def classes(self) -> FieldClasses:
        """The class of every field under the catalog in force."""
        if self._classes is None or self._classes[0] != self.policy_version:
            by_source: dict[str, dict[str, Classification]] = {
                source.id: {item.name: item.classification for item in source.fields}
                for source in self.catalog.sources
            }
            kpi_sources = {kpi.id: self.catalog.sources_of(kpi) for kpi in self.catalog.kpis}
            self._classes = (self.policy_version, FieldClasses(by_source, kpi_sources))
        return self._classes[1]

    def rights(self, principal: Principal) -> Rights:
        return rights_of(principal, self.catalog.policies, self.settings.bootstrap_role)

    def veil(self, rights: Rights) -> Veil:
        return Veil(rights, self.classes, self.secret)
