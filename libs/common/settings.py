"""What a process is told by its environment (`SEXTANT_…`), read once in `__main__` and passed on."""

from pathlib import Path
from typing import Self

from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Addresses and limits that every service needs. The servers' addresses have no defaults."""

    model_config = SettingsConfigDict(
        env_prefix="SEXTANT_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    @classmethod
    def from_environment(cls) -> Self:
        """pydantic.ValidationError names what the environment lacks."""
        return cls()  # pyright: ignore[reportCallIssue]

    kafka: str
    """Bootstrap servers, `host:port,…`."""
    database: str
    """postgresql://user:password@host:port/name"""
    redis: str
    registry: str
    """A Confluent-compatible schema registry."""

    prefix: str = ""
    """Put before every topic, group, transactional id and subject, so that meshes can share servers."""
    host: str = "127.0.0.1"
    port: int
    log_level: str = "INFO"
    instance: str = "local"
    """This process among its replicas; with a stable name a restart takes its partitions back at once."""
    replication: int = 1
    """Replication factor of the topics that this process creates."""
    local: Path = Path(".local")

    ingest_url: str = "http://127.0.0.1:8101"
    detector_url: str = "http://127.0.0.1:8102"
    quality_url: str = "http://127.0.0.1:8103"
    archive_url: str = "http://127.0.0.1:8104"
    governance_url: str = "http://127.0.0.1:8105"
    strategy_url: str = "http://127.0.0.1:8106"
    gateway_url: str = "http://127.0.0.1:8080"
