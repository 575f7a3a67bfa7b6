"""What a connector works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import httpx

from libs.common import clock
from services.ingest.handlers.connectors.auth import secret
from services.ingest.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Of one pull."""

    settings: Settings
    pool: asyncpg.Pool
    http: httpx.AsyncClient
    trying: bool = False
    """Only looks: what is kept of a pull is neither read nor written."""
    now: Callable[[], datetime] = clock.now

    def secret(self, name: str) -> str:
        """Unreadable if it is not there."""
        return secret(self.settings.secrets, name)
