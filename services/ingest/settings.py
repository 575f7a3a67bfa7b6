"""What ingest is told by its environment."""

import os
from pathlib import Path

from pydantic import Field, SecretStr

from libs.common.settings import ServiceSettings

_SECRET = "SEXTANT_SECRET_"


def _secrets() -> dict[str, SecretStr]:
    """What sources call by name: those of webhooks, pulls, pseudonyms and the vault."""
    named = (
        (name.removeprefix(_SECRET), value) for name, value in os.environ.items() if name.startswith(_SECRET)
    )
    return {name: SecretStr(value) for name, value in named}


class Settings(ServiceSettings):
    port: int = 8101
    max_body: int = 16 * 1024 * 1024
    """Bytes of one request, as they come and decoded."""
    max_records: int = 50_000
    """Records of one request."""
    body_seconds: float = 60
    """Within which the body of a request has to come."""
    confirm_seconds: float = 15
    """Within which the brokers confirm a push, or it is answered 503."""
    max_queued: int = 400_000
    """Records of all sources that wait to be published. A source may hold as much as is free, alone half of it;
    beyond it requests are answered 503."""
    max_queued_bytes: int = 128 * 1024 * 1024
    """Bytes of bodies that are read or wait to be published; shared alike."""
    repartition_seconds: float = 60
    """So long pushes to a source wait at most while its partitions are added to: for whoever reads it to have read what
    was there before."""
    heartbeat_seconds: float = Field(default=30, gt=0)
    """After which a partition of a source that nothing was written to gets a heartbeat."""
    dedup_window: int = 5_000_000
    """Ids remembered per source, for as long as its `dedup` says."""
    parked_events: int = 100_000
    """Events of a source that wait at once for what they refer to (`retry`); beyond it the oldest are dead letters."""
    parked_bytes: int = 64 * 1024 * 1024
    """What they may take; the same."""
    reference_keys: int = 1_000_000
    """Keys of a reference that are remembered for those who wait; of one with more, every key counts as known."""
    replay_records: int = Field(default=1_000, ge=1, le=100_000)
    """The last records, and dead letters, of a source that a candidate definition is held against."""
    secrets: dict[str, SecretStr] = Field(default_factory=_secrets)
    """`SEXTANT_SECRET_<NAME>`, by name."""
    receipt_secret: SecretStr = Field(min_length=16)
    """What receipts are signed with: whoever has it can make them."""
    files: Path | None = None
    """The folder below which pulls may read files; without one they read none."""

    @property
    def keys(self) -> dict[str, bytes]:
        """The secrets by name, as bytes."""
        return {name: value.get_secret_value().encode() for name, value in self.secrets.items()}
