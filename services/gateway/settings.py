"""What the gateway is told by its environment; every name has the prefix `SEXTANT_`."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from libs.common.settings import ServiceSettings

Service = Literal["ingest", "quality", "governance", "strategy"]


class Settings(ServiceSettings):
    port: int = 8080

    issuer: str = ""
    """Of tokens. Empty: this gateway issues them itself, under the name `sextant`."""
    audience: str = "sextant"
    token_seconds: int = Field(default=3600, ge=60, le=86_400)
    token_leeway_seconds: int = Field(default=10, ge=0, le=300)
    people: Path = Path(".local/people.json")
    signing_key: Path = Path(".local/signing-key.pem")
    """Made at the first start, for the owner's eyes only. Replicas share one."""
    pseudonym_key: Path = Path(".local/pseudonym-key")
    """Secret of pseudonyms, page tokens and cursors. Made at the first start; replicas share one."""
    bootstrap_role: str = "operator"
    """Who may configure as long as no policy says who may what."""

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    command_seconds: float = Field(default=30.0, gt=0)
    dashboard: Path = Path("dashboard/dist")
    explain_scan: int = Field(default=50_000, ge=100)
    """Events read again at most for one explanation; beyond it the count is not compared."""

    stream_window: int = Field(default=10_000, ge=100)
    """Entries kept per channel, about."""
    stream_heartbeat_seconds: float = Field(default=15.0, gt=0)
    stream_max_subscriptions: int = Field(default=64, ge=1)
    stream_max_connections: int = Field(default=2000, ge=1)
    stream_buffer_bytes: int = Field(default=256 * 1024, ge=4096)
    """Unsent bytes at which a client counts as slow and is stepped down."""
    stream_stall_seconds: float = Field(default=30.0, gt=0)
    """A client that takes nothing for this long is disconnected."""

    def address(self, service: str) -> str:
        """Where a service listens."""
        return str(getattr(self, f"{service}_url")).rstrip("/")

    @property
    def token_leeway(self) -> timedelta:
        return timedelta(seconds=self.token_leeway_seconds)
